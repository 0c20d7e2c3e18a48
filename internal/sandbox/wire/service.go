package wire

import (
	"context"
	"net/http"
	"reflect"
)

// A Service answers the requests to one AWS API.
type Service struct {
	name string
	ops  map[string]*operation
}

type operation struct {
	in, out reflect.Type // the SDK's structs
	call    func(ctx context.Context, in any) (any, error)
}

// NewService returns a service without operations that speaks the named API:
// one of [Models].
func NewService(model string) (*Service, error) {
	return &Service{name: model, ops: map[string]*operation{}}, nil
}

// Handle makes fn answer an operation of the API. All calls of Handle must come
// before the first request.
func Handle[I, O any](s *Service, name string, fn func(context.Context, *I) (*O, error)) {
	s.ops[name] = &operation{
		in:  reflect.TypeFor[I](),
		out: reflect.TypeFor[O](),
		call: func(ctx context.Context, in any) (any, error) {
			out, err := fn(ctx, in.(*I))
			if err != nil {
				return nil, err
			}
			return out, nil
		},
	}
}

// ServeHTTP answers one request.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	http.Error(w, "not yet", http.StatusNotImplemented)
}

// ServeHTTP finds the service that the request is for, checks its signature and
// hands it over.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	http.Error(w, "not yet", http.StatusNotImplemented)
}
