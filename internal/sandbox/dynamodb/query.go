package dynamodb

import (
	"context"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// A row is an item on its way into an answer.
type row struct {
	pk string
	item
}

// A reading is what Query and Scan have in common, once the rows are in order.
type reading struct {
	t      *table
	x      *index
	filter condition
	shown  []path
	count  bool // only
	limit  int  // 0: none
}

// A reader holds what a request for a reading says.
type reader struct {
	index, projection, filter *string
	names                     map[string]string
	values                    map[string]value
	choose                    types.Select
	limit                     *int32
	consistent                *bool
}

// open finds the table and index and parses the expressions that every reading
// may have. more parses those of its own kind.
func (s *Service) open(name *string, q reader, more func(*reading, *environment) error) (*reading, error) {
	t, err := s.table(name)
	if err != nil {
		return nil, err
	}
	r := &reading{t: t}
	if r.x, err = t.index(q.index); err != nil {
		return nil, err
	}
	if aws.ToBool(q.consistent) && r.x.global {
		return nil, invalid("Consistent reads are not supported on global secondary indexes")
	}
	env, err := newEnvironment(q.names, q.values)
	if err != nil {
		return nil, err
	}
	if err := more(r, env); err != nil {
		return nil, err
	}
	if q.filter != nil {
		if r.filter, err = parse("FilterExpression", *q.filter, env, (*parser).condition); err != nil {
			return nil, err
		}
	}
	if q.projection != nil {
		if r.shown, err = parse("ProjectionExpression", *q.projection, env, (*parser).projection); err != nil {
			return nil, err
		}
	}
	switch q.choose {
	case types.SelectCount:
		r.count = true
	case types.SelectSpecificAttributes:
		if q.projection == nil {
			return nil, invalid("One or more parameter values were invalid: SPECIFIC_ATTRIBUTES needs a ProjectionExpression")
		}
	case types.SelectAllProjectedAttributes:
		if aws.ToString(q.index) == "" {
			return nil, invalid("One or more parameter values were invalid: ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName")
		}
	}
	r.limit = int(aws.ToInt32(q.limit))
	return r, env.check()
}

// key returns the attributes that say where a page ended.
func (r *reading) key(i item) item {
	out := r.t.key.of(i)
	for k, v := range r.x.key.of(i) {
		out[k] = v
	}
	return out
}

// start judges an ExclusiveStartKey and returns it as a row.
func (r *reading) start(in map[string]value) (*row, error) {
	if len(in) == 0 {
		return nil, nil
	}
	i, err := canonicalItem(in)
	if err != nil {
		return nil, err
	}
	want := r.key(i)
	names := map[string]bool{}
	for _, n := range slices.Concat(r.t.key.names(), r.x.key.names()) {
		names[n] = true
	}
	if len(want) != len(names) || len(i) != len(names) {
		return nil, invalid("The provided starting key is invalid: The provided key element does not match the schema")
	}
	return &row{r.t.primaryKey(i), i}, nil
}

// An answer is one page of what was asked for.
type answer struct {
	items   []map[string]value
	matched int
	scanned int
	bytes   int
	last    item
}

// page reads rows, which are in order, until the page is full.
func (r *reading) page(rows []row) answer {
	var p answer
	for n, row := range rows {
		p.scanned++
		p.bytes += row.item.bytes()
		if r.filter == nil || r.filter.holds(row.item) {
			p.matched++
			if !r.count {
				p.items = append(p.items, project(project(row.item, r.x.shown), r.shown))
			}
		}
		// A page that is full by its limit names where it ended, even when nothing
		// follows: so does DynamoDB.
		if r.limit > 0 && p.scanned == r.limit || p.bytes > maxPage && n < len(rows)-1 {
			p.last = r.key(row.item)
			break
		}
	}
	if p.items == nil && !r.count {
		p.items = []map[string]value{}
	}
	return p
}

// Query reads the items with one value of the hash attribute, in the order of the
// sort attribute.
func (s *Service) Query(_ context.Context, in *sdk.QueryInput) (*sdk.QueryOutput, error) {
	for name, given := range map[string]bool{"KeyConditions": in.KeyConditions != nil, "QueryFilter": in.QueryFilter != nil, "AttributesToGet": in.AttributesToGet != nil} {
		if given {
			return nil, errLegacy(name)
		}
	}
	if in.KeyConditionExpression == nil {
		return nil, invalid("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var key keyCondition
	r, err := s.open(in.TableName, reader{in.IndexName, in.ProjectionExpression, in.FilterExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues,
		in.Select, in.Limit, in.ConsistentRead}, func(r *reading, env *environment) error {
		c, err := parse("KeyConditionExpression", *in.KeyConditionExpression, env, (*parser).condition)
		if err != nil {
			return err
		}
		key, err = r.x.key.condition(c)
		return err
	})
	if err != nil {
		return nil, err
	}
	var rows []row
	for pk := range r.x.groups[encode(key.hash)] {
		if i := r.t.items[pk]; key.sort == nil || key.sort.holds(i) {
			rows = append(rows, row{pk, i})
		}
	}
	order := func(a, b row) int {
		c, _ := compare(a.item[r.x.key.sort], b.item[r.x.key.sort])
		if c == 0 {
			c = strings.Compare(a.pk, b.pk)
		}
		if in.ScanIndexForward != nil && !*in.ScanIndexForward {
			return -c
		}
		return c
	}
	slices.SortFunc(rows, order)
	start, err := r.start(in.ExclusiveStartKey)
	if err != nil {
		return nil, err
	}
	if start != nil {
		rows = slices.DeleteFunc(rows, func(a row) bool { return order(a, *start) <= 0 })
	}
	p := r.page(rows)
	return &sdk.QueryOutput{Items: p.items, Count: int32(p.matched), ScannedCount: int32(p.scanned), LastEvaluatedKey: p.last,
		ConsumedCapacity: consumed(in.ReturnConsumedCapacity, r.t, p.bytes, readUnit)}, nil
}

// Scan reads all items of a table or index, or one segment of them.
func (s *Service) Scan(_ context.Context, in *sdk.ScanInput) (*sdk.ScanOutput, error) {
	for name, given := range map[string]bool{"ScanFilter": in.ScanFilter != nil, "AttributesToGet": in.AttributesToGet != nil} {
		if given {
			return nil, errLegacy(name)
		}
	}
	if (in.Segment == nil) != (in.TotalSegments == nil) {
		return nil, invalid("The TotalSegments parameter is required but was not present in the request when Segment parameter is present")
	}
	if in.Segment != nil && *in.Segment >= *in.TotalSegments {
		return nil, invalid("The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: %d is not less than TotalSegments: %d", *in.Segment, *in.TotalSegments)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, err := s.open(in.TableName, reader{in.IndexName, in.ProjectionExpression, in.FilterExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues,
		in.Select, in.Limit, in.ConsistentRead}, func(*reading, *environment) error { return nil })
	if err != nil {
		return nil, err
	}
	start, err := r.start(in.ExclusiveStartKey)
	if err != nil {
		return nil, err
	}
	var rows []row
	for pk, i := range r.t.items {
		if !r.x.has(i) || start != nil && pk <= start.pk || in.Segment != nil && segment(pk, *in.TotalSegments) != *in.Segment {
			continue
		}
		rows = append(rows, row{pk, i})
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.pk, b.pk) })
	p := r.page(rows)
	return &sdk.ScanOutput{Items: p.items, Count: int32(p.matched), ScannedCount: int32(p.scanned), LastEvaluatedKey: p.last,
		ConsumedCapacity: consumed(in.ReturnConsumedCapacity, r.t, p.bytes, readUnit)}, nil
}

// segment returns the segment that a key belongs to.
func segment(pk string, total int32) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(pk))
	return int32(h.Sum32() % uint32(total))
}

// A keyCondition is a KeyConditionExpression taken apart.
type keyCondition struct {
	hash value
	sort condition // nil: any
}

// condition takes a parsed expression apart: hash = value, perhaps AND one
// condition on the sort attribute.
func (k schema) condition(c condition) (keyCondition, error) {
	parts, ok := c.(allOf)
	if !ok {
		parts = allOf{c}
	}
	var out keyCondition
	for _, part := range parts {
		name, v, op, err := keyPart(part)
		if err != nil {
			return out, err
		}
		switch {
		case name == k.hash && op == "=" && out.hash == nil:
			out.hash = v
		case name == k.hash && op != "=":
			return out, invalid("Query key condition not supported")
		case name == k.sort && name != "" && out.sort == nil:
			out.sort = part
		case name == k.hash || name == k.sort:
			return out, invalid("KeyConditionExpressions must only contain one condition per key")
		default:
			return out, invalid("Query condition missed key schema element: %s", strings.Join(k.missing(parts), ", "))
		}
		if typeOf(v) != k.kinds[name] {
			return out, invalid("One or more parameter values were invalid: Condition parameter type does not match schema type")
		}
	}
	if out.hash == nil {
		return out, invalid("Query condition missed key schema element: %s", k.hash)
	}
	return out, nil
}

// missing returns the key attributes that no part is about.
func (k schema) missing(parts allOf) []string {
	return slices.DeleteFunc(k.names(), func(n string) bool {
		return slices.ContainsFunc(parts, func(c condition) bool {
			name, _, _, err := keyPart(c)
			return err == nil && name == n
		})
	})
}

// keyPart returns the attribute, a value and the operator of one condition on a key.
func keyPart(c condition) (name string, v value, op string, err error) {
	var left, right operand
	switch c := c.(type) {
	case comparison:
		left, right, op = c.left, c.right, c.operator
		if _, ok := left.(constant); ok && op == "=" {
			left, right = right, left
		}
	case between:
		left, right, op = c.v, c.low, "BETWEEN"
		if _, ok := c.high.(constant); !ok {
			right = nil
		}
	case beginsWith:
		left, right, op = c.v, c.prefix, "begins_with"
	}
	p, ok1 := left.(pathOperand)
	k, ok2 := right.(constant)
	if !ok1 || !ok2 || op == "<>" || len(p.path) != 1 {
		return "", nil, "", invalid("Invalid operator used in KeyConditionExpression: only =, <, <=, >, >=, BETWEEN and begins_with on key attributes are allowed")
	}
	return p.path[0].name, k.v, op, nil
}
