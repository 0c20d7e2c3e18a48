package logs

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string) (*Service, func()) {
	t.Helper()
	db, err := store.Open(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(db, region.NewIdentity("", ""), filepath.Join(dir, "events"))
	if err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return noon }
	return s, func() { db.Close() }
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

// filled is a service with one stream of n events, a second apart, the last now.
func filled(t *testing.T, dir string, n int) (*Service, func()) {
	s, done := open(t, dir)
	g, st := aws.String("/aws/parallelcluster/demo"), aws.String("ip-10-0-1-5.i-1.slurmctld")
	if _, err := s.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: g, Tags: map[string]string{"a": "b"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateLogStream(t.Context(), &cloudwatchlogs.CreateLogStreamInput{LogGroupName: g, LogStreamName: st}); err != nil {
		t.Fatal(err)
	}
	var events []types.InputLogEvent
	for i := range n {
		events = append(events, types.InputLogEvent{Message: aws.String(fmt.Sprint("event ", i)), Timestamp: aws.Int64(noon.Add(time.Duration(i-n) * time.Second).UnixMilli())})
	}
	if _, err := s.PutLogEvents(t.Context(), &cloudwatchlogs.PutLogEventsInput{LogGroupName: g, LogStreamName: st, LogEvents: events}); err != nil {
		t.Fatal(err)
	}
	return s, done
}

func get(t *testing.T, s *Service, head bool, limit int32, token *string) *cloudwatchlogs.GetLogEventsOutput {
	t.Helper()
	out, err := s.GetLogEvents(t.Context(), &cloudwatchlogs.GetLogEventsInput{
		LogGroupName: aws.String("/aws/parallelcluster/demo"), LogStreamName: aws.String("ip-10-0-1-5.i-1.slurmctld"),
		StartFromHead: aws.Bool(head), Limit: aws.Int32(limit), NextToken: token,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEventsArePagedBothWaysAndSurviveRestart(t *testing.T) {
	dir := t.TempDir()
	s, done := filled(t, dir, 5)
	done()
	s, done = open(t, dir)
	defer done()

	var forward []string
	var token *string
	for {
		out := get(t, s, true, 2, token)
		for _, e := range out.Events {
			forward = append(forward, *e.Message)
		}
		if token != nil && *out.NextForwardToken == *token {
			break
		}
		token = out.NextForwardToken
	}
	if fmt.Sprint(forward) != "[event 0 event 1 event 2 event 3 event 4]" {
		t.Errorf("forward: %v", forward)
	}
	last := get(t, s, false, 2, nil)
	if *last.Events[0].Message != "event 3" {
		t.Errorf("without StartFromHead the first event is %s", *last.Events[0].Message)
	}
	before := get(t, s, false, 2, last.NextBackwardToken)
	if *before.Events[0].Message != "event 1" || len(before.Events) != 2 {
		t.Errorf("the page before begins with %s", *before.Events[0].Message)
	}
}

func TestRetentionHidesOldEvents(t *testing.T) {
	s, done := filled(t, t.TempDir(), 3)
	defer done()
	if _, err := s.PutRetentionPolicy(t.Context(), &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: aws.String("/aws/parallelcluster/demo"), RetentionInDays: aws.Int32(14)}); err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return noon.AddDate(0, 0, 14).Add(-1500 * time.Millisecond) }
	if got := len(get(t, s, true, 10, nil).Events); got != 1 {
		t.Errorf("%d events are left, want 1", got)
	}
	_, err := s.PutRetentionPolicy(t.Context(), &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: aws.String("/aws/parallelcluster/demo"), RetentionInDays: aws.Int32(15)})
	wantCode(t, err, "InvalidParameterException")
}

func TestPutRefusesWhatAWSRefuses(t *testing.T) {
	s, done := filled(t, t.TempDir(), 1)
	defer done()
	put := func(group string, at ...time.Time) (*cloudwatchlogs.PutLogEventsOutput, error) {
		in := &cloudwatchlogs.PutLogEventsInput{LogGroupName: &group, LogStreamName: aws.String("ip-10-0-1-5.i-1.slurmctld")}
		for _, a := range at {
			in.LogEvents = append(in.LogEvents, types.InputLogEvent{Message: aws.String("m"), Timestamp: aws.Int64(a.UnixMilli())})
		}
		return s.PutLogEvents(t.Context(), in)
	}
	_, err := put("/aws/parallelcluster/demo", noon, noon.Add(-time.Second))
	wantCode(t, err, "InvalidParameterException")
	_, err = put("/nowhere", noon)
	wantCode(t, err, "ResourceNotFoundException")
	out, err := put("/aws/parallelcluster/demo", noon.AddDate(0, 0, -20), noon, noon.Add(3*time.Hour))
	if err != nil || *out.RejectedLogEventsInfo.TooOldLogEventEndIndex != 1 || *out.RejectedLogEventsInfo.TooNewLogEventStartIndex != 2 {
		t.Errorf("events out of bounds: %+v, %v", out, err)
	}
	if got := len(get(t, s, true, 10, nil).Events); got != 2 {
		t.Errorf("%d events, want the first and the one in bounds", got)
	}
}

func TestPatterns(t *testing.T) {
	record := `{"scheduler":"slurm","event-type":"node-launch-failure-count","detail":{"failure-type":"ice-failures","count":3,"nodes":[{"name":"q-1"}]},"ok":true,"none":null}`
	for pattern, want := range map[string]map[string]bool{
		``:                  {"anything": true},
		`ERROR`:             {"an ERROR here": true, "error": false},
		`"two words" -skip`: {"has two words": true, "has two words skip": false, "two other words": false},
		`?a1 ?b2`:           {"x a1": true, "x b2": true, "x": false},
		`{ $.scheduler = "slurm" && $.detail.failure-type = "ice-failures" }`: {record: true, "no json": false},
		`{ $.detail.count > 2 }`:                                {record: true},
		`{ $.detail.count >= 4 || $.ok IS TRUE }`:               {record: true},
		`{ ($.detail.count < 3) || ($.event-type = "node-*") }`: {record: true},
		`{ $.detail.nodes[0].name != "q-1" }`:                   {record: false},
		`{ $.missing NOT EXISTS }`:                              {record: true},
		`{ $.none IS NULL }`:                                    {record: true},
	} {
		match, err := parsePattern(pattern)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
			continue
		}
		for message, w := range want {
			if match.matches(newRecord(message)) != w {
				t.Errorf("pattern %s on %s: %v", pattern, message, !w)
			}
		}
	}
	for _, bad := range []string{`[a, b]`, `"open`, `{ scheduler = 1 }`, `{ $.a ~ 1 }`, `{ $.a < x }`} {
		if _, err := parsePattern(bad); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestFilterSearchesAllStreamsInOrderOfTime(t *testing.T) {
	s, done := filled(t, t.TempDir(), 3)
	defer done()
	g, st := aws.String("/aws/parallelcluster/demo"), aws.String("other")
	if _, err := s.CreateLogStream(t.Context(), &cloudwatchlogs.CreateLogStreamInput{LogGroupName: g, LogStreamName: st}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutLogEvents(t.Context(), &cloudwatchlogs.PutLogEventsInput{LogGroupName: g, LogStreamName: st,
		LogEvents: []types.InputLogEvent{{Message: aws.String("event x"), Timestamp: aws.Int64(noon.Add(-1500 * time.Millisecond).UnixMilli())}}}); err != nil {
		t.Fatal(err)
	}
	var got []string
	in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: g, FilterPattern: aws.String("event -0"), Limit: aws.Int32(2)}
	for {
		out, err := s.FilterLogEvents(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range out.Events {
			got = append(got, *e.Message)
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	if fmt.Sprint(got) != "[event 1 event x event 2]" {
		t.Errorf("found %v", got)
	}
}

func TestGroupsGoWithAllTheyHave(t *testing.T) {
	s, done := filled(t, t.TempDir(), 3)
	defer done()
	g := aws.String("/aws/parallelcluster/demo")
	if _, err := s.PutMetricFilter(t.Context(), &cloudwatchlogs.PutMetricFilterInput{LogGroupName: g, FilterName: aws.String("f"), FilterPattern: aws.String("x")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteLogGroup(t.Context(), &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: g}); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "*")); len(left)+s.streams.Len()+s.filters.Len() != 0 {
		t.Errorf("left: files %v, %d streams, %d filters", left, s.streams.Len(), s.filters.Len())
	}
	_, err := s.DeleteLogGroup(t.Context(), &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: g})
	wantCode(t, err, "ResourceNotFoundException")
}

func TestStreamsAreListedByNameOrByLastEvent(t *testing.T) {
	s, done := filled(t, t.TempDir(), 3)
	defer done()
	g := aws.String("/aws/parallelcluster/demo")
	for _, n := range []string{"a", "b"} {
		if _, err := s.CreateLogStream(t.Context(), &cloudwatchlogs.CreateLogStreamInput{LogGroupName: g, LogStreamName: &n}); err != nil {
			t.Fatal(err)
		}
	}
	list := func(in cloudwatchlogs.DescribeLogStreamsInput) (names []string) {
		in.LogGroupName, in.Limit = g, aws.Int32(1)
		for {
			out, err := s.DescribeLogStreams(t.Context(), &in)
			if err != nil {
				t.Fatal(err)
			}
			for _, st := range out.LogStreams {
				names = append(names, *st.LogStreamName)
			}
			if in.NextToken = out.NextToken; in.NextToken == nil {
				return names
			}
		}
	}
	if got := fmt.Sprint(list(cloudwatchlogs.DescribeLogStreamsInput{Descending: aws.Bool(true)})); got != "[ip-10-0-1-5.i-1.slurmctld b a]" {
		t.Errorf("by name, descending: %s", got)
	}
	if got := fmt.Sprint(list(cloudwatchlogs.DescribeLogStreamsInput{OrderBy: types.OrderByLastEventTime})); got != "[a b ip-10-0-1-5.i-1.slurmctld]" {
		t.Errorf("by last event: %s", got)
	}
}
