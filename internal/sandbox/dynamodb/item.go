package dynamodb

import (
	"context"
	"maps"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"pcluster/internal/sandbox/wire"
)

// A mutation is one change of one item: by itself, or as part of a transaction.
type mutation struct {
	t      *table
	pk     string
	key    item
	put    item      // the new item, for a put
	update *update   // the change, for an update
	delete bool      // for a deletion; none of the three: only the condition is checked
	when   condition // nil: always
}

var errCondition = wire.Errorf("ConditionalCheckFailedException", "The conditional request failed")

// expressions are the parts of a request that all mutations share.
type expressions struct {
	names     map[string]string
	values    map[string]value
	condition *string
	update    *string
}

// parse reads the expressions into m.
func (e expressions) parse(m *mutation) error {
	if e.condition == nil && e.update == nil {
		if len(e.names) > 0 {
			return invalid("ExpressionAttributeNames can only be specified when using expressions")
		}
		if len(e.values) > 0 {
			return invalid("ExpressionAttributeValues can only be specified when using expressions: ConditionExpression is null")
		}
		return nil
	}
	env, err := newEnvironment(e.names, e.values)
	if err != nil {
		return err
	}
	if e.update != nil {
		u, err := parse("UpdateExpression", *e.update, env, (*parser).update)
		if err != nil {
			return err
		}
		m.update = &u
	}
	if e.condition != nil {
		if m.when, err = parse("ConditionExpression", *e.condition, env, (*parser).condition); err != nil {
			return err
		}
	}
	return env.check()
}

// newPut returns the mutation that puts an item.
func (s *Service) newPut(tableName *string, in map[string]value, e expressions) (*mutation, error) {
	t, err := s.table(tableName)
	if err != nil {
		return nil, err
	}
	i, err := canonicalItem(in)
	if err != nil {
		return nil, err
	}
	if err := t.checkItem(i); err != nil {
		return nil, err
	}
	m := &mutation{t: t, pk: t.primaryKey(i), put: i}
	return m, e.parse(m)
}

// newKeyed returns a mutation of the item under a key, which so far does nothing.
func (s *Service) newKeyed(tableName *string, key map[string]value, e expressions) (*mutation, error) {
	t, err := s.table(tableName)
	if err != nil {
		return nil, err
	}
	k, err := t.checkKey(key)
	if err != nil {
		return nil, err
	}
	m := &mutation{t: t, pk: t.primaryKey(k), key: k}
	if err := e.parse(m); err != nil {
		return nil, err
	}
	if m.update != nil {
		for _, p := range m.update.paths() {
			if _, isKey := k[p[0].name]; isKey {
				return nil, invalid("One or more parameter values were invalid: Cannot update attribute %s. This attribute is part of the key", p[0].name)
			}
		}
	}
	return m, nil
}

// result returns the item before the mutation and the one after; either may be nil.
func (m *mutation) result() (before, after item, err error) {
	before = m.t.items[m.pk]
	if m.when != nil && !m.when.holds(before) {
		return before, nil, errCondition
	}
	switch {
	case m.put != nil:
		after = m.put
	case m.delete:
	case m.key != nil && m.update == nil && before != nil:
		after = before
	default:
		after = maps.Clone(before)
		if after == nil {
			after = maps.Clone(m.key)
		}
		if m.update != nil {
			if err := m.update.apply(after); err != nil {
				return before, nil, err
			}
		}
		if err := m.t.checkItem(after); err != nil {
			return before, nil, err
		}
	}
	return before, after, nil
}

// carry does the mutation. The caller holds mu for writing.
func (s *Service) carry(m *mutation) (before, after item, err error) {
	if before, after, err = m.result(); err != nil {
		return before, after, err
	}
	if before == nil && after == nil {
		return nil, nil, nil
	}
	return before, after, s.write(m.t, m.pk, after)
}

// PutItem stores an item.
func (s *Service) PutItem(_ context.Context, in *sdk.PutItemInput) (*sdk.PutItemOutput, error) {
	if in.Expected != nil || in.ConditionalOperator != "" {
		return nil, errLegacy("Expected")
	}
	if in.ReturnValues != "" && in.ReturnValues != types.ReturnValueNone && in.ReturnValues != types.ReturnValueAllOld {
		return nil, invalid("Return values set to invalid value")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.newPut(in.TableName, in.Item, expressions{in.ExpressionAttributeNames, in.ExpressionAttributeValues, in.ConditionExpression, nil})
	if err != nil {
		return nil, err
	}
	before, after, err := s.carry(m)
	if err != nil {
		return nil, err
	}
	out := &sdk.PutItemOutput{ConsumedCapacity: consumed(in.ReturnConsumedCapacity, m.t, after.bytes(), writeUnit)}
	if in.ReturnValues == types.ReturnValueAllOld {
		out.Attributes = before
	}
	return out, nil
}

// DeleteItem removes an item; one that does not exist is no error.
func (s *Service) DeleteItem(_ context.Context, in *sdk.DeleteItemInput) (*sdk.DeleteItemOutput, error) {
	if in.Expected != nil || in.ConditionalOperator != "" {
		return nil, errLegacy("Expected")
	}
	if in.ReturnValues != "" && in.ReturnValues != types.ReturnValueNone && in.ReturnValues != types.ReturnValueAllOld {
		return nil, invalid("Return values set to invalid value")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.newKeyed(in.TableName, in.Key, expressions{in.ExpressionAttributeNames, in.ExpressionAttributeValues, in.ConditionExpression, nil})
	if err != nil {
		return nil, err
	}
	m.delete = true
	before, _, err := s.carry(m)
	if err != nil {
		return nil, err
	}
	out := &sdk.DeleteItemOutput{ConsumedCapacity: consumed(in.ReturnConsumedCapacity, m.t, before.bytes(), writeUnit)}
	if in.ReturnValues == types.ReturnValueAllOld {
		out.Attributes = before
	}
	return out, nil
}

// UpdateItem changes attributes of an item, and creates it if it does not exist.
func (s *Service) UpdateItem(_ context.Context, in *sdk.UpdateItemInput) (*sdk.UpdateItemOutput, error) {
	if in.Expected != nil || in.ConditionalOperator != "" || in.AttributeUpdates != nil {
		return nil, errLegacy("AttributeUpdates")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.newKeyed(in.TableName, in.Key, expressions{in.ExpressionAttributeNames, in.ExpressionAttributeValues, in.ConditionExpression, in.UpdateExpression})
	if err != nil {
		return nil, err
	}
	before, after, err := s.carry(m)
	if err != nil {
		return nil, err
	}
	out := &sdk.UpdateItemOutput{ConsumedCapacity: consumed(in.ReturnConsumedCapacity, m.t, after.bytes(), writeUnit)}
	touched := []path{}
	if m.update != nil {
		touched = m.update.paths()
	}
	switch in.ReturnValues {
	case types.ReturnValueAllOld:
		out.Attributes = before
	case types.ReturnValueAllNew:
		out.Attributes = after
	case types.ReturnValueUpdatedOld:
		out.Attributes = orNil(project(before, touched))
	case types.ReturnValueUpdatedNew:
		out.Attributes = orNil(project(after, touched))
	}
	return out, nil
}

func orNil(i item) item {
	if len(i) == 0 {
		return nil
	}
	return i
}

// GetItem reads an item; an item that does not exist is no error.
func (s *Service) GetItem(_ context.Context, in *sdk.GetItemInput) (*sdk.GetItemOutput, error) {
	if in.AttributesToGet != nil {
		return nil, errLegacy("AttributesToGet")
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	paths, err := parseProjection(in.ProjectionExpression, in.ExpressionAttributeNames)
	if err != nil {
		return nil, err
	}
	key, err := t.checkKey(in.Key)
	if err != nil {
		return nil, err
	}
	found := t.items[t.primaryKey(key)]
	out := &sdk.GetItemOutput{ConsumedCapacity: consumed(in.ReturnConsumedCapacity, t, found.bytes(), readUnit)}
	if found != nil {
		out.Item = project(found, paths)
	}
	return out, nil
}

// parseProjection reads the projection of a request without other expressions.
func parseProjection(text *string, names map[string]string) ([]path, error) {
	if text == nil {
		if len(names) > 0 {
			return nil, invalid("ExpressionAttributeNames can only be specified when using expressions")
		}
		return nil, nil
	}
	env, err := newEnvironment(names, nil)
	if err != nil {
		return nil, err
	}
	paths, err := parse("ProjectionExpression", *text, env, (*parser).projection)
	if err != nil {
		return nil, err
	}
	return paths, env.check()
}

func errLegacy(parameter string) error {
	return invalid("The sandbox does not support the legacy parameter %s. Use an expression instead.", parameter)
}

// maxBatchGet and maxBatchWrite are the most items that one request may name.
const (
	maxBatchGet   = 100
	maxBatchWrite = 25
)

// BatchGetItem reads items of several tables.
func (s *Service) BatchGetItem(_ context.Context, in *sdk.BatchGetItemInput) (*sdk.BatchGetItemOutput, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := &sdk.BatchGetItemOutput{Responses: map[string][]map[string]value{}, UnprocessedKeys: map[string]types.KeysAndAttributes{}}
	total := 0
	for name, want := range in.RequestItems {
		if want.AttributesToGet != nil {
			return nil, errLegacy("AttributesToGet")
		}
		if total += len(want.Keys); total > maxBatchGet {
			return nil, invalid("Too many items requested for the BatchGetItem call")
		}
		t, err := s.table(&name)
		if err != nil {
			return nil, err
		}
		paths, err := parseProjection(want.ProjectionExpression, want.ExpressionAttributeNames)
		if err != nil {
			return nil, err
		}
		seen := map[string]bool{}
		found := []map[string]value{}
		read := 0
		for _, k := range want.Keys {
			key, err := t.checkKey(k)
			if err != nil {
				return nil, err
			}
			pk := t.primaryKey(key)
			if seen[pk] {
				return nil, invalid("Provided list of item keys contains duplicates")
			}
			seen[pk] = true
			if i := t.items[pk]; i != nil {
				read += i.bytes()
				found = append(found, project(i, paths))
			}
		}
		out.Responses[name] = found
		if c := consumed(in.ReturnConsumedCapacity, t, read, readUnit); c != nil {
			out.ConsumedCapacity = append(out.ConsumedCapacity, *c)
		}
	}
	return out, nil
}

// BatchWriteItem puts and deletes items of several tables.
func (s *Service) BatchWriteItem(_ context.Context, in *sdk.BatchWriteItemInput) (*sdk.BatchWriteItemOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*mutation
	out := &sdk.BatchWriteItemOutput{UnprocessedItems: map[string][]types.WriteRequest{}}
	seen := map[string]bool{}
	for name, requests := range in.RequestItems {
		written := 0
		for _, r := range requests {
			m, err := s.newBatched(&name, r)
			if err != nil {
				return nil, err
			}
			if row := m.t.name + "/" + m.pk; seen[row] {
				return nil, invalid("Provided list of item keys contains duplicates")
			} else {
				seen[row] = true
			}
			written += m.put.bytes()
			all = append(all, m)
		}
		if len(requests) == 0 {
			continue
		}
		if c := consumed(in.ReturnConsumedCapacity, all[len(all)-1].t, written, writeUnit); c != nil {
			out.ConsumedCapacity = append(out.ConsumedCapacity, *c)
		}
	}
	if len(all) > maxBatchWrite {
		return nil, invalid("Too many items requested for the BatchWriteItem call")
	}
	for _, m := range all {
		if _, _, err := s.carry(m); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Service) newBatched(name *string, r types.WriteRequest) (*mutation, error) {
	switch {
	case (r.PutRequest == nil) == (r.DeleteRequest == nil):
		return nil, invalid("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
	case r.PutRequest != nil:
		return s.newPut(name, r.PutRequest.Item, expressions{})
	}
	m, err := s.newKeyed(name, r.DeleteRequest.Key, expressions{})
	if err == nil {
		m.delete = true
	}
	return m, err
}

// TransactGetItems reads items at one moment.
func (s *Service) TransactGetItems(ctx context.Context, in *sdk.TransactGetItemsInput) (*sdk.TransactGetItemsOutput, error) {
	out := &sdk.TransactGetItemsOutput{}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, g := range in.TransactItems {
		t, err := s.table(g.Get.TableName)
		if err != nil {
			return nil, err
		}
		paths, err := parseProjection(g.Get.ProjectionExpression, g.Get.ExpressionAttributeNames)
		if err != nil {
			return nil, err
		}
		key, err := t.checkKey(g.Get.Key)
		if err != nil {
			return nil, err
		}
		var found item
		if i := t.items[t.primaryKey(key)]; i != nil {
			found = project(i, paths)
		}
		out.Responses = append(out.Responses, types.ItemResponse{Item: found})
	}
	return out, nil
}

// TransactWriteItems changes all items or none.
func (s *Service) TransactWriteItems(_ context.Context, in *sdk.TransactWriteItemsInput) (*sdk.TransactWriteItemsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*mutation
	seen := map[string]bool{}
	for _, w := range in.TransactItems {
		m, err := s.newTransacted(w)
		if err != nil {
			return nil, err
		}
		row := m.t.name + "/" + m.pk
		if seen[row] {
			return nil, invalid("Transaction request cannot include multiple operations on one item")
		}
		seen[row] = true
		all = append(all, m)
	}
	reasons := make([]string, len(all))
	failed := false
	for i, m := range all {
		reasons[i] = "None"
		if _, _, err := m.result(); err != nil {
			failed = true
			reasons[i] = "ValidationError"
			if err == errCondition {
				reasons[i] = "ConditionalCheckFailed"
			}
		}
	}
	if failed {
		return nil, canceled(reasons)
	}
	for _, m := range all {
		if m.put == nil && m.update == nil && !m.delete {
			continue
		}
		if _, _, err := s.carry(m); err != nil {
			return nil, err
		}
	}
	return &sdk.TransactWriteItemsOutput{}, nil
}

func canceled(reasons []string) error {
	text := ""
	for i, r := range reasons {
		if i > 0 {
			text += ", "
		}
		text += r
	}
	return wire.Errorf("TransactionCanceledException", "Transaction cancelled, please refer cancellation reasons for specific reasons [%s]", text)
}

func (s *Service) newTransacted(w types.TransactWriteItem) (*mutation, error) {
	switch {
	case w.Put != nil:
		return s.newPut(w.Put.TableName, w.Put.Item, expressions{w.Put.ExpressionAttributeNames, w.Put.ExpressionAttributeValues, w.Put.ConditionExpression, nil})
	case w.Update != nil:
		return s.newKeyed(w.Update.TableName, w.Update.Key, expressions{w.Update.ExpressionAttributeNames, w.Update.ExpressionAttributeValues, w.Update.ConditionExpression, w.Update.UpdateExpression})
	case w.Delete != nil:
		m, err := s.newKeyed(w.Delete.TableName, w.Delete.Key, expressions{w.Delete.ExpressionAttributeNames, w.Delete.ExpressionAttributeValues, w.Delete.ConditionExpression, nil})
		if err == nil {
			m.delete = true
		}
		return m, err
	case w.ConditionCheck != nil:
		c := w.ConditionCheck
		return s.newKeyed(c.TableName, c.Key, expressions{c.ExpressionAttributeNames, c.ExpressionAttributeValues, aws.String(aws.ToString(c.ConditionExpression)), nil})
	}
	return nil, invalid("TransactItems can only contain one of Check, Put, Update or Delete")
}
