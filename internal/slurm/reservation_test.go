package slurm

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const shownReservations = `ReservationName=pcluster-cr-1 StartTime=2026-11-23T12:00:00 EndTime=2027-11-23T12:00:00 Duration=365-00:00:00 Nodes=q-st-a-[1-2] NodeCnt=2 CoreCnt=4 Features=(null) PartitionName=(null) Flags=MAINT,SPEC_NODES TRES=cpu=4 Users=slurm Groups=(null) Accounts=(null) Licenses=(null) State=ACTIVE BurstBuffer=(null) MaxStartDelay=(null)
ReservationName=mine StartTime=2026-11-23T12:00:00 EndTime=2026-11-23T13:00:00 Duration=01:00:00 Nodes=r-dy-a-1 NodeCnt=1 CoreCnt=2 Features=(null) PartitionName=r Flags= TRES=cpu=2 Users=me Groups=(null) Accounts=(null) Licenses=(null) State=INACTIVE BurstBuffer=(null) MaxStartDelay=(null)
`

func TestReservations(t *testing.T) {
	shown := shownReservations
	var told string
	c := &Client{Run: func(_ context.Context, stdin, _ string, args ...string) (string, error) {
		if strings.Join(args, " ") == "-o show reservations" {
			return shown, nil
		}
		told += stdin
		return "", nil
	}}
	all, err := c.Reservations(t.Context())
	if diff := cmp.Diff([]Reservation{{Name: "pcluster-cr-1", Nodes: "q-st-a-[1-2]"}, {Name: "mine", Nodes: "r-dy-a-1"}}, all); err != nil || diff != "" {
		t.Errorf("%v; -want +got:\n%s", err, diff)
	}
	if err := c.Reserve(t.Context(), Reservation{Name: "pcluster-cr-1", Nodes: "q-st-a-1"}, Reservation{Name: "pcluster-cr-2", Nodes: "q-st-b-1"},
		Reservation{Name: "pcluster-cr-4", Nodes: "q-st-c-1", In: 10 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	if err := c.Release(t.Context(), "pcluster-cr-3"); err != nil {
		t.Fatal(err)
	}
	want := "update reservationname=pcluster-cr-1 nodes=q-st-a-1\n" +
		"create reservation reservationname=pcluster-cr-2 user=slurm starttime=now duration=infinite flags=maint,ignore_jobs nodes=q-st-b-1\n" +
		"create reservation reservationname=pcluster-cr-4 user=slurm starttime=now+600seconds duration=infinite flags=maint,ignore_jobs nodes=q-st-c-1\n" +
		"delete reservationname=pcluster-cr-3\n"
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	shown = "No reservations in the system\n"
	if all, err := c.Reservations(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("without any: %v, %v", all, err)
	}
}
