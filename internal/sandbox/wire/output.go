package wire

import (
	"encoding/base64"
	"encoding/binary"
	"maps"
	"math"
	"reflect"
	"slices"
	"time"
	"unicode/utf8"
)

// deref follows the pointer that a sparse list or map has to its elements.
func deref(v reflect.Value) (reflect.Value, bool) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return v, false
		}
		return v.Elem(), true
	}
	return v, true
}

func sortedKeys(v reflect.Value) []string {
	keys := make(map[string]struct{}, v.Len())
	for it := v.MapRange(); it.Next(); {
		keys[it.Key().String()] = struct{}{}
	}
	return slices.Sorted(maps.Keys(keys))
}

func (pl *plan) entryOf(v reflect.Value, key string) reflect.Value {
	return v.MapIndex(reflect.ValueOf(key).Convert(v.Type().Key()))
}

// An xmlEncoder writes the bodies of protocols ec2, query and rest-xml.
type xmlEncoder struct {
	b        []byte
	ec2      bool
	timeForm string
}

func (e *xmlEncoder) open(name string) {
	e.b = append(e.b, '<')
	e.b = append(e.b, name...)
	e.b = append(e.b, '>')
}

func (e *xmlEncoder) close(name string) {
	e.b = append(e.b, '<', '/')
	e.b = append(e.b, name...)
	e.b = append(e.b, '>')
}

func (e *xmlEncoder) empty(name string) {
	e.b = append(e.b, '<')
	e.b = append(e.b, name...)
	e.b = append(e.b, '/', '>')
}

func (e *xmlEncoder) textElement(name, text string) {
	e.open(name)
	e.b = appendXMLText(e.b, text)
	e.close(name)
}

// structure writes the members that are in the body.
func (e *xmlEncoder) structure(pl *plan, v reflect.Value) {
	for i := range pl.fields {
		f := &pl.fields[i]
		if f.loc != "" {
			continue
		}
		fv, ok := f.get(v)
		if !ok {
			if f.always && !f.flattened {
				e.empty(f.xmlName)
			}
			continue
		}
		e.member(f, fv)
	}
}

func (e *xmlEncoder) member(f *field, v reflect.Value) {
	switch {
	case f.flattened && f.plan.kind == kindList:
		for i := range v.Len() {
			e.value(f.plan.elem, v.Index(i), f.xmlName, "")
		}
	case f.flattened && f.plan.kind == kindMap:
		e.entries(f.plan, v, f.xmlName)
	default:
		e.value(f.plan, v, f.xmlName, f.timeFormat)
	}
}

func (e *xmlEncoder) value(pl *plan, v reflect.Value, name, timeFormat string) {
	v, ok := deref(v)
	if !ok {
		e.empty(name)
		return
	}
	e.open(name)
	switch pl.kind {
	case kindStruct:
		if pl.memo == nil {
			e.structure(pl, v)
			break
		}
		if text, ok := pl.memo.get(v); ok {
			e.b = append(e.b, text...)
			break
		}
		from := len(e.b)
		e.structure(pl, v)
		pl.memo.put(v, e.b[from:])
	case kindUnion:
		if f, fv, ok := pl.unionValue(v); ok {
			e.member(f, fv)
		}
	case kindList:
		elem := orElse(pl.elemName, "member")
		for i := range v.Len() {
			e.value(pl.elem, v.Index(i), elem, "")
		}
	case kindMap:
		e.entries(pl, v, "entry")
	case kindString:
		e.b = appendXMLText(e.b, v.String())
	default:
		e.b = pl.appendText(e.b, v, orElse(orElse(timeFormat, pl.timeFormat), e.timeForm))
	}
	e.close(name)
}

func (e *xmlEncoder) entries(pl *plan, v reflect.Value, name string) {
	for _, key := range sortedKeys(v) {
		e.open(name)
		e.textElement(pl.keyName, key)
		e.value(pl.elem, pl.entryOf(v, key), pl.elemName, "")
		e.close(name)
	}
}

func appendXMLText(b []byte, s string) []byte {
	from := 0
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		var with string
		switch {
		case r == '<':
			with = "&lt;"
		case r == '>':
			with = "&gt;"
		case r == '&':
			with = "&amp;"
		case r == '"':
			with = "&quot;"
		case r == '\r':
			with = "&#xD;"
		case r < ' ' && r != '\n' && r != '\t', r == utf8.RuneError && size == 1, r == 0xFFFE, r == 0xFFFF:
			with = "\uFFFD" // XML has no way to say it
		}
		if with != "" {
			b = append(b, s[from:i]...)
			b = append(b, with...)
			from = i + size
		}
		i += size
	}
	return append(b, s[from:]...)
}

// A jsonEncoder writes JSON bodies.
type jsonEncoder struct{ b []byte }

func (e *jsonEncoder) structure(pl *plan, v reflect.Value) {
	e.b = append(e.b, '{')
	first := true
	for i := range pl.fields {
		f := &pl.fields[i]
		if f.loc != "" {
			continue
		}
		fv, ok := f.get(v)
		if !ok && !f.always {
			continue
		}
		if !first {
			e.b = append(e.b, ',')
		}
		first = false
		e.b = appendJSONString(e.b, f.jsonName)
		e.b = append(e.b, ':')
		if !ok {
			e.b = append(e.b, "[]"...)
			continue
		}
		e.value(f.plan, fv, f.timeFormat)
	}
	e.b = append(e.b, '}')
}

func (e *jsonEncoder) value(pl *plan, v reflect.Value, timeFormat string) {
	v, ok := deref(v)
	if !ok {
		e.b = append(e.b, "null"...)
		return
	}
	switch pl.kind {
	case kindStruct:
		e.structure(pl, v)
	case kindUnion:
		e.b = append(e.b, '{')
		if f, fv, ok := pl.unionValue(v); ok {
			e.b = appendJSONString(e.b, f.jsonName)
			e.b = append(e.b, ':')
			e.value(f.plan, fv, f.timeFormat)
		}
		e.b = append(e.b, '}')
	case kindList:
		e.b = append(e.b, '[')
		for i := range v.Len() {
			if i > 0 {
				e.b = append(e.b, ',')
			}
			e.value(pl.elem, v.Index(i), "")
		}
		e.b = append(e.b, ']')
	case kindMap:
		e.b = append(e.b, '{')
		for i, key := range sortedKeys(v) {
			if i > 0 {
				e.b = append(e.b, ',')
			}
			e.b = appendJSONString(e.b, key)
			e.b = append(e.b, ':')
			e.value(pl.elem, pl.entryOf(v, key), "")
		}
		e.b = append(e.b, '}')
	case kindString:
		e.b = appendJSONString(e.b, v.String())
	case kindBlob:
		e.b = append(e.b, '"')
		e.b = base64.StdEncoding.AppendEncode(e.b, v.Bytes())
		e.b = append(e.b, '"')
	case kindFloat:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			e.b = append(e.b, '"')
			e.b = appendFloat(e.b, f, 64)
			e.b = append(e.b, '"')
			return
		}
		e.b = appendFloat(e.b, v.Float(), v.Type().Bits())
	case kindTime:
		format := orElse(orElse(timeFormat, pl.timeFormat), timeUnix)
		t := v.Interface().(time.Time)
		if format == timeUnix {
			e.b = appendTime(e.b, t, format)
			return
		}
		e.b = append(e.b, '"')
		e.b = appendTime(e.b, t, format)
		e.b = append(e.b, '"')
	default:
		e.b = pl.appendText(e.b, v, "")
	}
}

func appendJSONString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(b, s[from:i]...)
				b = append(b, `\ufffd`...)
				from = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[from:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// A cborEncoder writes the bodies of smithy-rpc-v2-cbor.
type cborEncoder struct{ b []byte }

// Major types of CBOR (RFC 8949).
const (
	cborUint   = 0 << 5
	cborNegInt = 1 << 5
	cborBytes  = 2 << 5
	cborText   = 3 << 5
	cborArray  = 4 << 5
	cborMap    = 5 << 5
	cborTag    = 6 << 5
	cborOther  = 7 << 5
)

func (e *cborEncoder) head(major byte, n uint64) {
	switch {
	case n < 24:
		e.b = append(e.b, major|byte(n))
	case n <= math.MaxUint8:
		e.b = append(e.b, major|24, byte(n))
	case n <= math.MaxUint16:
		e.b = binary.BigEndian.AppendUint16(append(e.b, major|25), uint16(n))
	case n <= math.MaxUint32:
		e.b = binary.BigEndian.AppendUint32(append(e.b, major|26), uint32(n))
	default:
		e.b = binary.BigEndian.AppendUint64(append(e.b, major|27), n)
	}
}

func (e *cborEncoder) text(s string) {
	e.head(cborText, uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *cborEncoder) float(f float64) {
	e.b = binary.BigEndian.AppendUint64(append(e.b, cborOther|27), math.Float64bits(f))
}

func (e *cborEncoder) structure(pl *plan, v reflect.Value) {
	e.b = append(e.b, cborMap|31) // ends with a break
	for i := range pl.fields {
		f := &pl.fields[i]
		fv, ok := f.get(v)
		if !ok && !f.always {
			continue
		}
		e.text(f.name)
		if !ok {
			e.head(cborArray, 0)
			continue
		}
		e.value(f.plan, fv)
	}
	e.b = append(e.b, 0xff)
}

func (e *cborEncoder) value(pl *plan, v reflect.Value) {
	v, ok := deref(v)
	if !ok {
		e.b = append(e.b, cborOther|22)
		return
	}
	switch pl.kind {
	case kindStruct:
		e.structure(pl, v)
	case kindUnion:
		if f, fv, ok := pl.unionValue(v); ok {
			e.head(cborMap, 1)
			e.text(f.name)
			e.value(f.plan, fv)
			return
		}
		e.head(cborMap, 0)
	case kindList:
		e.head(cborArray, uint64(v.Len()))
		for i := range v.Len() {
			e.value(pl.elem, v.Index(i))
		}
	case kindMap:
		e.head(cborMap, uint64(v.Len()))
		for _, key := range sortedKeys(v) {
			e.text(key)
			e.value(pl.elem, pl.entryOf(v, key))
		}
	case kindString:
		e.text(v.String())
	case kindInt:
		if n := v.Int(); n >= 0 {
			e.head(cborUint, uint64(n))
		} else {
			e.head(cborNegInt, uint64(-1-n))
		}
	case kindFloat:
		e.float(v.Float())
	case kindBool:
		if v.Bool() {
			e.b = append(e.b, cborOther|21)
		} else {
			e.b = append(e.b, cborOther|20)
		}
	case kindBlob:
		e.head(cborBytes, uint64(v.Len()))
		e.b = append(e.b, v.Bytes()...)
	case kindTime:
		t := v.Interface().(time.Time)
		e.head(cborTag, 1)
		e.float(float64(t.UnixMilli()) / 1000)
	}
}
