package cloudformation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudformation"

	"pcluster/internal/sandbox/cloudformation/resource"
	"pcluster/internal/sandbox/cloudformation/template"
	"pcluster/internal/sandbox/wire"
)

const (
	waitType   = "AWS::CloudFormation::WaitCondition"
	handleType = "AWS::CloudFormation::WaitConditionHandle"
)

// A handleRow collects signals. Its key is the token in a wait handle's URL, or
// that of a resource which waits for SignalResource ([resourceKey]).
type handleRow struct {
	StackID, LogicalID string
	Signals            map[string]signal `json:",omitempty"` // by unique ID
}

type signal struct {
	Status string // SUCCESS or FAILURE
	Reason string `json:",omitempty"`
	Data   string `json:",omitempty"`
	Time   time.Time
}

// token derives an unguessable name from the token of an attempt, so that a
// repeat of the attempt finds what it had made.
func derived(token, purpose string) string {
	sum := sha256.Sum256([]byte(purpose + "\x00" + token))
	return hex.EncodeToString(sum[:16])
}

func (s *Service) waitHandleType() *resource.Type {
	return &resource.Type{
		Name: handleType,
		Create: func(_ context.Context, r *resource.Request) error {
			key := derived(r.Token, "handle")
			if _, err := s.handleTable.Insert(key, handleRow{StackID: r.StackID, LogicalID: r.LogicalID}); err != nil {
				return err
			}
			query := url.Values{"AWSAccessKeyId": {"AKIACLOUDFORMATION00"}, "Expires": {strconv.FormatInt(r.Started.Add(24*time.Hour).Unix(), 10)}, "Signature": {key}}
			return r.Created("https://cloudformation-waitcondition-" + r.Region + ".s3.amazonaws.com/" +
				url.PathEscape(r.StackID) + "/" + r.LogicalID + "?" + query.Encode())
		},
		Delete: func(_ context.Context, r *resource.Request) error {
			return s.handleTable.Delete(handleKey(r.PhysicalID))
		},
	}
}

// handleKey returns the token in a wait handle's URL.
func handleKey(handle string) string {
	u, err := url.Parse(handle)
	if err != nil {
		return ""
	}
	return u.Query().Get("Signature")
}

func (s *Service) waitConditionType() *resource.Type {
	return resource.Own(resource.Type{
		Name:       waitType,
		Attributes: []string{"Data"},
		Replaces:   []string{"*"},
		Signals:    true,
		Create: func(_ context.Context, r *resource.Request) error {
			if err := r.Created(r.StackID + "/" + r.LogicalID); err != nil {
				return err
			}
			if !r.Has("Handle") {
				return nil // waits by its CreationPolicy
			}
			count, err := strconv.Atoi(r.StringOr("Count", "1"))
			if err != nil || count < 1 {
				return errors.New("Count of a wait condition must be a positive number")
			}
			seconds, err := strconv.Atoi(r.String("Timeout"))
			if err != nil || seconds < 0 || seconds > 43200 {
				return errors.New("Timeout of a wait condition must be a number of seconds up to 43200")
			}
			key := handleKey(r.String("Handle"))
			if _, ok := s.handleTable.Get(key); !ok {
				return errors.New("Handle of the wait condition is no URL of a wait condition handle")
			}
			data, err := s.awaitConditions(r, key, count, r.Started.Add(time.Duration(seconds)*time.Second))
			r.Set("Data", data)
			return err
		},
		Delete: func(context.Context, *resource.Request) error { return nil },
	}, nil, "Handle", "Timeout", "Count")
}

// awaitConditions waits until a handle has count successes, and returns their
// data as CloudFormation's JSON object.
func (s *Service) awaitConditions(r *resource.Request, key string, count int, deadline time.Time) (string, error) {
	timer := time.NewTimer(deadline.Sub(s.now()))
	defer timer.Stop()
	for {
		changed := s.bell.next()
		handle, _ := s.handleTable.Get(key)
		data := map[string]any{}
		for _, id := range slices.Sorted(maps.Keys(handle.Signals)) {
			sig := handle.Signals[id]
			if sig.Status == "FAILURE" {
				return "", fmt.Errorf("WaitCondition received failed message: '%s' for uniqueId: %s", sig.Reason, id)
			}
			data[id] = sig.Data
		}
		if len(data) >= count {
			return template.JSON(data), nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return "", fmt.Errorf("WaitCondition timed out. Received %d conditions when expecting %d", len(data), count)
		case <-r.Interrupt.Done():
			return "", context.Cause(r.Interrupt)
		}
	}
}

// awaitSignals waits for the signals that a resource's CreationPolicy demands.
func (d *driver) awaitSignals(ctx context.Context, scope *template.Scope, r resourceRow) error {
	t := scope.Template.Resources[r.LogicalID]
	if t == nil || t.CreationPolicy["ResourceSignal"] == nil || !d.s.typeOf(r.Type).Signals {
		return nil
	}
	v, err := scope.Eval(t.CreationPolicy["ResourceSignal"])
	if err != nil {
		return err
	}
	policy, _ := v.(map[string]any)
	count, timeout := 1, 5*time.Minute
	if text, ok := template.Text(policy["Count"]); ok {
		if count, err = strconv.Atoi(text); err != nil {
			return errors.New("Count of a CreationPolicy must be a number")
		}
	}
	if text, ok := template.Text(policy["Timeout"]); ok {
		if timeout, err = isoDuration(text); err != nil {
			return err
		}
	}
	if count == 0 {
		return nil
	}
	key := resourceKey(d.st.id, r.LogicalID) + "|" + r.Token
	timer := time.NewTimer(r.Started.Add(timeout).Sub(d.s.now()))
	defer timer.Stop()
	for {
		changed := d.s.bell.next()
		handle, _ := d.s.handleTable.Get(key)
		good, bad := 0, 0
		for _, sig := range handle.Signals {
			if sig.Status == "SUCCESS" {
				good++
			} else {
				bad++
			}
		}
		switch {
		case bad > 0:
			return fmt.Errorf("Received %d FAILURE signal(s) out of %d.  Unable to satisfy 100%% MinSuccessfulInstancesPercent requirement", bad, count)
		case good >= count:
			return nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return fmt.Errorf("Failed to receive %d resource signal(s) within the specified duration", count-good)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// isoDuration reads an ISO 8601 duration such as PT15M, without years and months.
func isoDuration(text string) (time.Duration, error) {
	rest, ok := strings.CutPrefix(text, "P")
	bad := fmt.Errorf("%q is no ISO 8601 duration such as PT15M", text)
	if !ok {
		return 0, bad
	}
	units := map[byte]time.Duration{'D': 24 * time.Hour}
	var total time.Duration
	for rest != "" {
		if rest[0] == 'T' {
			units = map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second}
			rest = rest[1:]
			continue
		}
		i := strings.IndexFunc(rest, func(c rune) bool { return c < '0' || c > '9' })
		if i <= 0 || units[rest[i]] == 0 {
			return 0, bad
		}
		n, err := strconv.Atoi(rest[:i])
		if err != nil {
			return 0, bad
		}
		total += time.Duration(n) * units[rest[i]]
		rest = rest[i+1:]
	}
	return total, nil
}

// SignalResource takes a signal for a resource with a CreationPolicy, or for a
// wait condition.
func (s *Service) SignalResource(_ context.Context, in *sdk.SignalResourceInput) (*sdk.SignalResourceOutput, error) {
	st := s.find(aws.ToString(in.StackName))
	if st == nil {
		return nil, validation("Stack '%s' does not exist", aws.ToString(in.StackName))
	}
	id := aws.ToString(in.LogicalResourceId)
	r, ok := st.resource(id)
	if !ok {
		return nil, validation("Resource %s does not exist for stack %s", id, st.snapshot().Name)
	}
	if r.Status != "CREATE_IN_PROGRESS" && r.Status != "UPDATE_IN_PROGRESS" {
		return nil, validation("Resource %s is in %s state and cannot be signaled", id, r.Status)
	}
	key := resourceKey(st.id, id) + "|" + r.Token
	if r.Type == waitType {
		if handle, _ := template.Text(r.Props["Handle"]); handle != "" {
			key = handleKey(handle)
		}
	}
	unique := aws.ToString(in.UniqueId)
	if err := s.addSignal(key, handleRow{StackID: st.id, LogicalID: id}, unique, signal{Status: string(in.Status), Time: s.now()}); err != nil {
		return nil, err
	}
	event := eventRow{
		LogicalID: id, PhysicalID: r.PhysicalID, Type: r.Type, Status: r.Status,
		Reason: fmt.Sprintf("Received %s signal with UniqueId %s", in.Status, unique),
	}
	return &sdk.SignalResourceOutput{}, s.addEvent(st, event)
}

// addSignal adds a signal to a handle, which is made if it does not exist and
// make has a stack. The first signal with a unique ID counts.
func (s *Service) addSignal(key string, make handleRow, unique string, sig signal) error {
	if make.StackID != "" {
		if _, err := s.handleTable.Insert(key, make); err != nil {
			return err
		}
	}
	_, err := s.handleTable.Update(key, func(row *handleRow) error {
		if _, twice := row.Signals[unique]; twice {
			return nil
		}
		signals := maps.Clone(row.Signals)
		if signals == nil {
			signals = map[string]signal{}
		}
		signals[unique] = sig
		row.Signals = signals
		return nil
	})
	s.bell.ring()
	return err
}

// maxSignal is how long the body of a signal or answer may be, as on AWS.
const maxSignal = 4096

// SignalHandler answers the PUTs to wait handles and to the response URLs of
// custom resources.
func (s *Service) SignalHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodPut {
			s3Error(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource.")
			return
		}
		body, err := io.ReadAll(io.LimitReader(req.Body, maxSignal+1))
		if err != nil {
			s3Error(w, http.StatusBadRequest, "IncompleteBody", "The request body terminated unexpectedly")
			return
		}
		if token, ok := strings.CutPrefix(req.URL.Path, answerPath); ok {
			err = s.takeAnswer(token, body)
		} else {
			err = s.takeSignal(req.URL.Query().Get("Signature"), body)
		}
		var refusal *wire.Error
		switch {
		case errors.As(err, &refusal):
			s3Error(w, refusal.Status, refusal.Code, refusal.Message)
		case err != nil:
			s.log.Error("store signal", "err", err)
			s3Error(w, http.StatusInternalServerError, "InternalError", "We encountered an internal error. Please try again.")
		default:
			w.Header().Set("ETag", `"`+derived(string(body), "etag")+`"`)
			w.WriteHeader(http.StatusOK)
		}
	})
}

func s3Error(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
}

func (s *Service) takeSignal(key string, body []byte) error {
	if _, ok := s.handleTable.Get(key); !ok {
		return &wire.Error{Code: "AccessDenied", Message: "Access Denied", Status: http.StatusForbidden}
	}
	var m struct{ Status, UniqueId, Data, Reason string }
	if len(body) > maxSignal {
		return &wire.Error{Code: "EntityTooLarge", Message: "A signal may have at most 4096 bytes", Status: http.StatusBadRequest}
	}
	if err := json.Unmarshal(body, &m); err != nil || m.UniqueId == "" || m.Status != "SUCCESS" && m.Status != "FAILURE" {
		return &wire.Error{Code: "InvalidRequest", Message: "A signal is a JSON object with Status (SUCCESS or FAILURE), UniqueId, Data and Reason", Status: http.StatusBadRequest}
	}
	return s.addSignal(key, handleRow{}, m.UniqueId, signal{Status: m.Status, Reason: m.Reason, Data: m.Data, Time: s.now()})
}
