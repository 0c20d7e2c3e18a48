package dynamodb

import (
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// A table is one table in memory.
type table struct {
	name    string
	key     schema
	items   map[string]item // by primary key
	indexes map[string]*index
	primary *index
}

// A schema is the key of a table or index.
type schema struct {
	hash, sort string            // attribute names; sort may be empty
	kinds      map[string]string // their types: S, N or B
}

// An index finds items by another key, or by the hash attribute of the table's own.
type index struct {
	name   string
	key    schema
	global bool
	shown  []path // attributes that it has; nil means all
	groups map[string]map[string]struct{}
}

func newTable(d types.TableDescription) *table {
	kinds := map[string]string{}
	for _, a := range d.AttributeDefinitions {
		kinds[*a.AttributeName] = string(a.AttributeType)
	}
	t := &table{name: *d.TableName, key: newSchema(d.KeySchema, kinds), items: map[string]item{}, indexes: map[string]*index{}}
	t.primary = &index{key: t.key, groups: map[string]map[string]struct{}{}}
	for _, g := range d.GlobalSecondaryIndexes {
		t.addIndex(*g.IndexName, newSchema(g.KeySchema, kinds), g.Projection, true)
	}
	for _, l := range d.LocalSecondaryIndexes {
		t.addIndex(*l.IndexName, newSchema(l.KeySchema, kinds), l.Projection, false)
	}
	return t
}

func newSchema(elements []types.KeySchemaElement, kinds map[string]string) schema {
	k := schema{kinds: kinds}
	for _, e := range elements {
		if e.KeyType == types.KeyTypeHash {
			k.hash = *e.AttributeName
		} else {
			k.sort = *e.AttributeName
		}
	}
	return k
}

// addIndex makes an index over the items that the table has.
func (t *table) addIndex(name string, key schema, projection *types.Projection, global bool) {
	x := &index{name: name, key: key, global: global, groups: map[string]map[string]struct{}{}}
	if projection != nil && projection.ProjectionType != types.ProjectionTypeAll && projection.ProjectionType != "" {
		for _, a := range slices.Concat(t.key.names(), key.names(), projection.NonKeyAttributes) {
			x.shown = append(x.shown, path{{a, -1}})
		}
	}
	t.indexes[name] = x
	for pk, i := range t.items {
		x.put(pk, i)
	}
}

func (t *table) put(pk string, i item) {
	if old, ok := t.items[pk]; ok {
		t.unindex(pk, old)
	}
	t.items[pk] = i
	t.primary.put(pk, i)
	for _, x := range t.indexes {
		x.put(pk, i)
	}
}

func (t *table) remove(pk string) {
	if old, ok := t.items[pk]; ok {
		t.unindex(pk, old)
		delete(t.items, pk)
	}
}

func (t *table) unindex(pk string, i item) {
	t.primary.remove(pk, i)
	for _, x := range t.indexes {
		x.remove(pk, i)
	}
}

// put files an item that has the index's key attributes.
func (x *index) put(pk string, i item) {
	if !x.has(i) {
		return
	}
	h := encode(i[x.key.hash])
	if x.groups[h] == nil {
		x.groups[h] = map[string]struct{}{}
	}
	x.groups[h][pk] = struct{}{}
}

func (x *index) remove(pk string, i item) {
	if !x.has(i) {
		return
	}
	h := encode(i[x.key.hash])
	delete(x.groups[h], pk)
	if len(x.groups[h]) == 0 {
		delete(x.groups, h)
	}
}

func (x *index) has(i item) bool {
	return i[x.key.hash] != nil && (x.key.sort == "" || i[x.key.sort] != nil)
}

// names returns the key's attributes.
func (k schema) names() []string {
	if k.sort == "" {
		return []string{k.hash}
	}
	return []string{k.hash, k.sort}
}

// of returns the key attributes of an item.
func (k schema) of(i item) item {
	out := item{}
	for _, n := range k.names() {
		if v, ok := i[n]; ok {
			out[n] = v
		}
	}
	return out
}

// encode writes a key value so that values that differ have encodings that do.
func encode(v value) string {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return "S" + v.Value
	case *types.AttributeValueMemberN:
		return "N" + v.Value
	case *types.AttributeValueMemberB:
		return "B" + string(v.Value)
	}
	return ""
}

// primaryKey returns the key of an item as the store has it. Lengths keep hash
// and sort value apart.
func (t *table) primaryKey(i item) string {
	h := encode(i[t.key.hash])
	if t.key.sort == "" {
		return h
	}
	return strings.ReplaceAll(h, "\x00", "\x00\x01") + "\x00\x00" + encode(i[t.key.sort])
}

// checkKey judges a key given by itself.
func (t *table) checkKey(in map[string]value) (item, error) {
	key, err := canonicalItem(in)
	if err != nil {
		return nil, err
	}
	if len(key) != len(t.key.names()) {
		return nil, invalid("The provided key element does not match the schema")
	}
	for _, n := range t.key.names() {
		if key[n] == nil || typeOf(key[n]) != t.key.kinds[n] {
			return nil, invalid("The provided key element does not match the schema")
		}
		if err := checkKeyValue(n, key[n]); err != nil {
			return nil, err
		}
	}
	return key, nil
}

// checkItem judges a whole item.
func (t *table) checkItem(i item) error {
	for _, n := range t.key.names() {
		switch {
		case i[n] == nil:
			return invalid("One or more parameter values were invalid: Missing the key %s in the item", n)
		case typeOf(i[n]) != t.key.kinds[n]:
			return invalid("One or more parameter values were invalid: Type mismatch for key %s expected: %s actual: %s", n, t.key.kinds[n], typeOf(i[n]))
		}
		if err := checkKeyValue(n, i[n]); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.indexes)) {
		x := t.indexes[name]
		for _, n := range x.key.names() {
			if i[n] == nil {
				continue
			}
			if typeOf(i[n]) != x.key.kinds[n] {
				return invalid("One or more parameter values were invalid: Type mismatch for Index Key %s Expected: %s Actual: %s IndexName: %s", n, x.key.kinds[n], typeOf(i[n]), name)
			}
			if length, ok := lengthOf(i[n]); ok && length == 0 {
				return invalid("One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty string value. IndexName: %s, IndexKey: %s", name, n)
			}
		}
	}
	if i.bytes() > maxItem {
		return invalid("Item size has exceeded the maximum allowed size")
	}
	return nil
}

func checkKeyValue(name string, v value) error {
	if length, ok := lengthOf(v); ok && length == 0 {
		return invalid("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty %s value. Key: %s", map[string]string{"S": "string", "B": "binary"}[typeOf(v)], name)
	}
	return nil
}

// index returns the index of a request; no name means the table itself.
func (t *table) index(name *string) (*index, error) {
	if aws.ToString(name) == "" {
		return t.primary, nil
	}
	x, ok := t.indexes[*name]
	if !ok {
		return nil, invalid("The table does not have the specified index: %s", *name)
	}
	return x, nil
}
