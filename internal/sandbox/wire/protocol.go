package wire

import (
	"net/http"
	"reflect"
	"strings"
)

// A protocol is one of AWS's ways to put calls into HTTP. Its methods get the
// exchange in this order; find may leave there what read needs.
type protocol interface {
	// find names the operation that a request is for.
	find(x *exchange) (string, error)
	// unknown is the error for an operation that nobody implements.
	unknown(x *exchange, operation string) error
	// read decodes the input into v, a struct.
	read(x *exchange, c *compiled, v reflect.Value) error
	// write encodes the output v, a struct.
	write(x *exchange, c *compiled, v reflect.Value) *response
	// fail encodes an error, which has a status.
	fail(x *exchange, e *Error) *response
}

// queryProtocol is AWS query, and EC2's dialect of it: parameters in a form,
// answers in XML.
type queryProtocol struct{ ec2 bool }

func (p queryProtocol) find(x *exchange) (string, error) {
	x.form = &formNode{}
	if err := parseForm(x.form, x.r.URL.RawQuery); err != nil {
		return "", x.inputError(err)
	}
	if strings.HasPrefix(x.r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") || x.r.URL.RawQuery == "" {
		if err := parseForm(x.form, string(x.body)); err != nil {
			return "", x.inputError(err)
		}
	}
	action := x.form.kid("Action")
	if action == nil || action.value == "" {
		return "", Errorf("MissingAction", "The request is missing an action or a required parameter")
	}
	if version := x.form.kid("Version"); !p.ec2 && version != nil && version.value != x.APIVersion {
		return "", Errorf("InvalidAction", "Could not find operation %s for version %s", action.value, version.value)
	}
	return action.value, nil
}

func (p queryProtocol) unknown(x *exchange, operation string) error {
	_, real := x.Operations[operation]
	switch {
	case real:
		return Errorf("InvalidAction", "The action %s is not valid for this web service: the sandbox does not have it", operation)
	case p.ec2:
		return Errorf("InvalidAction", "The action %s is not valid for this web service.", operation)
	}
	return Errorf("InvalidAction", "Could not find operation %s for version %s", operation, x.APIVersion)
}

func (p queryProtocol) read(x *exchange, c *compiled, v reflect.Value) error {
	d := formDecoder{ec2: p.ec2, ignore: func(path string) error {
		switch path {
		case "Action", "Version", "AWSAccessKeyId", "SignatureMethod", "SignatureVersion", "Signature", "Timestamp", "SecurityToken", "Expires":
			return nil
		}
		if p.ec2 && !strings.HasPrefix(path, "X-Amz-") && !x.hasMember(c.Input, path) {
			return &inputError{path: path, reason: "is not known", unknown: true}
		}
		return nil
	}}
	return d.structure(c.in, v, x.form, "")
}

// hasMember reports whether the model has a parameter with the given path that
// the SDK's struct lacks: one that was taken out of the SDK.
func (a *api) hasMember(shape, path string) bool {
	for part := range strings.SplitSeq(path, ".") {
		s := a.Shape(shape)
		next := ""
		switch s.Type {
		case "structure":
			for i := range s.Members {
				m := &s.Members[i]
				if part == orElse(m.QueryName, upperFirst(orElse(m.LocationName, m.Name))) {
					next = m.Shape
				}
			}
		case "list", "map":
			next = s.Elem.Shape
		}
		if next == "" {
			return false
		}
		shape = next
	}
	return true
}

const xmlHeader = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

func (p queryProtocol) write(x *exchange, c *compiled, v reflect.Value) *response {
	e := xmlEncoder{b: c.buffer(), ec2: p.ec2, timeForm: timeISO}
	if p.ec2 {
		e.timeForm = timeMilli
	}
	e.b = append(e.b, xmlHeader...)
	root := c.Name + "Response"
	e.open(root + ` xmlns="` + x.XMLNamespace + `"`)
	switch {
	case p.ec2:
		e.textElement("requestId", x.id)
		if c.out == nil {
			e.textElement("return", "true")
		} else {
			e.structure(c.out, v)
		}
	default:
		if c.out != nil {
			wrapper := orElse(c.Wrapper, c.Name+"Result")
			e.open(wrapper)
			e.structure(c.out, v)
			e.close(wrapper)
		}
		e.open("ResponseMetadata")
		e.textElement("RequestId", x.id)
		e.close("ResponseMetadata")
	}
	e.close(root)
	return &response{status: http.StatusOK, kind: "text/xml;charset=UTF-8", body: e.b, from: c}
}

func (p queryProtocol) fail(x *exchange, err *Error) *response {
	if !p.ec2 {
		return xmlFailure(x, err)
	}
	e := xmlEncoder{}
	e.b = append(e.b, xmlHeader...)
	e.open("Response")
	e.open("Errors")
	e.open("Error")
	e.textElement("Code", err.Code)
	e.textElement("Message", err.Message)
	e.fields(err)
	e.close("Error")
	e.close("Errors")
	e.textElement("RequestID", x.id)
	e.close("Response")
	return &response{status: err.Status, kind: "text/xml;charset=UTF-8", body: e.b}
}

// xmlFailure is the error body of query and rest-xml.
func xmlFailure(x *exchange, err *Error) *response {
	e := xmlEncoder{}
	e.b = append(e.b, xmlHeader...)
	e.open(`ErrorResponse xmlns="` + x.XMLNamespace + `"`)
	e.open("Error")
	e.textElement("Type", senderOf(err))
	e.textElement("Code", x.queryCode(err.Code))
	e.textElement("Message", err.Message)
	e.fields(err)
	e.close("Error")
	e.textElement("RequestId", x.id)
	e.close("ErrorResponse")
	return &response{status: err.Status, kind: "text/xml", body: e.b}
}

func (e *xmlEncoder) fields(err *Error) {
	for _, name := range sortedKeys(reflect.ValueOf(err.Fields)) {
		e.textElement(name, err.Fields[name])
	}
}

func senderOf(err *Error) string {
	if err.Status >= 500 {
		return "Receiver"
	}
	return "Sender"
}

// queryCode returns the code that XML protocols have for an error that a service
// called by the name of its shape.
func (a *api) queryCode(code string) string {
	if s := a.Exception(code); s != nil {
		return orElse(s.ErrorCode, code)
	}
	return code
}

// jsonProtocol is AWS JSON 1.0 and 1.1: the operation in a header, everything
// else in the body.
type jsonProtocol struct{}

func (jsonProtocol) find(x *exchange) (string, error) {
	target := x.r.Header.Get("X-Amz-Target")
	_, name, ok := strings.Cut(target, ".")
	if !ok {
		return "", Errorf("UnknownOperationException", "The header X-Amz-Target names no operation")
	}
	return name, nil
}

func (jsonProtocol) unknown(x *exchange, operation string) error {
	return unknownOperation(x, operation)
}

func unknownOperation(x *exchange, operation string) error {
	if _, real := x.Operations[operation]; real {
		return Errorf("UnknownOperationException", "The sandbox does not have the operation %s", operation)
	}
	return Errorf("UnknownOperationException", "The operation %s is not known", operation)
}

func (jsonProtocol) read(x *exchange, c *compiled, v reflect.Value) error {
	doc, err := parseJSON(x.body)
	if err != nil {
		return err
	}
	d := docDecoder{ignore: func(string) error { return nil }}
	return d.value(c.in, v, doc, "")
}

func (jsonProtocol) write(x *exchange, c *compiled, v reflect.Value) *response {
	resp := &response{status: http.StatusOK, kind: "application/x-amz-json-" + orElse(x.JSONVersion, "1.1")}
	if c.out == nil {
		return resp
	}
	e := jsonEncoder{b: c.buffer()}
	e.structure(c.out, v)
	resp.body, resp.from = e.b, c
	return resp
}

func (jsonProtocol) fail(x *exchange, err *Error) *response {
	code := x.shapeCode(err.Code)
	resp := &response{
		status: err.Status,
		header: http.Header{"X-Amzn-Errortype": {code}},
		kind:   "application/x-amz-json-" + orElse(x.JSONVersion, "1.1"),
		body:   x.jsonFailure(code, err),
	}
	x.addQueryError(resp, err)
	return resp
}

// jsonFailure is the error body of the JSON protocols. Where the model describes
// the error, its members have the names that the model gives them.
func (a *api) jsonFailure(code string, err *Error) []byte {
	e := jsonEncoder{b: append(make([]byte, 0, 256), '{')}
	put := func(name, value string) {
		if len(e.b) > 1 {
			e.b = append(e.b, ',')
		}
		e.b = appendJSONString(e.b, name)
		e.b = append(e.b, ':')
		e.b = appendJSONString(e.b, value)
	}
	put("__type", code)
	message := "message"
	if s := a.Exception(code); s != nil {
		for i := range s.Members {
			switch m := &s.Members[i]; {
			case strings.EqualFold(m.Name, "message"):
				message = orElse(m.LocationName, m.Name)
			case m.Name == "ErrorCode" && err.Fields["ErrorCode"] == "": // EFS repeats it
				put("ErrorCode", err.Code)
			}
		}
	}
	put(message, err.Message)
	for _, name := range sortedKeys(reflect.ValueOf(err.Fields)) {
		put(name, err.Fields[name])
	}
	e.b = append(e.b, '}')
	return e.b
}

// shapeCode returns the name of the error's shape, which JSON protocols send,
// for a code that differs from it in protocol query.
func (a *api) shapeCode(code string) string {
	if !a.QueryCompatible {
		return code
	}
	return a.ExceptionName(code)
}

func (x *exchange) addQueryError(resp *response, err *Error) {
	if x.QueryCompatible {
		resp.header.Set("X-Amzn-Query-Error", x.queryCode(err.Code)+";"+senderOf(err))
	}
}

// cborProtocol is Smithy's RPC v2 with CBOR, which CloudWatch's clients speak.
type cborProtocol struct{}

func (cborProtocol) find(x *exchange) (string, error) {
	_, name, ok := strings.Cut(x.r.URL.Path, "/operation/")
	if !ok || name == "" {
		return "", Errorf("UnknownOperationException", "The path %s names no operation", x.r.URL.Path)
	}
	return name, nil
}

func (cborProtocol) unknown(x *exchange, operation string) error {
	return unknownOperation(x, operation)
}

func (cborProtocol) read(x *exchange, c *compiled, v reflect.Value) error {
	doc, err := parseCBOR(x.body)
	if err != nil {
		return err
	}
	d := docDecoder{ignore: func(string) error { return nil }}
	return d.value(c.in, v, doc, "")
}

const cborKind = "application/cbor"

func (cborProtocol) write(x *exchange, c *compiled, v reflect.Value) *response {
	resp := &response{status: http.StatusOK, header: http.Header{"Smithy-Protocol": {"rpc-v2-cbor"}}}
	if c.out == nil {
		return resp
	}
	e := cborEncoder{b: c.buffer()}
	e.structure(c.out, v)
	resp.kind, resp.body, resp.from = cborKind, e.b, c
	return resp
}

func (cborProtocol) fail(x *exchange, err *Error) *response {
	code := x.shapeCode(err.Code)
	e := cborEncoder{}
	e.head(cborMap, uint64(2+len(err.Fields)))
	e.text("__type")
	e.text(code)
	e.text("message")
	e.text(err.Message)
	for _, name := range sortedKeys(reflect.ValueOf(err.Fields)) {
		e.text(name)
		e.text(err.Fields[name])
	}
	resp := &response{status: err.Status, header: http.Header{"Smithy-Protocol": {"rpc-v2-cbor"}}, kind: cborKind, body: e.b}
	x.addQueryError(resp, err)
	return resp
}
