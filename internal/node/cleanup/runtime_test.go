package cleanup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestInvocationsAreAnsweredOneByOne(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var answers []string
	asked := 0
	runtime := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what := strings.TrimPrefix(r.URL.Path, "/2018-06-01/runtime/invocation/")
		if what == "next" {
			if asked++; asked > 2 {
				cancel()
				return
			}
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", fmt.Sprint("request-", asked))
			w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(time.Minute).UnixMilli()))
			fmt.Fprintf(w, "%d", asked)
			return
		}
		body, _ := io.ReadAll(r.Body)
		answers = append(answers, what+" "+string(body))
		w.WriteHeader(http.StatusAccepted)
	}))
	defer runtime.Close()

	err := serve(ctx, strings.TrimPrefix(runtime.URL, "http://"), func(ctx context.Context, request json.RawMessage) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("an invocation has no deadline")
		}
		if string(request) == "2" {
			return errors.New("it did not work")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `request-1/response null` + "\n" + `request-2/error {"errorMessage":"it did not work","errorType":"CleanupError"}`
	if got := strings.Join(answers, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
