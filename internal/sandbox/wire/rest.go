package wire

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"pcluster/internal/sandbox/wire/model"
)

// restProtocol is rest-json and rest-xml: the operation is in method and path,
// members may be in path, query string, headers and status.
type restProtocol struct{ xml bool }

// A route is the method and path pattern of an operation.
type route struct {
	operation string
	method    string
	parts     []string // literal, or {Label} or {Label+}
	query     url.Values
	literals  int
}

func newRoutes(m *model.Model) []route {
	var routes []route
	for name, op := range m.Operations {
		path, query, _ := strings.Cut(op.URI, "?")
		rt := route{operation: name, method: op.Method, parts: splitPath(path)}
		rt.query, _ = url.ParseQuery(query)
		for _, p := range rt.parts {
			if !isLabel(p) {
				rt.literals++
			}
		}
		routes = append(routes, rt)
	}
	// The most particular first; names only make the order certain.
	slices.SortFunc(routes, func(a, b route) int {
		if d := len(b.query) - len(a.query); d != 0 {
			return d
		}
		if d := b.literals - a.literals; d != 0 {
			return d
		}
		return strings.Compare(a.operation, b.operation)
	})
	return routes
}

func isLabel(part string) bool { return strings.HasPrefix(part, "{") }

func splitPath(path string) []string {
	return strings.Split(strings.Trim(path, "/"), "/")
}

// match returns the labels of a path that the route is for.
func (rt *route) match(parts []string, query url.Values) (map[string]string, bool) {
	var labels map[string]string
	for i, p := range rt.parts {
		if i >= len(parts) {
			return nil, false
		}
		if !isLabel(p) {
			if p != parts[i] {
				return nil, false
			}
			continue
		}
		if labels == nil {
			labels = map[string]string{}
		}
		name := strings.Trim(p, "{+}")
		value := parts[i]
		if strings.HasSuffix(p, "+}") {
			value = strings.Join(parts[i:], "/")
			parts = parts[:i+1]
		}
		value, err := url.PathUnescape(value)
		if err != nil || value == "" {
			return nil, false
		}
		labels[name] = value
	}
	if len(parts) != len(rt.parts) {
		return nil, false
	}
	for k, v := range rt.query {
		if !query.Has(k) || v[0] != "" && query.Get(k) != v[0] {
			return nil, false
		}
	}
	return labels, true
}

func (p restProtocol) find(x *exchange) (string, error) {
	parts := splitPath(x.r.URL.EscapedPath())
	query := x.r.URL.Query()
	for i := range x.routes {
		rt := &x.routes[i]
		if rt.method != x.r.Method {
			continue
		}
		if labels, ok := rt.match(parts, query); ok {
			x.labels = labels
			return rt.operation, nil
		}
	}
	return "", p.noRoute(x, x.r.Method+" "+x.r.URL.Path)
}

func (p restProtocol) noRoute(x *exchange, what string) error {
	return &Error{Code: "UnknownOperationException", Message: "No operation of " + x.Name + " answers " + what, Status: http.StatusNotFound}
}

func (p restProtocol) unknown(x *exchange, operation string) error {
	return &Error{Code: "UnknownOperationException", Message: "The sandbox does not have the operation " + operation, Status: http.StatusNotFound}
}

func (p restProtocol) read(x *exchange, c *compiled, v reflect.Value) error {
	query := x.r.URL.Query()
	for i := range c.in.fields {
		f := &c.in.fields[i]
		var err error
		switch f.loc {
		case "uri":
			if text, ok := x.labels[f.locName]; ok {
				err = f.plan.setText(f.at(v), text, f.name)
			}
		case "querystring":
			err = f.readQuery(v, query)
		case "header":
			err = f.readHeader(v, x.r.Header)
		case "headers":
			f.readPrefixed(v, x.r.Header)
		}
		if err != nil {
			return err
		}
	}
	if name := c.in.shape.Payload; name != "" {
		return p.readPayload(x, c.in, name, v)
	}
	if len(bytes.TrimSpace(x.body)) == 0 {
		return nil
	}
	return p.readBody(c.in, v, x.body)
}

func (p restProtocol) readBody(pl *plan, v reflect.Value, body []byte) error {
	if p.xml {
		root, err := parseXML(body)
		if err != nil {
			return err
		}
		d := xmlDecoder{ignore: func(string) error { return nil }}
		return d.value(pl, v, root, "")
	}
	doc, err := parseJSON(body)
	if err != nil {
		return err
	}
	d := docDecoder{ignore: func(string) error { return nil }}
	return d.value(pl, v, doc, "")
}

func (p restProtocol) readPayload(x *exchange, pl *plan, name string, v reflect.Value) error {
	for i := range pl.fields {
		f := &pl.fields[i]
		if f.name != name || len(x.body) == 0 {
			continue
		}
		switch f.plan.kind {
		case kindBlob:
			f.at(v).SetBytes(x.body)
		case kindString:
			f.at(v).SetString(string(x.body))
		case kindStream:
			f.at(v).Set(reflect.ValueOf(streamBody{bytes.NewReader(x.body)}))
		default:
			return p.readBody(f.plan, f.at(v), x.body)
		}
	}
	return nil
}

// A streamBody is a payload that handlers read as a stream.
type streamBody struct{ *bytes.Reader }

func (streamBody) Close() error { return nil }

func (f *field) readQuery(v reflect.Value, query url.Values) error {
	switch f.plan.kind {
	case kindList:
		list := f.at(v)
		for _, text := range query[f.locName] {
			err := f.plan.addElem(list, func(e reflect.Value) error { return f.plan.elem.setText(e, text, f.name) })
			if err != nil {
				return err
			}
		}
	case kindMap:
		for key, values := range query {
			err := f.plan.setEntry(f.at(v), key, func(e reflect.Value) error {
				if f.plan.elem.kind != kindList {
					return f.plan.elem.setText(e, values[0], key)
				}
				for _, text := range values {
					err := f.plan.elem.addElem(e, func(ev reflect.Value) error { return f.plan.elem.elem.setText(ev, text, key) })
					if err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	default:
		if query.Has(f.locName) {
			return f.plan.setText(f.at(v), query.Get(f.locName), f.name)
		}
	}
	return nil
}

func (f *field) readHeader(v reflect.Value, h http.Header) error {
	values := h.Values(f.locName)
	if len(values) == 0 {
		return nil
	}
	if f.plan.kind != kindList {
		return f.plan.setText(f.at(v), values[0], f.name)
	}
	for text := range strings.SplitSeq(strings.Join(values, ","), ",") {
		err := f.plan.addElem(f.at(v), func(e reflect.Value) error { return f.plan.elem.setText(e, strings.TrimSpace(text), f.name) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *field) readPrefixed(v reflect.Value, h http.Header) {
	for name, values := range h {
		if len(name) > len(f.locName) && strings.EqualFold(name[:len(f.locName)], f.locName) {
			_ = f.plan.setEntry(f.at(v), strings.ToLower(name[len(f.locName):]), func(e reflect.Value) error {
				e.SetString(values[0])
				return nil
			})
		}
	}
}

func (p restProtocol) write(x *exchange, c *compiled, v reflect.Value) *response {
	resp := &response{status: http.StatusOK, header: http.Header{}}
	if c.Status != 0 {
		resp.status = c.Status
	}
	if c.out == nil {
		if p.xml {
			return resp
		}
		if resp.status != http.StatusNoContent {
			resp.kind, resp.body = "application/json", []byte("{}")
		}
		return resp
	}
	body := false
	var payload *field
	for i := range c.out.fields {
		f := &c.out.fields[i]
		if f.name == c.out.shape.Payload {
			payload = f
		}
		if f.loc == "" {
			body = true
			continue
		}
		if fv, ok := f.get(v); ok {
			f.writeLocation(resp, fv)
		}
	}
	switch {
	case payload != nil:
		if fv, ok := payload.get(v); ok {
			p.writePayload(x, c, payload, fv, resp)
		}
	case p.xml:
		if body || len(c.out.fields) == 0 {
			p.writeXML(x, c.Name+"Response", c.out, v, resp)
		}
	default:
		e := jsonEncoder{b: c.buffer()}
		e.structure(c.out, v)
		resp.kind, resp.body, resp.from = "application/json", e.b, c
	}
	return resp
}

func (f *field) writeLocation(resp *response, v reflect.Value) {
	switch f.loc {
	case "statusCode":
		if n := int(v.Int()); n >= 100 {
			resp.status = n
		}
	case "header":
		if f.plan.kind != kindList {
			resp.header.Set(f.locName, string(f.plan.appendText(nil, v, orElse(f.timeFormat, timeHTTP))))
			return
		}
		var texts []string
		for i := range v.Len() {
			texts = append(texts, string(f.plan.elem.appendText(nil, v.Index(i), timeHTTP)))
		}
		resp.header.Set(f.locName, strings.Join(texts, ","))
	case "headers":
		for _, key := range sortedKeys(v) {
			resp.header.Set(f.locName+key, f.plan.entryOf(v, key).String())
		}
	}
}

func (p restProtocol) writePayload(x *exchange, c *compiled, f *field, v reflect.Value, resp *response) {
	switch f.plan.kind {
	case kindBlob:
		resp.kind, resp.body = "application/octet-stream", v.Bytes()
	case kindString:
		resp.kind, resp.body = "text/plain", []byte(v.String())
	case kindStream:
		resp.kind = "application/octet-stream"
		if r, ok := v.Interface().(io.Reader); ok {
			resp.body, _ = io.ReadAll(r)
		}
	default:
		if p.xml {
			p.writeXML(x, f.xmlName, f.plan, v, resp)
			return
		}
		e := jsonEncoder{}
		e.value(f.plan, v, f.timeFormat)
		resp.kind, resp.body = "application/json", e.b
	}
}

func (p restProtocol) writeXML(x *exchange, root string, pl *plan, v reflect.Value, resp *response) {
	e := xmlEncoder{b: append(make([]byte, 0, 1024), xmlHeader...), timeForm: timeISO}
	e.open(root + ` xmlns="` + x.XMLNamespace + `"`)
	e.structure(pl, v)
	e.close(root)
	resp.kind, resp.body = "text/xml", e.b
}

func (p restProtocol) fail(x *exchange, err *Error) *response {
	if p.xml {
		return xmlFailure(x, err)
	}
	return &response{
		status: err.Status,
		header: http.Header{"X-Amzn-Errortype": {err.Code}},
		kind:   "application/json",
		body:   x.jsonFailure(err.Code, err),
	}
}
