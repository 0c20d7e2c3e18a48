//go:build linux

package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"pcluster/internal/component"
)

// tryComponent runs a component on a machine of its own and tells what happens, an
// event a line. The machine goes when the client does.
func (r *Region) tryComponent(w http.ResponseWriter, req *http.Request) {
	var t component.Trial
	if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, 1<<20)).Decode(&t); err != nil {
		answer(w, nil, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out, flush := json.NewEncoder(w), http.NewResponseController(w)
	say := func(e component.TrialEvent) {
		if out.Encode(e) == nil { // else the client is gone, of which req.Context() tells
			_ = flush.Flush()
		}
	}
	outcome, err := r.builder.Try(req.Context(), t, say)
	last := component.TrialEvent{Outcome: outcome}
	if err != nil {
		last = component.TrialEvent{Error: err.Error()}
	}
	say(last)
}

// TryComponent runs a component on a machine of the region that is made for it, hands
// on what happens, and returns how it ended. The machine is gone then; if ctx is done
// first, the region removes it.
func (c *Client) TryComponent(ctx context.Context, t component.Trial, say func(component.TrialEvent)) (*component.Outcome, error) {
	body, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	resp, err := c.send(ctx, "POST", "/component-run", nil, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	for in := json.NewDecoder(resp.Body); ; {
		var e component.TrialEvent
		switch err := in.Decode(&e); {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, errors.New("the region went down before the component was done")
		case err != nil:
			return nil, fmt.Errorf("answer of the region: %w", err)
		case e.Error != "":
			return nil, errors.New(e.Error)
		case e.Outcome != nil:
			return e.Outcome, nil
		}
		say(e)
	}
}
