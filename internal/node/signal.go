package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxReason is how long CloudFormation lets the answer to a wait condition be.
const maxReason = 4096

// A signal is what a wait condition waits for.
type signal struct {
	Status   string // SUCCESS or FAILURE
	UniqueId string
	Data     string
	Reason   string
}

// Signal tells a wait condition, by the URL of its handle, how the node did.
func Signal(ctx context.Context, handle, status, id, reason string) error {
	if handle == "" {
		return nil
	}
	body, err := encodeSignal(signal{Status: status, UniqueId: id, Reason: reason})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	client := &http.Client{Timeout: 30 * time.Second}
	_, err = poll(ctx, time.Second, func() (struct{}, error) { return struct{}{}, putOnce(ctx, client, handle, body) })
	if err != nil {
		return fmt.Errorf("signal the stack: %w", err)
	}
	return nil
}

// encodeSignal returns the JSON of a signal, with as much of its reason as fits. The
// beginning says what failed, the end how.
func encodeSignal(s signal) ([]byte, error) {
	for keep := len(s.Reason); ; keep = keep * 9 / 10 {
		short := s
		if keep < len(s.Reason) {
			head := min(keep/2, 400)
			short.Reason = s.Reason[:head] + " … " + s.Reason[len(s.Reason)-(keep-head):]
		}
		body, err := json.Marshal(short)
		if err != nil || len(body) <= maxReason || keep == 0 {
			return body, err
		}
	}
}

func putOnce(ctx context.Context, client *http.Client, url string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	// The signature in the URL covers an empty content type.
	req.Header["Content-Type"] = nil
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return fmt.Errorf("%s: %s", resp.Status, said)
	}
	return nil
}
