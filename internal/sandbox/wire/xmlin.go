package wire

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
)

// An element of an XML request, without its namespace.
type element struct {
	name string
	text string
	kids []*element
}

func parseXML(body []byte) (*element, error) {
	d := xml.NewDecoder(bytes.NewReader(body))
	root := &element{}
	open := []*element{root}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, badInput("", "the request body is not XML: %v", err)
		}
		top := open[len(open)-1]
		switch tok := tok.(type) {
		case xml.StartElement:
			e := &element{name: tok.Name.Local}
			top.kids = append(top.kids, e)
			if open = append(open, e); len(open) > 100 {
				return nil, badInput("", "the request body is nested too deeply")
			}
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			top.text += string(tok)
		}
	}
	if len(root.kids) != 1 {
		return nil, badInput("", "the request body has no root element")
	}
	return root.kids[0], nil
}

// xmlDecoder puts elements into SDK structs.
type xmlDecoder struct {
	ignore func(path string) error // told of elements that the model lacks
}

func (d *xmlDecoder) value(pl *plan, v reflect.Value, e *element, path string) error {
	switch pl.kind {
	case kindStruct:
		return d.structure(pl, v, e, path)
	case kindList:
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, len(e.kids)))
		}
		for _, k := range e.kids {
			if err := d.elem(pl, v, k, path); err != nil {
				return err
			}
		}
		return nil
	case kindMap:
		for _, k := range e.kids {
			if err := d.entry(pl, v, k, path); err != nil {
				return err
			}
		}
		return nil
	case kindUnion:
		for _, k := range e.kids {
			if f := pl.byXML[k.name]; f != nil {
				return pl.setUnion(v, f, func(ev reflect.Value) error { return d.value(f.plan, ev, k, join(path, k.name)) })
			}
		}
		return badInput(path, "names no known member")
	case kindString:
		v.SetString(e.text)
		return nil
	}
	return pl.setText(v, e.text, path)
}

func (d *xmlDecoder) structure(pl *plan, v reflect.Value, e *element, path string) error {
	for _, k := range e.kids {
		f := pl.byXML[k.name]
		at := join(path, k.name)
		if f == nil || f.loc != "" {
			if err := d.ignore(at); err != nil {
				return err
			}
			continue
		}
		var err error
		switch {
		case f.flattened && f.plan.kind == kindList:
			err = d.elem(f.plan, f.at(v), k, at)
		case f.flattened && f.plan.kind == kindMap:
			err = d.entry(f.plan, f.at(v), k, at)
		default:
			err = d.value(f.plan, f.at(v), k, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *xmlDecoder) elem(pl *plan, v reflect.Value, e *element, path string) error {
	return pl.addElem(v, func(ev reflect.Value) error { return d.value(pl.elem, ev, e, path) })
}

func (d *xmlDecoder) entry(pl *plan, v reflect.Value, e *element, path string) error {
	key, value := "", &element{}
	for _, k := range e.kids {
		switch k.name {
		case pl.keyName:
			key = k.text
		case pl.elemName:
			value = k
		}
	}
	return pl.setEntry(v, key, func(ev reflect.Value) error { return d.value(pl.elem, ev, value, join(path, key)) })
}
