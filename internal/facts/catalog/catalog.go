// Package catalog knows the instance types of EC2 without asking AWS: what
// DescribeInstanceTypes says of each, and where in us-east-1 each is offered. The
// sandbox answers from it, and commands take hints from it.
//
// The table is a snapshot; whoever has an AWS account at hand should ask AWS and
// use this package for what AWS was not asked. Start at [InstanceType]. A look-up
// unpacks one family, so it costs neither start-up time nor memory.
package catalog

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

//go:generate go run ./gen -types instance_types.json.gz -offerings us-east-1.json.gz

//go:embed types.zip
var packed []byte

// index is the table of contents; the types themselves stay packed.
type index struct {
	zip   *zip.Reader
	names []string // sorted
	zones []string // of names[i]: digits of the zone IDs in us-east-1
}

// contents opens the table once. That the embedded data is sound is for our tests
// to show, so a failure here is a broken build.
var contents = sync.OnceValue(func() *index {
	z, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		panic(fmt.Sprintf("catalog: embedded table: %v", err))
	}
	x := &index{zip: z}
	for line := range strings.Lines(string(x.read("index"))) {
		name, zones, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		x.names = append(x.names, name)
		x.zones = append(x.zones, zones)
	}
	return x
})

func (x *index) read(file string) []byte {
	f, err := x.zip.Open(file)
	if err != nil {
		panic(fmt.Sprintf("catalog: embedded table: %v", err))
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		panic(fmt.Sprintf("catalog: embedded table: %s: %v", file, err))
	}
	return data
}

func (x *index) find(name string) (int, bool) { return slices.BinarySearch(x.names, name) }

// InstanceType returns the facts of the type with the given name, and whether
// there is such a type. The result is the caller's own.
func InstanceType(name string) (types.InstanceTypeInfo, bool) {
	x := contents()
	if _, ok := x.find(name); !ok {
		return types.InstanceTypeInfo{}, false
	}
	for n, data := range family(x, name) {
		if n == name {
			return decode(n, data), true
		}
	}
	panic("catalog: embedded table: " + name + " is in the index alone")
}

// InstanceTypes returns the facts of all types, sorted by name. It unpacks the
// whole table, some 3 MB: ask for single types where that will do.
func InstanceTypes() []types.InstanceTypeInfo {
	x := contents()
	all := make([]types.InstanceTypeInfo, 0, len(x.names))
	for i, name := range x.names {
		if i > 0 && familyOf(name) == familyOf(x.names[i-1]) {
			continue
		}
		for n, data := range family(x, name) {
			all = append(all, decode(n, data))
		}
	}
	slices.SortFunc(all, func(a, b types.InstanceTypeInfo) int {
		return strings.Compare(string(a.InstanceType), string(b.InstanceType))
	})
	return all
}

// Names returns the names of all types, sorted.
func Names() []string { return slices.Clone(contents().names) }

// ZoneIDs returns the zones of us-east-1 that offer the type, as zone IDs such as
// use1-az6. Zone names differ between accounts, IDs do not.
func ZoneIDs(name string) []string {
	x := contents()
	i, ok := x.find(name)
	if !ok {
		return nil
	}
	var ids []string
	for _, digit := range x.zones[i] {
		ids = append(ids, "use1-az"+string(digit))
	}
	return ids
}

func familyOf(name string) string {
	family, _, _ := strings.Cut(name, ".")
	return family
}

// family yields name and JSON of each type in the family of the named one.
func family(x *index, name string) func(yield func(string, []byte) bool) {
	return func(yield func(string, []byte) bool) {
		for line := range bytes.Lines(x.read(familyOf(name))) {
			n, data, _ := bytes.Cut(line, []byte{'\t'})
			if !yield(string(n), data) {
				return
			}
		}
	}
}

func decode(name string, data []byte) types.InstanceTypeInfo {
	var info types.InstanceTypeInfo
	if err := json.Unmarshal(data, &info); err != nil {
		panic(fmt.Sprintf("catalog: embedded table: %s: %v", name, err))
	}
	return info
}
