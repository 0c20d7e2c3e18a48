//go:build linux

package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"pcluster/internal/sandbox/fault"
)

// An order ends the daemon.
type order int

const (
	goDown order = iota + 1
	goAway
)

// control is the handler of the daemon's own socket (see [Client]).
func (r *Region) control(orders chan<- orderRequest) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, req *http.Request) {
		answer(w, r.status(req.Context()), nil)
	})
	mux.HandleFunc("POST /adopt", func(w http.ResponseWriter, req *http.Request) {
		file, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 1<<20))
		if err != nil {
			answer(w, nil, err)
			return
		}
		a, err := r.adopt(req.Context(), req.FormValue("name"), file)
		answer(w, a, err)
	})
	mux.HandleFunc("POST /import-image", func(w http.ResponseWriter, req *http.Request) {
		id, err := r.importImage(req.Context(), req.FormValue("name"), req.FormValue("source"))
		answer(w, struct{ ImageID string }{id}, err)
	})
	mux.HandleFunc("POST /component-run", r.tryComponent)
	mux.HandleFunc("POST /capacity", func(w http.ResponseWriter, req *http.Request) {
		n, err := strconv.Atoi(req.FormValue("n"))
		if err == nil {
			err = r.ec2.SetCapacity(req.FormValue("type"), n)
		}
		answer(w, struct{}{}, err)
	})
	r.faultOrders(mux)
	end := func(o order) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			done := make(chan error, 1)
			select {
			case orders <- orderRequest{o, done}:
				answer(w, struct{}{}, <-done)
			case <-time.After(5 * time.Second):
				answer(w, nil, fmt.Errorf("the region is going down already"))
			}
		}
	}
	mux.HandleFunc("POST /down", end(goDown))
	mux.HandleFunc("POST /destroy", end(goAway))
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodConnect {
			r.connect(w, req)
			return
		}
		mux.ServeHTTP(w, req)
	})
}

type orderRequest struct {
	order order
	done  chan<- error
}

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client is gone
}

// connect joins the client to an address inside the region. Names are those of
// the region's DNS.
func (r *Region) connect(w http.ResponseWriter, req *http.Request) {
	ctx, cancel := context.WithTimeout(req.Context(), 10*time.Second)
	defer cancel()
	address, err := r.resolve(req.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	inside, err := r.net.Dial(ctx, "tcp", address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer inside.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	ended := make(chan struct{}, 2)
	go func() {
		_, _ = io.Copy(inside, buffered)
		closeWrite(inside)
		ended <- struct{}{}
	}()
	go func() {
		_, _ = io.Copy(client, inside)
		closeWrite(client)
		ended <- struct{}{}
	}()
	<-ended
	<-ended
}

func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// faultOrders are those that break something, and mend it.
func (r *Region) faultOrders(mux *http.ServeMux) {
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, req *http.Request) {
		var f fault.Fault
		err := json.NewDecoder(http.MaxBytesReader(w, req.Body, 1<<16)).Decode(&f)
		if err == nil {
			err = r.knows(f)
		}
		if err == nil {
			f, err = r.faults.set.Add(f)
		}
		answer(w, f, err)
	})
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { answer(w, r.listFaults(), nil) })
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, req *http.Request) {
		n, err := r.mend(req.Context())
		answer(w, struct{ Ended int }{n}, err)
	})
	mux.HandleFunc("POST /faults/cut", func(w http.ResponseWriter, req *http.Request) {
		answer(w, struct{}{}, r.cut(req.Context(), Cut{req.FormValue("instance"), req.FormValue("other")}))
	})
	mux.HandleFunc("POST /faults/kill", func(w http.ResponseWriter, req *http.Request) {
		answer(w, struct{}{}, r.kill(req.Context(), req.FormValue("instance")))
	})
	mux.HandleFunc("POST /faults/impair", func(w http.ResponseWriter, req *http.Request) {
		answer(w, struct{}{}, r.ec2.Impair(req.FormValue("instance"), req.FormValue("host") == "true"))
	})
	mux.HandleFunc("POST /faults/event", func(w http.ResponseWriter, req *http.Request) {
		in, err := time.ParseDuration(req.FormValue("in"))
		if err == nil {
			err = r.ec2.Schedule(req.FormValue("instance"), req.FormValue("code"), time.Now().Add(in))
		}
		answer(w, struct{}{}, err)
	})
	mux.HandleFunc("POST /faults/interrupt", func(w http.ResponseWriter, req *http.Request) {
		notice, err := time.ParseDuration(req.FormValue("notice"))
		if err == nil {
			err = r.ec2.Interrupt(req.Context(), req.FormValue("instance"), notice)
		}
		answer(w, struct{}{}, err)
	})
	mux.HandleFunc("POST /faults/block", func(w http.ResponseWriter, req *http.Request) {
		start, err := time.ParseDuration(req.FormValue("start"))
		end, err2 := time.ParseDuration(req.FormValue("end"))
		if err = errors.Join(err, err2); err == nil {
			err = r.ec2.MoveBlock(req.FormValue("block"), start, end)
		}
		answer(w, struct{}{}, err)
	})
}
