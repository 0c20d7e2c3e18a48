package facts

import (
	"context"
	"encoding/json"
	"fmt"
)

// Override returns a source that knows further instance types, or knows them
// differently: those of DevSettings.InstanceTypesData, a JSON object of names to
// what DescribeInstanceTypes would say. Empty text changes nothing.
func Override(src Source, data string) (Source, error) {
	if data == "" {
		return src, nil
	}
	types := map[string]InstanceType{}
	if err := json.Unmarshal([]byte(data), &types); err != nil {
		return nil, fmt.Errorf("read InstanceTypesData: %w", err)
	}
	for name, t := range types {
		t.Name = name
		types[name] = t
	}
	return overridden{src, types}, nil
}

type overridden struct {
	Source
	types map[string]InstanceType
}

func (o overridden) InstanceTypes(ctx context.Context, names []string) (map[string]InstanceType, error) {
	var rest []string
	for _, n := range names {
		if _, ok := o.types[n]; !ok {
			rest = append(rest, n)
		}
	}
	out, err := o.Source.InstanceTypes(ctx, rest)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if t, ok := o.types[n]; ok {
			out[n] = t
		}
	}
	return out, nil
}

func (o overridden) Offered(ctx context.Context) (map[string]bool, error) {
	known, err := o.Source.Offered(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[string]bool, len(known)+len(o.types))
	for n, v := range known {
		out[n] = v
	}
	for n := range o.types {
		out[n] = true
	}
	return out, nil
}
