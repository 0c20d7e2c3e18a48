package logs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"pcluster/internal/sandbox/wire"
)

// An event is a line of a stream's file.
type event struct {
	Time    int64  `json:"t"` // milliseconds, by the sender
	Ingest  int64  `json:"i"`
	Message string `json:"m"`
}

// Bounds of PutLogEvents (its API reference).
const (
	maxEvents     = 10_000
	maxBytes      = 1_048_576
	eventOverhead = 26
	oldest        = 14 * 24 * time.Hour
	newest        = 2 * time.Hour
)

// PutLogEvents appends events to a stream. Events that are too old or too new are
// left out and reported, as AWS does.
func (s *Service) PutLogEvents(_ context.Context, in *cloudwatchlogs.PutLogEventsInput) (*cloudwatchlogs.PutLogEventsOutput, error) {
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
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.streamOf(in.LogGroupName, nil, in.LogStreamName)
	if err != nil {
		return nil, err
	}
	now := s.now()
	out := &cloudwatchlogs.PutLogEventsOutput{}
	var accepted []event
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
			return nil, err
		}
		accepted, text = append(accepted, ev), append(append(text, line...), '\n')
	}
	if len(accepted) == 0 {
		return out, nil
	}
	if err := s.append(st, text); err != nil {
		return nil, err
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
	return out, err
}

func rejected(out *cloudwatchlogs.PutLogEventsOutput) *types.RejectedLogEventsInfo {
	if out.RejectedLogEventsInfo == nil {
		out.RejectedLogEventsInfo = &types.RejectedLogEventsInfo{}
	}
	return out.RejectedLogEventsInfo
}

// append adds whole lines to a stream's file, or nothing: what a full disk cut
// off is taken back.
func (s *Service) append(st stream, text []byte) error {
	f, err := os.OpenFile(filepath.Join(s.dir, st.File), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		return errors.Join(fmt.Errorf("store log events: %w", err), f.Truncate(info.Size()))
	}
	return nil
}

// read returns the events of a stream that are not past their retention, oldest
// first.
func (s *Service) read(st stream) ([]event, error) {
	f, err := os.Open(filepath.Join(s.dir, st.File))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var events []event
	d := json.NewDecoder(bufio.NewReaderSize(f, 64<<10))
	for d.More() {
		var e event
		if err := d.Decode(&e); err != nil {
			break // the line that a dying daemon was writing
		}
		events = append(events, e)
	}
	sort.SliceStable(events, func(i, j int) bool { return events[i].Time < events[j].Time })
	if g, ok := s.groups.Get(st.Group); ok && g.Retention > 0 {
		kept := s.now().AddDate(0, 0, -int(g.Retention)).UnixMilli()
		events = events[sort.Search(len(events), func(i int) bool { return events[i].Time >= kept }):]
	}
	return events, nil
}

// between cuts events to [start, end), both in milliseconds, as requests have them.
func between(events []event, start, end *int64) []event {
	return slices.DeleteFunc(events, func(e event) bool {
		return (start != nil && e.Time < *start) || (end != nil && e.Time >= *end)
	})
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
	events, err := s.read(st)
	if err != nil {
		return nil, err
	}
	events = between(events, in.StartTime, in.EndTime)
	limit := maxEvents
	if in.Limit != nil {
		limit = int(*in.Limit)
	}
	from, to := max(0, len(events)-limit), len(events)
	switch {
	case in.NextToken != nil:
		direction, position, err := parseToken(*in.NextToken)
		if err != nil {
			return nil, err
		}
		position = min(position, len(events))
		if direction == "f" {
			from, to = position, min(position+limit, len(events))
		} else {
			from, to = max(0, position-limit), position
		}
	case aws.ToBool(in.StartFromHead):
		from, to = 0, min(limit, len(events))
	}
	out := &cloudwatchlogs.GetLogEventsOutput{
		Events: []types.OutputLogEvent{}, NextForwardToken: token("f", to), NextBackwardToken: token("b", from),
	}
	for _, e := range events[from:to] {
		out.Events = append(out.Events, types.OutputLogEvent{Timestamp: aws.Int64(e.Time), IngestionTime: aws.Int64(e.Ingest), Message: aws.String(e.Message)})
	}
	return out, nil
}

func token(direction string, position int) *string {
	return aws.String(fmt.Sprintf("%s/%056d", direction, position))
}

func parseToken(t string) (direction string, position int, err error) {
	direction, digits, _ := strings.Cut(t, "/")
	position, convErr := strconv.Atoi(digits)
	if convErr != nil || (direction != "f" && direction != "b") || position < 0 {
		return "", 0, wire.Errorf("InvalidParameterException", "The specified nextToken is invalid.")
	}
	return direction, position, nil
}

// FilterLogEvents searches the streams of a group.
func (s *Service) FilterLogEvents(_ context.Context, in *cloudwatchlogs.FilterLogEventsInput) (*cloudwatchlogs.FilterLogEventsOutput, error) {
	g, err := s.groupOf(in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	match, err := parsePattern(aws.ToString(in.FilterPattern))
	if err != nil {
		return nil, err
	}
	type found struct {
		event
		stream string
		number int // in its stream
	}
	var all []found
	for _, st := range s.streamsOf(g.Name) {
		if len(in.LogStreamNames) > 0 && !slices.Contains(in.LogStreamNames, st.Name) ||
			!strings.HasPrefix(st.Name, aws.ToString(in.LogStreamNamePrefix)) {
			continue
		}
		events, err := s.read(st)
		if err != nil {
			return nil, err
		}
		for i, e := range between(events, in.StartTime, in.EndTime) {
			if match(e.Message) {
				all = append(all, found{e, st.Name, i})
			}
		}
	}
	for _, name := range in.LogStreamNames {
		if _, ok := s.streams.Get(streamKey(g.Name, name)); !ok {
			return nil, wire.Errorf("ResourceNotFoundException", "The specified log stream does not exist.")
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].Time < all[j].Time })
	from := 0
	if in.NextToken != nil {
		if _, from, err = parseToken(*in.NextToken); err != nil {
			return nil, err
		}
	}
	limit := maxEvents
	if in.Limit != nil {
		limit = int(*in.Limit)
	}
	from = min(from, len(all))
	to := min(from+limit, len(all))
	out := &cloudwatchlogs.FilterLogEventsOutput{Events: []types.FilteredLogEvent{}, SearchedLogStreams: []types.SearchedLogStream{}}
	for _, e := range all[from:to] {
		out.Events = append(out.Events, types.FilteredLogEvent{
			EventId: aws.String(fmt.Sprintf("%d%08d", e.Time, e.number)), LogStreamName: aws.String(e.stream),
			Timestamp: aws.Int64(e.Time), IngestionTime: aws.Int64(e.Ingest), Message: aws.String(e.Message),
		})
	}
	if to < len(all) {
		out.NextToken = token("f", to)
	}
	return out, nil
}
