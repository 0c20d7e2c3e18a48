package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"pcluster/internal/sandbox/wire/model"
)

// A Service answers the requests to one AWS API.
type Service struct {
	name string
	ops  map[string]*operation
	load func() (*api, error)

	remember  map[string]string // members that tell structures apart, by shape
	unchecked bool              // tests of the codec send values that no rule allows
}

// An operation is a call that somebody implements.
type operation struct {
	name    string
	in, out reflect.Type // the SDK's structs
	call    func(ctx context.Context, in reflect.Value) (any, error)
	compile func() (*compiled, error)
}

// A compiled operation is one that has been asked for: its tables are made.
type compiled struct {
	*model.Operation
	in, out *plan // nil where the model has no input or output
	op      *operation

	size  atomic.Int64 // of the last response: the next one will be about as large
	spare sync.Pool    // of buffers (*[]byte) that large responses were in
}

// largeResponse is from where on memory is worth using again: making a response of a
// thousand instances would otherwise mean to clear and to collect megabytes.
const largeResponse = 64 << 10

// buffer returns the memory for a response.
func (c *compiled) buffer() []byte {
	if b, ok := c.spare.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, max(512, c.size.Load()*9/8))
}

// release takes back the memory of a response that was sent.
func (c *compiled) release(b []byte) {
	if cap(b) >= largeResponse {
		c.spare.Put(&b)
	}
}

// An api is a model that has been loaded, with what can be derived from it.
type api struct {
	*model.Model
	planner *planner
	routes  []route // of REST protocols
}

// Models returns the names that [NewService] takes.
func Models() []string { return model.Names() }

// NewService returns a service without operations that speaks the named API,
// one of [Models].
func NewService(name string) (*Service, error) {
	if !model.Has(name) {
		return nil, fmt.Errorf("no API model of %q; there are %s", name, strings.Join(Models(), ", "))
	}
	s := &Service{name: name, ops: map[string]*operation{}, remember: map[string]string{}}
	s.load = sync.OnceValues(func() (*api, error) { return loadAPI(name, s.remember) })
	return s, nil
}

func loadAPI(name string, remember map[string]string) (*api, error) {
	m, err := model.Load(name)
	if err != nil {
		return nil, err
	}
	a := &api{Model: m, planner: newPlanner(m, remember)}
	switch m.Protocols[0] {
	case model.RestJSON, model.RestXML:
		a.routes = newRoutes(m)
	}
	return a, nil
}

func (a *api) ec2() bool { return a.Protocols[0] == model.EC2 }

// Handle makes fn answer an operation of the API. All calls of Handle must come
// before the first request.
func Handle[I, O any](s *Service, name string, fn func(context.Context, *I) (*O, error)) {
	s.handle(name, reflect.TypeFor[I](), reflect.TypeFor[O](), func(ctx context.Context, in reflect.Value) (any, error) {
		out, err := fn(ctx, in.Interface().(*I))
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = new(O)
		}
		return out, nil
	})
}

// Remember makes the service keep the encoded form of structures of the given shape for
// as long as they do not change; the member, a text, tells them apart. What such a
// structure points to must never be written to: a change replaces it. All calls must come
// before the first request. It is for protocols in XML.
func (s *Service) Remember(shape, member string) { s.remember[shape] = member }

func (s *Service) handle(name string, in, out reflect.Type, call func(context.Context, reflect.Value) (any, error)) {
	op := &operation{name: name, in: in, out: out, call: call}
	op.compile = sync.OnceValues(func() (*compiled, error) { return s.compile(op) })
	s.ops[name] = op
}

// compile makes the tables of an operation.
func (s *Service) compile(op *operation) (*compiled, error) {
	a, err := s.load()
	if err != nil {
		return nil, err
	}
	mop, ok := a.Operations[op.name]
	if !ok {
		return nil, fmt.Errorf("%s has no operation %s", s.name, op.name)
	}
	c := &compiled{Operation: mop, op: op}
	if mop.Input != "" {
		if c.in, err = a.planner.plan(mop.Input, op.in); err != nil {
			return nil, fmt.Errorf("input of %s.%s: %w", s.name, op.name, err)
		}
	}
	if mop.Output != "" {
		if c.out, err = a.planner.plan(mop.Output, op.out); err != nil {
			return nil, fmt.Errorf("output of %s.%s: %w", s.name, op.name, err)
		}
		if answersWithLists(op.name) {
			for i := range c.out.fields {
				c.out.fields[i].always = c.out.fields[i].plan.kind == kindList
			}
		}
	}
	return c, nil
}

// answersWithLists reports whether AWS sends the lists at the top of an
// operation's output even when they are empty. Python programs count on it:
// response["Reservations"] must not be a KeyError.
func answersWithLists(operation string) bool {
	return (strings.HasPrefix(operation, "Describe") || strings.HasPrefix(operation, "List")) && !strings.Contains(operation, "Attribute")
}

// Compile makes the tables of all operations now rather than on their first
// request, and reports what in them does not fit the model. Tests call it.
func (s *Service) Compile() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.ops)) {
		if _, err := s.ops[name].compile(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// maxBody bounds the memory that one request may take. Lambda's code, at most
// 70 MB with base64, is the largest that AWS allows.
const maxBody = 128 << 20

// ServeHTTP answers one request: it finds the protocol and the operation,
// decodes and checks the input, calls the operation and encodes what it returns.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, err := s.load()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	x, p := a.exchange(r)
	name, out, err := s.answer(x, p)
	Note(r.Context(), name, err)
	if err != nil {
		p.fail(x, x.errorFrom(err)).send(w, x)
		return
	}
	out.send(w, x)
	if out.from != nil {
		out.from.release(out.body)
	}
}

// Fail answers a request with an error without looking at the operation, in the
// form of the client's protocol.
func (s *Service) Fail(w http.ResponseWriter, r *http.Request, err error) {
	a, loadErr := s.load()
	if loadErr != nil {
		http.Error(w, loadErr.Error(), http.StatusInternalServerError)
		return
	}
	x, p := a.exchange(r)
	p.fail(x, x.errorFrom(err)).send(w, x)
}

func (s *Service) answer(x *exchange, p protocol) (name string, _ *response, err error) {
	if x.body, err = readBody(x.r); err != nil {
		return "", nil, err
	}
	name, err = p.find(x)
	if err != nil {
		return name, nil, err
	}
	op, ok := s.ops[name]
	if !ok {
		return name, nil, p.unknown(x, name)
	}
	c, err := op.compile()
	if err != nil {
		return name, nil, err
	}
	in := reflect.New(op.in)
	if c.in != nil {
		if err := p.read(x, c, in.Elem()); err != nil {
			return name, nil, x.inputError(err)
		}
		if !s.unchecked {
			if err := x.checkInput(c.in, in.Elem()); err != nil {
				return name, nil, err
			}
		}
	}
	if fn := interceptFrom(x.r.Context()); fn != nil {
		if err := fn(name, in.Interface()); err != nil {
			return name, nil, err
		}
	}
	out, err := op.call(x.r.Context(), in)
	if err != nil {
		return name, nil, err
	}
	resp := p.write(x, c, reflect.ValueOf(out).Elem())
	c.size.Store(int64(len(resp.body)))
	return name, resp, nil
}

// An exchange is one request on its way through a protocol.
type exchange struct {
	*api
	speaks string // the protocol that the client chose: model.Query, …
	r      *http.Request
	id     string // of the request
	body   []byte
	form   *formNode         // query protocols
	labels map[string]string // REST protocols: parts of the path
}

// A memBody is a request body that is in memory already: the endpoint has read
// it to check the signature.
type memBody struct {
	io.Reader
	data []byte
}

func (*memBody) Close() error { return nil }

func (a *api) exchange(r *http.Request) (*exchange, protocol) {
	x := &exchange{api: a, speaks: a.Protocols[0], r: r, id: requestID(r.Context())}
	if len(a.Protocols) > 1 {
		switch {
		case r.Header.Get("Smithy-Protocol") == "rpc-v2-cbor":
			x.speaks = model.CBOR
		case r.Header.Get("X-Amz-Target") != "":
			x.speaks = model.JSON
		default:
			x.speaks = model.Query
		}
	}
	switch x.speaks {
	case model.EC2:
		return x, queryProtocol{ec2: true}
	case model.Query:
		return x, queryProtocol{}
	case model.JSON:
		return x, jsonProtocol{}
	case model.CBOR:
		return x, cborProtocol{}
	case model.RestXML:
		return x, restProtocol{xml: true}
	}
	return x, restProtocol{}
}

func readBody(r *http.Request) ([]byte, error) {
	switch b := r.Body.(type) {
	case nil:
		return nil, nil
	case *memBody:
		return b.data, nil
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, &Error{Code: "RequestTimeout", Message: "The request body did not arrive: " + err.Error(), Status: http.StatusBadRequest}
	}
	if len(data) > maxBody {
		return nil, &Error{Code: "RequestEntityTooLarge", Message: "The request body is larger than " + strconv.Itoa(maxBody) + " bytes", Status: http.StatusRequestEntityTooLarge}
	}
	return unpack(r, data)
}

// A response is what goes back, whatever the protocol.
type response struct {
	status int
	header http.Header // may be nil
	kind   string      // Content-Type; empty without a body
	body   []byte
	from   *compiled // whose buffer the body is; nil: it is another's
}

func (resp *response) send(w http.ResponseWriter, x *exchange) {
	h := w.Header()
	for k, v := range resp.header {
		h[k] = v
	}
	h.Set("X-Amzn-Requestid", x.id)
	if resp.kind != "" {
		h.Set("Content-Type", resp.kind)
	}
	if resp.status != http.StatusNoContent && resp.status != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(resp.body)))
	}
	w.WriteHeader(resp.status)
	if x.r.Method != http.MethodHead && resp.status != http.StatusNoContent {
		_, _ = w.Write(resp.body) // the client may be gone
	}
}

// Operations returns the names of the operations that somebody implements, in order.
func (s *Service) Operations() []string { return slices.Sorted(maps.Keys(s.ops)) }
