package fleet

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/smithy-go"
)

// bellZone is a zone with one name, which its resolver knows after a while.
type bellZone struct {
	mu      sync.Mutex
	refuses int
	addr    string
	since   time.Time
	asked   int
}

func (z *bellZone) ChangeResourceRecordSets(_ context.Context, in *route53.ChangeResourceRecordSetsInput, _ ...func(*route53.Options)) (*route53.ChangeResourceRecordSetsOutput, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.refuses--; z.refuses >= 0 {
		return nil, &smithy.GenericAPIError{Code: "Throttling", Message: "Rate exceeded"}
	}
	set := in.ChangeBatch.Changes[0].ResourceRecordSet
	if *in.HostedZoneId != "Z1" || *set.Name != "compute-fleet.demo.pcluster" {
		return nil, errors.New("not the doorbell")
	}
	z.addr, z.since = *set.ResourceRecords[0].Value, time.Now()
	return &route53.ChangeResourceRecordSetsOutput{}, nil
}

func (z *bellZone) lookup(_ context.Context, host string) ([]string, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked++
	if host != "compute-fleet.demo.pcluster." || z.addr == "" || time.Since(z.since) < time.Second {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return []string{z.addr}, nil
}

func TestADoorbellIsHeardOnAQuietFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuiet(t, 1)
		zone := &bellZone{refuses: 1}
		status := &StatusItem{DynamoDB: quietTable{calls: q.calls}, Table: "status"}
		q.d.Doorbell = &Doorbell{DNS: zone, ZoneID: "Z1", Domain: "demo.pcluster.", Status: status, Lookup: zone.lookup}
		q.run(t)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if zone.addr == "" || !strings.HasPrefix(zone.addr, "127.") || q.count["UpdateItem"] != 1 {
			t.Fatalf("the doorbell does not hang: address %q, told %d times where it is", zone.addr, q.count["UpdateItem"])
		}
		clear(q.count)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := q.count["GetItem"]; n > 60 {
			t.Errorf("a fleet whose doorbell nobody has rung asked for its status %d times in an hour", n)
		}
		if zone.asked < 3600 {
			t.Errorf("the name was resolved %d times", zone.asked)
		}
		time.Sleep(40 * time.Second)
		synctest.Wait()
		clear(q.count)
		if err := Ring(t.Context(), zone, "Z1", "compute-fleet.demo.pcluster", time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		if n := q.count["GetItem"]; n == 0 {
			t.Error("nobody has heard the doorbell")
		}
		q.end(t)
	})
}
