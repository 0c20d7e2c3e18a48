package cleanup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// serve answers invocations through Lambda's runtime API until the context ends:
// it asks for the next one, handles it, and posts the answer. A library exists, but
// it links everything that reflection could reach, which makes this program, which
// every node fetches when it boots, four times as large.
func serve(ctx context.Context, api string, handle func(context.Context, json.RawMessage) error) error {
	base := "http://" + api + "/2018-06-01/runtime/invocation/"
	client := &http.Client{} // no time-out: the next invocation may be hours away
	for {
		request, id, deadline, err := next(ctx, client, base+"next")
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("next invocation: %w", err)
		}
		call, cancel := context.WithDeadline(ctx, deadline)
		err = handle(call, request)
		cancel()
		path, answer := base+id+"/response", any(nil)
		if err != nil {
			path, answer = base+id+"/error", map[string]string{"errorMessage": err.Error(), "errorType": "CleanupError"}
		}
		if err := post(ctx, client, path, answer); err != nil {
			return fmt.Errorf("answer to invocation %s: %w", id, err)
		}
	}
}

// margin is what an invocation keeps of its time to tell CloudFormation the end.
const margin = 5 * time.Second

func next(ctx context.Context, client *http.Client, url string) (request json.RawMessage, id string, deadline time.Time, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, "", time.Time{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", time.Time{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, "", time.Time{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, "", time.Time{}, fmt.Errorf("%s: %s", resp.Status, body)
	}
	ms, err := strconv.ParseInt(resp.Header.Get("Lambda-Runtime-Deadline-Ms"), 10, 64)
	if err != nil {
		return nil, "", time.Time{}, fmt.Errorf("deadline of an invocation: %w", err)
	}
	id = resp.Header.Get("Lambda-Runtime-Aws-Request-Id")
	if id == "" {
		return nil, "", time.Time{}, errors.New("an invocation without an ID")
	}
	return body, id, time.UnixMilli(ms).Add(-margin), nil
}

func post(ctx context.Context, client *http.Client, url string, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the runtime answered %s", resp.Status)
	}
	return nil
}
