package logs

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/wire"
)

// Bounds of PutLogEvents, of which the first two also bound an answer (its API
// reference).
const (
	maxEvents     = 10_000
	maxBytes      = 1_048_576
	eventOverhead = 26
	oldest        = 14 * 24 * time.Hour
	newest        = 2 * time.Hour
)

// PutLogEvents appends events to a stream. Events that are too old or too new are
// left out and reported, as AWS does.
func (s *Service) PutLogEvents(ctx context.Context, in *cloudwatchlogs.PutLogEventsInput) (*cloudwatchlogs.PutLogEventsOutput, error) {
	size := 0
	for i, e := range in.LogEvents {
		size += len(aws.ToString(e.Message)) + eventOverhead
		if i > 0 && aws.ToInt64(e.Timestamp) < aws.ToInt64(in.LogEvents[i-1].Timestamp) {
			return nil, wire.Errorf("InvalidParameterException", "Log events in a single PutLogEvents request must be in chronological order.")
		}
	}
	if size > maxBytes || len(in.LogEvents) > maxEvents {
		return nil, wire.Errorf("InvalidParameterException", "Upload too large: %d bytes exceeds limit of %d", size, maxBytes)
	}
	out, group, accepted, err := s.put(in, size)
	if err == nil {
		s.measure(ctx, group, accepted)
	}
	return out, err
}

func (s *Service) put(in *cloudwatchlogs.PutLogEventsInput, size int) (out *cloudwatchlogs.PutLogEventsOutput, group string, accepted []event, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.streamOf(in.LogGroupName, nil, in.LogStreamName)
	if err != nil {
		return nil, "", nil, err
	}
	now := s.now()
	out = &cloudwatchlogs.PutLogEventsOutput{}
	var text []byte
	for i, e := range in.LogEvents {
		at := time.UnixMilli(aws.ToInt64(e.Timestamp))
		switch {
		case at.Before(now.Add(-oldest)):
			rejected(out).TooOldLogEventEndIndex = aws.Int32(int32(i + 1))
			continue
		case at.After(now.Add(newest)):
			if rejected(out).TooNewLogEventStartIndex == nil {
				rejected(out).TooNewLogEventStartIndex = aws.Int32(int32(i))
			}
			continue
		}
		ev := event{at.UnixMilli(), now.UnixMilli(), aws.ToString(e.Message)}
		line, err := json.Marshal(ev)
		if err != nil {
			return nil, "", nil, err
		}
		accepted, text = append(accepted, ev), append(append(text, line...), '\n')
	}
	if len(accepted) == 0 {
		return out, st.Group, nil, nil
	}
	if err := s.append(st, text); err != nil {
		return nil, "", nil, err
	}
	st, err = s.streams.Update(streamKey(st.Group, st.Name), func(st *stream) error {
		if st.Events == 0 {
			st.First = accepted[0].Time
		}
		st.First = min(st.First, accepted[0].Time)
		st.Last = max(st.Last, accepted[len(accepted)-1].Time)
		st.LastIngest = now.UnixMilli()
		st.Events += int64(len(accepted))
		st.Bytes += int64(size)
		return nil
	})
	out.NextSequenceToken = aws.String(fmt.Sprintf("%056d", st.Events+1))
	return out, st.Group, accepted, err
}

func rejected(out *cloudwatchlogs.PutLogEventsOutput) *types.RejectedLogEventsInfo {
	if out.RejectedLogEventsInfo == nil {
		out.RejectedLogEventsInfo = &types.RejectedLogEventsInfo{}
	}
	return out.RejectedLogEventsInfo
}

// append adds whole lines to a stream's file, or nothing: what a full disk cut
// off is taken back. A line that a killed daemon did not finish is ended first, so
// that it does not spoil the next.
func (s *Service) append(st stream, text []byte) error {
	f, err := os.OpenFile(filepath.Join(s.dir, st.File), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, info.Size()-1); err != nil {
			return fmt.Errorf("store log events: %w", err)
		}
		if last[0] != '\n' {
			text = append([]byte("\n"), text...)
		}
	}
	if _, err := f.Write(text); err != nil {
		return errors.Join(fmt.Errorf("store log events: %w", err), f.Truncate(info.Size()))
	}
	return nil
}

// bounds returns the positions [lo, hi) of the events of a view that have not
// passed their retention and are in [start, end), milliseconds as requests have
// them.
func (s *Service) bounds(v *view, group string, start, end *int64) (lo, hi int, err error) {
	hi = v.count()
	from := int64(0)
	if start != nil {
		from = *start
	}
	if g, ok := s.groups.Get(group); ok && g.Retention > 0 {
		from = max(from, s.now().AddDate(0, 0, -int(g.Retention)).UnixMilli())
	}
	if from > 0 {
		if lo, err = v.at(from); err != nil {
			return 0, 0, err
		}
	}
	if end != nil {
		if hi, err = v.at(*end); err != nil {
			return 0, 0, err
		}
	}
	return lo, max(lo, hi), nil
}

// GetLogEvents reads a stream page by page. Tokens are positions: a forward token
// names the first event that was not given, a backward token the first that was.
// At either end the same token comes back, by which callers know that they are
// through.
func (s *Service) GetLogEvents(_ context.Context, in *cloudwatchlogs.GetLogEventsInput) (*cloudwatchlogs.GetLogEventsOutput, error) {
	st, err := s.streamOf(in.LogGroupName, in.LogGroupIdentifier, in.LogStreamName)
	if err != nil {
		return nil, err
	}
	if in.StartTime != nil && in.EndTime != nil && *in.StartTime >= *in.EndTime {
		return nil, wire.Errorf("InvalidParameterException", "startTime must be before endTime.")
	}
	v, err := s.view(st)
	if err != nil {
		return nil, err
	}
	lo, hi, err := s.bounds(v, st.Group, in.StartTime, in.EndTime)
	if err != nil {
		return nil, err
	}
	limit := page.Limit(in.Limit, maxEvents)
	forward, position := aws.ToBool(in.StartFromHead), hi
	if forward {
		position = lo
	}
	if in.NextToken != nil {
		if forward, position, err = parseToken(*in.NextToken); err != nil {
			return nil, err
		}
	}
	position = min(max(position, lo), hi)
	var events []event
	from, to := position, position
	if forward {
		events, err = v.read(from, min(from+limit, hi), maxBytes)
		to = from + len(events)
	} else {
		from = max(lo, to-limit)
		events, err = v.read(from, to, 0)
		events = tail(events, maxBytes)
		from = to - len(events)
	}
	if err != nil {
		return nil, err
	}
	out := &cloudwatchlogs.GetLogEventsOutput{Events: []types.OutputLogEvent{}, NextForwardToken: token("f", to), NextBackwardToken: token("b", from)}
	for _, e := range events {
		out.Events = append(out.Events, types.OutputLogEvent{Timestamp: aws.Int64(e.Time), IngestionTime: aws.Int64(e.Ingest), Message: aws.String(e.Message)})
	}
	return out, nil
}

// tail returns the last events that are no more than limit bytes, but at least one.
func tail(events []event, limit int) []event {
	size := 0
	for i := len(events) - 1; i >= 0; i-- {
		if size += len(events[i].Message) + eventOverhead; size > limit && i < len(events)-1 {
			return events[i+1:]
		}
	}
	return events
}

func token(direction string, position int) *string {
	return aws.String(fmt.Sprintf("%s/%056d", direction, position))
}

func parseToken(t string) (forward bool, position int, err error) {
	direction, digits, _ := strings.Cut(t, "/")
	position, convErr := strconv.Atoi(digits)
	if convErr != nil || (direction != "f" && direction != "b") || position < 0 {
		return false, 0, errToken
	}
	return direction == "f", position, nil
}

var errToken = wire.Errorf("InvalidParameterException", "The specified nextToken is invalid.")

// FilterLogEvents searches the streams of a group, in the order of time. A page
// holds matches only; a token says that there is more to search, not that there
// is more to find.
func (s *Service) FilterLogEvents(_ context.Context, in *cloudwatchlogs.FilterLogEventsInput) (*cloudwatchlogs.FilterLogEventsOutput, error) {
	g, err := s.groupOf(in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	pattern, err := parsePattern(aws.ToString(in.FilterPattern))
	if err != nil {
		return nil, err
	}
	if len(in.LogStreamNames) > 0 && in.LogStreamNamePrefix != nil {
		return nil, wire.Errorf("InvalidParameterException", "logStreamNames and logStreamNamePrefix are mutually exclusive parameters.")
	}
	var after place
	if in.NextToken != nil {
		if after, err = parsePlace(*in.NextToken); err != nil {
			return nil, err
		}
	}
	merged, err := s.merge(g.Name, in, after)
	if err != nil {
		return nil, err
	}
	limit, size := page.Limit(in.Limit, maxEvents), 0
	out := &cloudwatchlogs.FilterLogEventsOutput{Events: []types.FilteredLogEvent{}, SearchedLogStreams: []types.SearchedLogStream{}}
	for len(merged) > 0 {
		if len(out.Events) == limit || size > maxBytes {
			out.NextToken = after.token()
			break
		}
		e, at, err := merged.next()
		if err != nil {
			return nil, err
		}
		if after = at; !pattern.matches(newRecord(e.Message)) {
			continue
		}
		size += len(e.Message) + eventOverhead
		out.Events = append(out.Events, types.FilteredLogEvent{
			EventId: aws.String(at.id()), LogStreamName: aws.String(at.Stream),
			Timestamp: aws.Int64(e.Time), IngestionTime: aws.Int64(e.Ingest), Message: aws.String(e.Message),
		})
	}
	return out, nil
}

// A place is where an event is among all events of a group, in the order of time,
// stream and position.
type place struct {
	Time     int64  `json:"t"`
	Stream   string `json:"s"`
	Position int    `json:"p"`
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.Time, q.Time), cmp.Compare(p.Stream, q.Stream), cmp.Compare(p.Position, q.Position))
}

// id is digits only, as CloudWatch's is, and no other event's of the group.
func (p place) id() string {
	h := fnv.New64a()
	h.Write([]byte(p.Stream))
	return fmt.Sprintf("%d%020d%08d", p.Time, h.Sum64(), p.Position)
}

func (p place) token() *string {
	data, _ := json.Marshal(p) // numbers and text
	return aws.String(base64.RawURLEncoding.EncodeToString(data))
}

func parsePlace(token string) (p place, err error) {
	data, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || json.Unmarshal(data, &p) != nil {
		return p, errToken
	}
	return p, nil
}

// A cursor goes through one stream; it always has an event to give.
type cursor struct {
	v        *view
	name     string
	position int // of the next event
	end      int
	ahead    []event // read already
}

// fill reads ahead, and says whether there is an event.
func (c *cursor) fill() (more bool, err error) {
	if len(c.ahead) == 0 && c.position < c.end {
		c.ahead, err = c.v.read(c.position, min(c.position+stride, c.end), maxBytes)
	}
	return len(c.ahead) > 0, err
}

func (c *cursor) place() place { return place{c.ahead[0].Time, c.name, c.position} }

// A merger goes through several streams at once. It is a heap.
type merger []*cursor

func (m merger) Len() int           { return len(m) }
func (m merger) Less(i, j int) bool { return m[i].place().compare(m[j].place()) < 0 }
func (m merger) Swap(i, j int)      { m[i], m[j] = m[j], m[i] }
func (m *merger) Push(x any)        { *m = append(*m, x.(*cursor)) }
func (m *merger) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}

// next takes the earliest event.
func (m *merger) next() (event, place, error) {
	c := (*m)[0]
	e, at := c.ahead[0], c.place()
	c.ahead = c.ahead[1:]
	c.position++
	more, err := c.fill()
	if more {
		heap.Fix(m, 0)
	} else {
		heap.Pop(m)
	}
	return e, at, err
}

// merge opens the streams that a search is about, at the events after a place.
func (s *Service) merge(group string, in *cloudwatchlogs.FilterLogEventsInput, after place) (merger, error) {
	for _, name := range in.LogStreamNames {
		if _, ok := s.streams.Get(streamKey(group, name)); !ok {
			return nil, wire.Errorf("ResourceNotFoundException", "The specified log stream does not exist.")
		}
	}
	var m merger
	for _, st := range s.streamsOf(group) {
		if len(in.LogStreamNames) > 0 && !slices.Contains(in.LogStreamNames, st.Name) || !strings.HasPrefix(st.Name, aws.ToString(in.LogStreamNamePrefix)) {
			continue
		}
		v, err := s.view(st)
		if err != nil {
			return nil, err
		}
		c := &cursor{v: v, name: st.Name}
		if c.position, c.end, err = s.bounds(v, group, in.StartTime, in.EndTime); err != nil {
			return nil, err
		}
		if after != (place{}) {
			at, err := v.at(after.Time)
			if err != nil {
				return nil, err
			}
			c.position = max(c.position, at)
		}
		more, err := c.fill()
		for more && err == nil && after != (place{}) && c.place().compare(after) <= 0 {
			c.position, c.ahead = c.position+1, c.ahead[1:]
			more, err = c.fill()
		}
		if err != nil {
			return nil, err
		}
		if more {
			m = append(m, c)
		}
	}
	heap.Init(&m)
	return m, nil
}
