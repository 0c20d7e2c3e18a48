package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
)

// Requests in JSON and CBOR are first read into plain Go values: map[string]any,
// []any, string, bool, nil, and for numbers json.Number, int64, uint64 or
// float64; in CBOR also []byte and time.Time.

func parseJSON(body []byte) (any, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return map[string]any{}, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		return nil, badInput("", "the request body is not JSON: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, badInput("", "the request body has text after its JSON value")
	}
	return doc, nil
}

func parseCBOR(body []byte) (any, error) {
	if len(body) == 0 {
		return map[string]any{}, nil
	}
	v, err := cbor.Decode(body)
	if err != nil {
		return nil, badInput("", "the request body is not CBOR: %v", err)
	}
	return plainCBOR(v)
}

func plainCBOR(v cbor.Value) (any, error) {
	switch v := v.(type) {
	case cbor.Uint:
		return uint64(v), nil
	case cbor.NegInt:
		if v == 0 || uint64(v) > math.MaxInt64 {
			return nil, badInput("", "an integer is too small")
		}
		return -int64(v), nil
	case cbor.Slice:
		return []byte(v), nil
	case cbor.String:
		return string(v), nil
	case cbor.Bool:
		return bool(v), nil
	case cbor.Float32:
		return float64(v), nil
	case cbor.Float64:
		return float64(v), nil
	case *cbor.Nil, *cbor.Undefined, nil:
		return nil, nil
	case cbor.List:
		l := make([]any, len(v))
		for i, e := range v {
			p, err := plainCBOR(e)
			if err != nil {
				return nil, err
			}
			l[i] = p
		}
		return l, nil
	case cbor.Map:
		m := make(map[string]any, len(v))
		for k, e := range v {
			p, err := plainCBOR(e)
			if err != nil {
				return nil, err
			}
			m[k] = p
		}
		return m, nil
	case *cbor.Tag:
		p, err := plainCBOR(v.Value)
		if err != nil || v.ID != 1 {
			return p, err
		}
		seconds, ok := number(p)
		if !ok {
			return nil, badInput("", "a timestamp is not a number")
		}
		t, err := unixTime(seconds)
		if err != nil {
			return nil, badInput("", "%v", err)
		}
		return t, nil
	}
	return nil, badInput("", "unsupported CBOR value %T", v)
}

func number(doc any) (float64, bool) {
	switch n := doc.(type) {
	case json.Number:
		f, err := n.Float64()
		return f, err == nil
	case float64:
		return n, true
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	}
	return 0, false
}

func integer(doc any) (int64, bool) {
	switch n := doc.(type) {
	case json.Number:
		if i, err := n.Int64(); err == nil {
			return i, true
		}
		f, err := n.Float64()
		return int64(f), err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<62
	case float64:
		return int64(n), n == math.Trunc(n) && math.Abs(n) < 1<<62
	case int64:
		return n, true
	case uint64:
		return int64(n), n <= math.MaxInt64
	}
	return 0, false
}

// docDecoder puts plain values into SDK structs.
type docDecoder struct {
	ignore func(path string) error // told of members that the model lacks
}

// value sets v from doc, which is not nil.
func (d *docDecoder) value(pl *plan, v reflect.Value, doc any, path string) error {
	wrong := func() error {
		return badInput(path, "%s can not be converted to %s", docKind(doc), pl.shape.Type)
	}
	switch pl.kind {
	case kindStruct:
		m, ok := doc.(map[string]any)
		if !ok {
			return wrong()
		}
		return d.structure(pl, v, m, path)
	case kindUnion:
		m, ok := doc.(map[string]any)
		if !ok {
			return wrong()
		}
		return d.union(pl, v, m, path)
	case kindList:
		l, ok := doc.([]any)
		if !ok {
			return wrong()
		}
		v.Set(reflect.MakeSlice(v.Type(), 0, len(l)))
		for i, e := range l {
			if e == nil {
				if pl.elemPtr {
					v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
				}
				continue
			}
			err := pl.addElem(v, func(ev reflect.Value) error { return d.value(pl.elem, ev, e, path+"."+strconv.Itoa(i+1)) })
			if err != nil {
				return err
			}
		}
	case kindMap:
		m, ok := doc.(map[string]any)
		if !ok {
			return wrong()
		}
		v.Set(reflect.MakeMapWithSize(v.Type(), len(m)))
		for key, e := range m {
			if e == nil {
				continue
			}
			if err := pl.setEntry(v, key, func(ev reflect.Value) error { return d.value(pl.elem, ev, e, join(path, key)) }); err != nil {
				return err
			}
		}
	case kindString:
		s, ok := doc.(string)
		if !ok {
			return wrong()
		}
		v.SetString(s)
	case kindInt:
		n, ok := integer(doc)
		if !ok || v.OverflowInt(n) {
			return wrong()
		}
		v.SetInt(n)
	case kindFloat:
		f, ok := number(doc)
		if s, isText := doc.(string); isText {
			switch s {
			case "NaN", "Infinity", "-Infinity":
				f, _ = strconv.ParseFloat(s, 64)
				ok = true
			}
		}
		if !ok {
			return wrong()
		}
		v.SetFloat(f)
	case kindBool:
		b, ok := doc.(bool)
		if !ok {
			return wrong()
		}
		v.SetBool(b)
	case kindBlob:
		switch b := doc.(type) {
		case []byte:
			v.SetBytes(b)
		case string:
			raw, err := decodeBase64(b)
			if err != nil {
				return badInput(path, "is not valid base64")
			}
			v.SetBytes(raw)
		default:
			return wrong()
		}
	case kindTime:
		t, ok := docTime(doc)
		if !ok {
			return wrong()
		}
		v.Set(reflect.ValueOf(t))
	default:
		return wrong()
	}
	return nil
}

func docTime(doc any) (time.Time, bool) {
	switch doc := doc.(type) {
	case time.Time:
		return doc, true
	case string:
		t, err := parseTime(doc)
		return t, err == nil
	}
	seconds, ok := number(doc)
	if !ok {
		return time.Time{}, false
	}
	t, err := unixTime(seconds)
	return t, err == nil
}

// structure sets the members that are in the body.
func (d *docDecoder) structure(pl *plan, v reflect.Value, m map[string]any, path string) error {
	for name, e := range m {
		f := pl.byJSON[name]
		at := join(path, name)
		if f == nil || f.loc != "" {
			if err := d.ignore(at); err != nil {
				return err
			}
			continue
		}
		if e == nil {
			continue
		}
		if err := d.value(f.plan, f.at(v), e, at); err != nil {
			return err
		}
	}
	return nil
}

func (d *docDecoder) union(pl *plan, v reflect.Value, m map[string]any, path string) error {
	var chosen *field
	for name, e := range m {
		f := pl.byJSON[name]
		if f == nil || e == nil {
			continue
		}
		if chosen != nil {
			return badInput(path, "Supplied %s has more than one datatypes set, must contain exactly one of the supported datatypes", pl.name)
		}
		chosen = f
	}
	if chosen == nil {
		return badInput(path, "Supplied %s is empty, must contain exactly one of the supported datatypes", pl.name)
	}
	return pl.setUnion(v, chosen, func(e reflect.Value) error {
		return d.value(chosen.plan, e, m[chosen.jsonName], join(path, chosen.name))
	})
}

func docKind(doc any) string {
	switch doc.(type) {
	case string:
		return "STRING_VALUE"
	case bool:
		return "BOOLEAN_VALUE"
	case map[string]any:
		return "START_OBJECT"
	case []any:
		return "START_ARRAY"
	case json.Number, float64, int64, uint64:
		return "NUMBER_VALUE"
	}
	return fmt.Sprintf("%T", doc)
}
