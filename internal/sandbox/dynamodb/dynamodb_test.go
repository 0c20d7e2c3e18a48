package dynamodb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire/wiretest"
)

var ctx = context.Background()

func open(t *testing.T, path string) (*Service, func()) {
	t.Helper()
	db := store.Memory()
	if path != "" {
		var err error
		if db, err = store.Open(path); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(db, region.NewIdentity("", ""))
	if err != nil {
		t.Fatal(err)
	}
	return s, func() { _ = db.Close() }
}

// attrs reads attributes in DynamoDB's JSON notation.
func attrs(t *testing.T, text string) map[string]value {
	t.Helper()
	var i item
	if err := json.Unmarshal([]byte(text), &i); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return i
}

func show(m map[string]value) string {
	if m == nil {
		return ""
	}
	data, err := json.Marshal(item(m))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// create makes the table "t" with key Id and, if sort is not empty, a sort key of
// that type, and an index on "by" with the sort key "n".
func create(t *testing.T, s *Service, sort types.ScalarAttributeType) {
	t.Helper()
	in := &sdk.CreateTableInput{TableName: aws.String("t"), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("Id"), AttributeType: "S"}, {AttributeName: aws.String("by"), AttributeType: "S"}, {AttributeName: aws.String("n"), AttributeType: "N"}},
		KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("Id"), KeyType: types.KeyTypeHash}},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{
			{IndexName: aws.String("by"), KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("by"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("n"), KeyType: types.KeyTypeRange}},
				Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll}},
			{IndexName: aws.String("keys"), KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("by"), KeyType: types.KeyTypeHash}},
				Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly}}},
	}
	if sort != "" {
		in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: aws.String("s"), AttributeType: sort})
		in.KeySchema = append(in.KeySchema, types.KeySchemaElement{AttributeName: aws.String("s"), KeyType: types.KeyTypeRange})
	}
	out, err := s.CreateTable(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if out.TableDescription.TableStatus != types.TableStatusCreating {
		t.Errorf("status at creation is %s", out.TableDescription.TableStatus)
	}
}

func put(t *testing.T, s *Service, items ...string) {
	t.Helper()
	for _, i := range items {
		if _, err := s.PutItem(ctx, &sdk.PutItemInput{TableName: aws.String("t"), Item: attrs(t, i)}); err != nil {
			t.Fatalf("%s: %v", i, err)
		}
	}
}

func wantCode(t *testing.T, err error, code, text string) {
	t.Helper()
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), text) {
		t.Errorf("error is %v, want %s with %q", err, code, text)
	}
}

func TestConditions(t *testing.T) {
	i := attrs(t, `{"a":{"S":"hello"},"n":{"N":"5"},"m":{"M":{"x":{"L":[{"N":"1"},{"S":"two"}]}}},"set":{"SS":["p","q"]},"b":{"BOOL":true},"nul":{"NULL":true},"bin":{"B":"AQID"}}`)
	values := attrs(t, `{":hello":{"S":"hello"},":he":{"S":"he"},":5":{"N":"5.0"},":4":{"N":"4"},":6":{"N":"6"},":p":{"S":"p"},":two":{"S":"two"},":S":{"S":"S"},":true":{"BOOL":true},":set":{"SS":["q","p"]},":bin":{"B":"AQI="},":1":{"N":"1"}}`)
	for text, want := range map[string]bool{
		"a = :hello":                                   true,
		"a <> :hello":                                  false,
		"a <> :5":                                      true,
		"absent = :5":                                  false,
		"absent <> :5":                                 true,
		"n = :5":                                       true,
		"n < :6 AND n > :4":                            true,
		"n <= :4 OR n >= :6":                           false,
		"a < :5":                                       false,
		"n BETWEEN :4 AND :6":                          true,
		"n between :4 and :6 AND a = :hello":           true,
		"n BETWEEN :6 AND :6":                          false,
		"a IN (:he, :hello)":                           true,
		"a IN (:he)":                                   false,
		"NOT a = :hello":                               false,
		"NOT (a = :hello AND n = :4)":                  true,
		"a = :he OR n = :5 AND b = :true":              true,
		"(a = :he OR n = :5) AND n = :4":               false,
		"attribute_exists(m.x[1])":                     true,
		"attribute_exists(m.x[2])":                     false,
		"attribute_not_exists(absent)":                 true,
		"attribute_not_exists(#n)":                     false,
		"attribute_type(a, :S)":                        true,
		"attribute_type(absent, :S)":                   false,
		"begins_with(a, :he)":                          true,
		"begins_with(bin, :bin)":                       true,
		"contains(a, :he)":                             true,
		"contains(#set, :p)":                           true,
		"contains(m.x, :two)":                          true,
		"contains(m.x, :5)":                            false,
		"#set = :set":                                  true,
		"size(a) = :5":                                 true,
		"size(m.x) < :4":                               true,
		"size(absent) = :5":                            false,
		"m.x[1] = :two":                                true,
		"#m.#x[0] = :1":                                true,
		"nul = nul AND nul <> b":                       true,
		"attribute_not_exists(a) OR a BETWEEN a AND a": true,
	} {
		t.Run(text, func(t *testing.T) {
			env, err := newEnvironment(map[string]string{"#n": "n", "#set": "set", "#m": "m", "#x": "x"}, values)
			if err != nil {
				t.Fatal(err)
			}
			c, err := parse("ConditionExpression", text, env, (*parser).condition)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.holds(i); got != want {
				t.Errorf("holds: %v, want %v", got, want)
			}
		})
	}
}

func TestExpressionsThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "can not be empty",
		"a =":                   `Syntax error; token: "<EOF>"`,
		"a = :v)":               `token: ")"`,
		"a = = :v":              `token: "="`,
		"a == :v":               `token: "="`,
		"(a = :v":               `token: "<EOF>"`,
		"a ! :v":                `token: "!"`,
		"status = :v":           "reserved keyword: status",
		"a = :none":             "attribute value used in expression is not defined; attribute value: :none",
		"#none = :v":            "document path is not defined; attribute name: #none",
		"what(a)":               "Invalid function name; function: what",
		"list_append(a, :v)":    "not allowed in a condition expression",
		"begins_with(a)":        `token: ")"`,
		"a[x] = :v":             `token: "x"`,
		"a BETWEEN :v AND :n":   "requires same data type",
		"a BETWEEN :n AND :one": "upper bound to be greater than or equal to lower bound",
		"a < :set":              "Incorrect operand type",
		"attribute_type(a, :v)": "Invalid attribute type name found",
		"a = :v AND":            "Syntax error",
		"a.b. = :v":             "Syntax error",
		"contains(a, :v) = :v":  `token: "="`,
		"a":                     "Syntax error",
		"attribute_exists(:v)":  "Syntax error",
		"NOT":                   "Syntax error",
	} {
		t.Run(text, func(t *testing.T) {
			env, err := newEnvironment(nil, attrs(t, `{":v":{"S":"v"},":n":{"N":"2"},":one":{"N":"1"},":set":{"SS":["a"]}}`))
			if err != nil {
				t.Fatal(err)
			}
			_, err = parse("ConditionExpression", text, env, (*parser).condition)
			wantCode(t, err, "ValidationException", want)
		})
	}
}

func TestUpdates(t *testing.T) {
	const before = `{"Id":{"S":"k"},"l":{"L":[{"N":"0"},{"N":"1"},{"N":"2"}]},"m":{"M":{"x":{"S":"y"}}},"n":{"N":"10"},"set":{"NS":["1","2"]}}`
	values := `{":v":{"S":"v"},":one":{"N":"1"},":half":{"N":"0.5"},":l":{"L":[{"S":"new"}]},":ns":{"NS":["2","3"]},":all":{"NS":["1","2"]},":m":{"M":{}}}`
	for text, want := range map[string]string{
		"SET a = :v":                                    `{"a":{"S":"v"}}`,
		"SET m.z = :v, m.x = :one":                      `{"m":{"M":{"x":{"N":"1"},"z":{"S":"v"}}}}`,
		"SET l[1] = :v, l[9] = :one":                    `{"l":{"L":[{"N":"0"},{"S":"v"},{"N":"2"},{"N":"1"}]}}`,
		"SET n = n + :one - :half":                      `{"n":{"N":"10.5"}}`,
		"set c = if_not_exists(c, :one) + :one":         `{"c":{"N":"2"}}`,
		"SET n = if_not_exists(n, :one)":                `{}`,
		"SET l = list_append(:l, l)":                    `{"l":{"L":[{"S":"new"},{"N":"0"},{"N":"1"},{"N":"2"}]}}`,
		"SET e = list_append(if_not_exists(e, :l), :l)": `{"e":{"L":[{"S":"new"},{"S":"new"}]}}`,
		"SET x = m.x REMOVE m.x":                        `{"m":{"M":{}},"x":{"S":"y"}}`,
		"REMOVE l[0], l[2], absent":                     `{"l":{"L":[{"N":"1"}]}}`,
		"REMOVE n, l[7]":                                `{"n":null}`,
		"ADD n :one, fresh :half":                       `{"fresh":{"N":"0.5"},"n":{"N":"11"}}`,
		"ADD #set :ns DELETE absent :ns":                `{"set":{"NS":["1","2","3"]}}`,
		"DELETE #set :ns":                               `{"set":{"NS":["1"]}}`,
		"DELETE #set :all":                              `{"set":null}`,
		"SET a = n, b = n + n ADD n :one":               `{"a":{"N":"10"},"b":{"N":"20"},"n":{"N":"11"}}`,
		"SET o = :m":                                    `{"o":{"M":{}}}`,
	} {
		t.Run(text, func(t *testing.T) {
			s, _ := open(t, "")
			create(t, s, "")
			put(t, s, before)
			in := &sdk.UpdateItemInput{TableName: aws.String("t"), Key: attrs(t, `{"Id":{"S":"k"}}`), UpdateExpression: &text, ReturnValues: types.ReturnValueAllNew}
			used := map[string]value{}
			for k, v := range attrs(t, values) {
				if strings.Contains(text+" ", k+" ") || strings.Contains(text, k+",") || strings.Contains(text, k+")") {
					used[k] = v
				}
			}
			if len(used) > 0 {
				in.ExpressionAttributeValues = used
			}
			if strings.Contains(text, "#set") {
				in.ExpressionAttributeNames = map[string]string{"#set": "set"}
			}
			out, err := s.UpdateItem(ctx, in)
			if err != nil {
				t.Fatal(err)
			}
			expected := item(attrs(t, before))
			var changes map[string]*json.RawMessage
			if err := json.Unmarshal([]byte(want), &changes); err != nil {
				t.Fatal(err)
			}
			for k, raw := range changes {
				if raw == nil {
					delete(expected, k)
				} else {
					expected[k] = attrs(t, `{"`+k+`":`+string(*raw)+`}`)[k]
				}
			}
			if diff := cmp.Diff(show(expected), show(out.Attributes)); diff != "" {
				t.Errorf("item (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUpdatesThatFail(t *testing.T) {
	s, _ := open(t, "")
	create(t, s, "")
	put(t, s, `{"Id":{"S":"k"},"s":{"S":"x"},"n":{"N":"1"}}`)
	for text, want := range map[string]string{
		"SET a.b = :v":          "document path provided in the update expression is invalid",
		"SET s.b = :v":          "document path provided in the update expression is invalid",
		"REMOVE a.b":            "document path provided in the update expression is invalid",
		"SET a = absent":        "attribute that does not exist in the item",
		"SET a = s + :v":        "incorrect data type",
		"SET Id = :v":           "Cannot update attribute Id. This attribute is part of the key",
		"SET a = :v, a.b = :v":  "Two document paths overlap",
		"SET a = :v SET b = :v": "section can only be used once",
		"ADD s :one":            "incorrect data type",
		"ADD a :v":              "Incorrect operand type for operator or function; operator: ADD",
		"DELETE a :one":         "Incorrect operand type for operator or function; operator: DELETE",
		"SET":                   "Syntax error",
		"PUT a = :v":            "Syntax error",
		"SET a = size(s)":       "Invalid function name",
		"SET n = :v":            "Type mismatch for Index Key n Expected: N Actual: S",
	} {
		t.Run(text, func(t *testing.T) {
			values := map[string]value{}
			for k, v := range attrs(t, `{":v":{"S":"v"},":one":{"N":"1"}}`) {
				if strings.Contains(text, k) {
					values[k] = v
				}
			}
			_, err := s.UpdateItem(ctx, &sdk.UpdateItemInput{TableName: aws.String("t"), Key: attrs(t, `{"Id":{"S":"k"}}`), UpdateExpression: &text, ExpressionAttributeValues: values})
			wantCode(t, err, "ValidationException", want)
		})
	}
	if got, _ := s.GetItem(ctx, &sdk.GetItemInput{TableName: aws.String("t"), Key: attrs(t, `{"Id":{"S":"k"}}`)}); show(got.Item) != `{"Id":{"S":"k"},"n":{"N":"1"},"s":{"S":"x"}}` {
		t.Errorf("a failed update changed the item: %s", show(got.Item))
	}
}

func TestItemsThatAreRefused(t *testing.T) {
	s, _ := open(t, "")
	create(t, s, "")
	for text, want := range map[string]string{
		`{"a":{"S":"x"}}`:                         "Missing the key Id in the item",
		`{"Id":{"N":"1"}}`:                        "Type mismatch for key Id expected: S actual: N",
		`{"Id":{"S":""}}`:                         "cannot contain an empty string value. Key: Id",
		`{"Id":{"S":"k"},"x":{"N":"1x"}}`:         "cannot be converted to a numeric value: 1x",
		`{"Id":{"S":"k"},"x":{"N":"1e999"}}`:      "Number overflow",
		`{"Id":{"S":"k"},"x":{"NS":["1","1.0"]}}`: "contains duplicates",
		`{"Id":{"S":"k"},"by":{"N":"1"}}`:         "Type mismatch for Index Key by",
		`{"Id":{"S":"k"},"x":{"N":"123456789012345678901234567890123456789"}}`: "more than 38 significant digits",
		`{"Id":{"S":"k"},"x":{"S":"` + strings.Repeat("x", maxItem) + `"}}`:    "Item size has exceeded",
	} {
		_, err := s.PutItem(ctx, &sdk.PutItemInput{TableName: aws.String("t"), Item: attrs(t, text)})
		wantCode(t, err, "ValidationException", want)
	}
	_, err := s.PutItem(ctx, &sdk.PutItemInput{TableName: aws.String("none"), Item: attrs(t, `{"Id":{"S":"k"}}`)})
	wantCode(t, err, "ResourceNotFoundException", "Requested resource not found")
	for _, key := range []string{`{}`, `{"Id":{"N":"1"}}`, `{"Id":{"S":"k"},"x":{"S":"k"}}`} {
		_, err := s.GetItem(ctx, &sdk.GetItemInput{TableName: aws.String("t"), Key: attrs(t, key)})
		wantCode(t, err, "ValidationException", "The provided key element does not match the schema")
	}
	_, err = s.PutItem(ctx, &sdk.PutItemInput{TableName: aws.String("t"), Item: attrs(t, `{"Id":{"S":"k"}}`), ConditionExpression: aws.String("attribute_not_exists(Id)"),
		ExpressionAttributeValues: attrs(t, `{":unused":{"S":"x"}}`)})
	wantCode(t, err, "ValidationException", "ExpressionAttributeValues unused in expressions: keys: {:unused}")
}

func TestConditionalWrites(t *testing.T) {
	s, _ := open(t, "")
	create(t, s, "")
	in := &sdk.PutItemInput{TableName: aws.String("t"), Item: attrs(t, `{"Id":{"S":"k"},"v":{"N":"1"}}`), ConditionExpression: aws.String("attribute_not_exists(Id)")}
	if _, err := s.PutItem(ctx, in); err != nil {
		t.Fatal(err)
	}
	_, err := s.PutItem(ctx, in)
	wantCode(t, err, "ConditionalCheckFailedException", "The conditional request failed")

	// The update of a fleet's state, as clusters do it.
	update := func(from, to string) error {
		_, err := s.UpdateItem(ctx, &sdk.UpdateItemInput{TableName: aws.String("t"), Key: attrs(t, `{"Id":{"S":"COMPUTE_FLEET"}}`),
			UpdateExpression: aws.String("SET #dt.#st = :to"), ConditionExpression: aws.String("#dt.#st = :from"),
			ExpressionAttributeNames:  map[string]string{"#dt": "Data", "#st": "status"},
			ExpressionAttributeValues: attrs(t, fmt.Sprintf(`{":to":{"S":%q},":from":{"S":%q}}`, to, from))})
		return err
	}
	wantCode(t, update("RUNNING", "STOPPING"), "ConditionalCheckFailedException", "")
	put(t, s, `{"Id":{"S":"COMPUTE_FLEET"},"Data":{"M":{"status":{"S":"RUNNING"}}}}`)
	if err := update("RUNNING", "STOPPING"); err != nil {
		t.Error(err)
	}
	wantCode(t, update("RUNNING", "STOPPING"), "ConditionalCheckFailedException", "")

	del := &sdk.DeleteItemInput{TableName: aws.String("t"), Key: attrs(t, `{"Id":{"S":"k"}}`), ConditionExpression: aws.String("v > :v"),
		ExpressionAttributeValues: attrs(t, `{":v":{"N":"1"}}`), ReturnValues: types.ReturnValueAllOld}
	_, err = s.DeleteItem(ctx, del)
	wantCode(t, err, "ConditionalCheckFailedException", "")
	del.ExpressionAttributeValues = attrs(t, `{":v":{"N":"0"}}`)
	out, err := s.DeleteItem(ctx, del)
	if err != nil || show(out.Attributes) != `{"Id":{"S":"k"},"v":{"N":"1"}}` {
		t.Errorf("deleted %s, %v", show(out.Attributes), err)
	}
}

func TestReturnValues(t *testing.T) {
	for want, expected := range map[types.ReturnValue]string{
		types.ReturnValueNone:       "",
		types.ReturnValueAllOld:     `{"Id":{"S":"k"},"a":{"N":"1"},"b":{"S":"x"}}`,
		types.ReturnValueAllNew:     `{"Id":{"S":"k"},"a":{"N":"2"},"c":{"S":"x"}}`,
		types.ReturnValueUpdatedOld: `{"a":{"N":"1"},"b":{"S":"x"}}`,
		types.ReturnValueUpdatedNew: `{"a":{"N":"2"},"c":{"S":"x"}}`,
	} {
		s, _ := open(t, "")
		create(t, s, "")
		put(t, s, `{"Id":{"S":"k"},"a":{"N":"1"},"b":{"S":"x"}}`)
		out, err := s.UpdateItem(ctx, &sdk.UpdateItemInput{TableName: aws.String("t"), Key: attrs(t, `{"Id":{"S":"k"}}`), ReturnValues: want,
			UpdateExpression: aws.String("SET a = a + :1, c = b REMOVE b"), ExpressionAttributeValues: attrs(t, `{":1":{"N":"1"}}`)})
		if err != nil || show(out.Attributes) != expected {
			t.Errorf("%s: %s, %v", want, show(out.Attributes), err)
		}
	}
}

func keysOf(items []map[string]value, name string) string {
	var out []string
	for _, i := range items {
		switch v := i[name].(type) {
		case *types.AttributeValueMemberS:
			out = append(out, v.Value)
		case *types.AttributeValueMemberN:
			out = append(out, v.Value)
		}
	}
	return strings.Join(out, " ")
}

func TestQuery(t *testing.T) {
	s, _ := open(t, "")
	create(t, s, "N")
	for _, n := range []string{"-2", "10", "9", "1.5", "100"} {
		put(t, s, `{"Id":{"S":"h"},"s":{"N":"`+n+`"},"by":{"S":"all"},"n":{"N":"`+strings.TrimPrefix(n, "-")+`"},"extra":{"S":"x"}}`)
	}
	put(t, s, `{"Id":{"S":"other"},"s":{"N":"1"}}`)
	for name, tt := range map[string]struct {
		in     sdk.QueryInput
		values string
		want   string
	}{
		"hash only":          {sdk.QueryInput{KeyConditionExpression: aws.String("Id = :h")}, `{":h":{"S":"h"}}`, "-2 1.5 9 10 100"},
		"backwards":          {sdk.QueryInput{KeyConditionExpression: aws.String("Id = :h"), ScanIndexForward: aws.Bool(false)}, `{":h":{"S":"h"}}`, "100 10 9 1.5 -2"},
		"sort above":         {sdk.QueryInput{KeyConditionExpression: aws.String("s > :n AND Id = :h")}, `{":h":{"S":"h"},":n":{"N":"9"}}`, "10 100"},
		"sort between":       {sdk.QueryInput{KeyConditionExpression: aws.String("Id = :h AND s BETWEEN :a AND :b")}, `{":h":{"S":"h"},":a":{"N":"1.5"},":b":{"N":"10"}}`, "1.5 9 10"},
		"filter":             {sdk.QueryInput{KeyConditionExpression: aws.String("Id = :h"), FilterExpression: aws.String("n < :n")}, `{":h":{"S":"h"},":n":{"N":"9"}}`, "-2 1.5"},
		"index":              {sdk.QueryInput{IndexName: aws.String("by"), KeyConditionExpression: aws.String("#by = :h")}, `{":h":{"S":"all"}}`, "1.5 -2 9 10 100"},
		"nobody":             {sdk.QueryInput{KeyConditionExpression: aws.String("Id = :h")}, `{":h":{"S":"none"}}`, ""},
		"pages of the query": {sdk.QueryInput{KeyConditionExpression: aws.String("Id = :h"), Limit: aws.Int32(2)}, `{":h":{"S":"h"}}`, "-2 1.5 9 10 100"},
		"pages of an index":  {sdk.QueryInput{IndexName: aws.String("by"), KeyConditionExpression: aws.String("#by = :h"), Limit: aws.Int32(1), ScanIndexForward: aws.Bool(false)}, `{":h":{"S":"all"}}`, "100 10 9 -2 1.5"},
	} {
		t.Run(name, func(t *testing.T) {
			in := tt.in
			in.TableName, in.ExpressionAttributeValues = aws.String("t"), attrs(t, tt.values)
			if strings.Contains(*in.KeyConditionExpression, "#by") {
				in.ExpressionAttributeNames = map[string]string{"#by": "by"}
			}
			var got []string
			for {
				out, err := s.Query(ctx, &in)
				if err != nil {
					t.Fatal(err)
				}
				if in.Limit != nil && out.ScannedCount > *in.Limit {
					t.Errorf("page of %d items", out.ScannedCount)
				}
				if k := keysOf(out.Items, "s"); k != "" {
					got = append(got, k)
				}
				if in.ExclusiveStartKey = out.LastEvaluatedKey; out.LastEvaluatedKey == nil {
					break
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %q, want %q", strings.Join(got, " "), tt.want)
			}
		})
	}

	out, err := s.Query(ctx, &sdk.QueryInput{TableName: aws.String("t"), IndexName: aws.String("keys"), KeyConditionExpression: aws.String("#by = :h"), Limit: aws.Int32(1),
		ExpressionAttributeNames: map[string]string{"#by": "by"}, ExpressionAttributeValues: attrs(t, `{":h":{"S":"all"}}`)})
	if err != nil || len(out.Items[0]) != 3 {
		t.Errorf("index of keys: %v, %v", out, err)
	}
	for text, want := range map[string]string{
		"s = :n":                        "Query condition missed key schema element: Id",
		"Id = :h AND s <> :n":           "Invalid operator used in KeyConditionExpression",
		"Id = :h OR s = :n":             "Invalid operator used in KeyConditionExpression",
		"Id > :h":                       "Query key condition not supported",
		"Id = :h AND extra = :n":        "Query condition missed key schema element: s",
		"Id = :h AND s > :n AND s < :n": "must only contain one condition per key",
		"Id = :n":                       "Condition parameter type does not match schema type",
	} {
		values := map[string]value{}
		for k, v := range attrs(t, `{":h":{"S":"h"},":n":{"N":"1"}}`) {
			if strings.Contains(text, k) {
				values[k] = v
			}
		}
		_, err := s.Query(ctx, &sdk.QueryInput{TableName: aws.String("t"), KeyConditionExpression: &text, ExpressionAttributeValues: values})
		wantCode(t, err, "ValidationException", want)
	}
	_, err = s.Query(ctx, &sdk.QueryInput{TableName: aws.String("t"), IndexName: aws.String("none"), KeyConditionExpression: aws.String("Id = :h")})
	wantCode(t, err, "ValidationException", "does not have the specified index: none")
}

func TestScan(t *testing.T) {
	s, _ := open(t, "")
	create(t, s, "")
	for i := range 25 {
		put(t, s, fmt.Sprintf(`{"Id":{"S":"k%02d"},"v":{"N":"%d"},"m":{"M":{"l":{"L":[{"N":"%d"},{"S":"x"}]}}}}`, i, i, i))
	}
	seen := map[string]bool{}
	for segment := range int32(3) {
		in := &sdk.ScanInput{TableName: aws.String("t"), Segment: &segment, TotalSegments: aws.Int32(3), Limit: aws.Int32(4), FilterExpression: aws.String("v < :v"),
			ProjectionExpression: aws.String("Id, m.l[0]"), ExpressionAttributeValues: attrs(t, `{":v":{"N":"20"}}`)}
		for {
			out, err := s.Scan(ctx, in)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range out.Items {
				key := keysOf([]map[string]value{i}, "Id")
				if want := fmt.Sprintf(`{"Id":{"S":%q},"m":{"M":{"l":{"L":[{"N":%q}]}}}}`, key, strings.TrimPrefix(strings.TrimPrefix(key, "k"), "0")); seen[key] || show(i) != want && key != "k00" {
					t.Errorf("got %s again or as %s", key, show(i))
				}
				seen[key] = true
			}
			if in.ExclusiveStartKey = out.LastEvaluatedKey; out.LastEvaluatedKey == nil {
				break
			}
		}
	}
	if len(seen) != 20 {
		t.Errorf("scanned %d items, want 20", len(seen))
	}
	out, err := s.Scan(ctx, &sdk.ScanInput{TableName: aws.String("t"), Select: types.SelectCount})
	if err != nil || out.Count != 25 || out.Items != nil {
		t.Errorf("count: %+v, %v", out, err)
	}
}

func TestBatches(t *testing.T) {
	s, _ := open(t, "")
	create(t, s, "")
	var requests []types.WriteRequest
	for i := range 25 {
		requests = append(requests, types.WriteRequest{PutRequest: &types.PutRequest{Item: attrs(t, fmt.Sprintf(`{"Id":{"S":"k%d"}}`, i))}})
	}
	write := func(r []types.WriteRequest) error {
		_, err := s.BatchWriteItem(ctx, &sdk.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"t": r}})
		return err
	}
	if err := write(requests); err != nil {
		t.Fatal(err)
	}
	wantCode(t, write(append(slices.Clone(requests), types.WriteRequest{PutRequest: &types.PutRequest{Item: attrs(t, `{"Id":{"S":"k99"}}`)}})), "ValidationException", "Too many items")
	wantCode(t, write([]types.WriteRequest{requests[0], requests[0]}), "ValidationException", "duplicates")
	if err := write([]types.WriteRequest{{DeleteRequest: &types.DeleteRequest{Key: attrs(t, `{"Id":{"S":"k0"}}`)}}}); err != nil {
		t.Error(err)
	}
	out, err := s.BatchGetItem(ctx, &sdk.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{"t": {Keys: []map[string]value{attrs(t, `{"Id":{"S":"k0"}}`), attrs(t, `{"Id":{"S":"k1"}}`)}}}})
	if err != nil || len(out.Responses["t"]) != 1 {
		t.Errorf("BatchGetItem: %+v, %v", out, err)
	}

	transact := func(condition string) error {
		_, err := s.TransactWriteItems(ctx, &sdk.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
			{Put: &types.Put{TableName: aws.String("t"), Item: attrs(t, `{"Id":{"S":"new"}}`)}},
			{ConditionCheck: &types.ConditionCheck{TableName: aws.String("t"), Key: attrs(t, `{"Id":{"S":"k1"}}`), ConditionExpression: &condition}},
			{Delete: &types.Delete{TableName: aws.String("t"), Key: attrs(t, `{"Id":{"S":"k2"}}`)}},
		}})
		return err
	}
	wantCode(t, transact("attribute_not_exists(Id)"), "TransactionCanceledException", "[None, ConditionalCheckFailed, None]")
	if len(s.tables["t"].items) != 24 {
		t.Error("a cancelled transaction changed items")
	}
	if err := transact("attribute_exists(Id)"); err != nil || s.tables["t"].items["Snew"] == nil || s.tables["t"].items["Sk2"] != nil {
		t.Errorf("transaction: %v", err)
	}
}

func TestTables(t *testing.T) {
	s, _ := open(t, "")
	create(t, s, "")
	_, err := s.CreateTable(ctx, &sdk.CreateTableInput{TableName: aws.String("t"), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("a"), AttributeType: "S"}}, KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("a"), KeyType: types.KeyTypeHash}}})
	wantCode(t, err, "ResourceInUseException", "Table already exists: t")
	_, err = s.CreateTable(ctx, &sdk.CreateTableInput{TableName: aws.String("u"), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("a"), AttributeType: "S"}, {AttributeName: aws.String("b"), AttributeType: "S"}}, KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("a"), KeyType: types.KeyTypeHash}}})
	wantCode(t, err, "ValidationException", "does not exactly match number of attributes defined")

	put(t, s, `{"Id":{"S":"k"},"by":{"S":"x"},"late":{"S":"y"}}`)
	_, err = s.UpdateTable(ctx, &sdk.UpdateTableInput{TableName: aws.String("t"), AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("late"), AttributeType: "S"}},
		DeletionProtectionEnabled: aws.Bool(true), GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{
			{Create: &types.CreateGlobalSecondaryIndexAction{IndexName: aws.String("late"), KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("late"), KeyType: types.KeyTypeHash}},
				Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll}}},
			{Delete: &types.DeleteGlobalSecondaryIndexAction{IndexName: aws.String("by")}}}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Query(ctx, &sdk.QueryInput{TableName: aws.String("t"), IndexName: aws.String("late"), KeyConditionExpression: aws.String("late = :v"), ExpressionAttributeValues: attrs(t, `{":v":{"S":"y"}}`)})
	if err != nil || out.Count != 1 {
		t.Errorf("query of the new index: %+v, %v", out, err)
	}
	d, err := s.DescribeTable(ctx, &sdk.DescribeTableInput{TableName: aws.String("t")})
	if err != nil || len(d.Table.GlobalSecondaryIndexes) != 2 || *d.Table.ItemCount != 1 || len(d.Table.AttributeDefinitions) != 3 || d.Table.TableStatus != types.TableStatusActive {
		t.Errorf("described as %+v, %v", d, err)
	}
	_, err = s.DeleteTable(ctx, &sdk.DeleteTableInput{TableName: aws.String("t")})
	wantCode(t, err, "ValidationException", "protected against deletion")
	if _, err := s.UpdateTable(ctx, &sdk.UpdateTableInput{TableName: d.Table.TableArn, DeletionProtectionEnabled: aws.Bool(false)}); err != nil {
		t.Error(err)
	}
	if _, err := s.DeleteTable(ctx, &sdk.DeleteTableInput{TableName: aws.String("t")}); err != nil || s.items.Len() != 0 {
		t.Errorf("delete: %v, %d items left", err, s.items.Len())
	}
	_, err = s.DescribeTable(ctx, &sdk.DescribeTableInput{TableName: aws.String("t")})
	wantCode(t, err, "ResourceNotFoundException", "Requested resource not found: Table: t not found")
}

func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "region.db")
	s, stop := open(t, path)
	create(t, s, "S")
	const everything = `{"B":{"B":"AAEC"},"BOOL":{"BOOL":false},"BS":{"BS":["AA==","AQ=="]},"Id":{"S":"k\u0000/x"},"L":{"L":[]},"M":{"M":{"in":{"M":{}}}},"N":{"N":"-0.0012"},"NS":{"NS":["1","20"]},"NULL":{"NULL":true},"S":{"S":""},"SS":{"SS":["a"]},"by":{"S":"x"},"n":{"N":"1"},"s":{"S":"sort"}}`
	put(t, s, everything)
	if _, err := s.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: aws.String(s.id.ARN("dynamodb", "table/t")), Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}); err != nil {
		t.Fatal(err)
	}
	stop()
	s, stop = open(t, path)
	defer stop()
	out, err := s.Query(ctx, &sdk.QueryInput{TableName: aws.String("t"), IndexName: aws.String("by"), KeyConditionExpression: aws.String("#by = :x"),
		ExpressionAttributeNames: map[string]string{"#by": "by"}, ExpressionAttributeValues: attrs(t, `{":x":{"S":"x"}}`)})
	if err != nil || len(out.Items) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	if diff := cmp.Diff(everything, show(out.Items[0])); diff != "" {
		t.Errorf("item (-want +got):\n%s", diff)
	}
	if l, err := s.ListTagsOfResource(ctx, &sdk.ListTagsOfResourceInput{ResourceArn: aws.String(s.id.ARN("dynamodb", "table/t"))}); err != nil || len(l.Tags) != 1 {
		t.Errorf("tags: %+v, %v", l, err)
	}
}

func TestNumbers(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "1.0": "1", "1e3": "1000", "1E-3": "0.001", "-12.50": "-12.5", ".5": "0.5", "5.": "5", "+7": "7", "123e-1": "12.3",
		"0.00001e5": "1", "1e125": "1" + strings.Repeat("0", 125),
	} {
		n, err := parseNumber(in)
		if err != nil || n.String() != want {
			t.Errorf("%s: %v, %v, want %s", in, n, err, want)
		}
	}
	for _, in := range []string{"", "x", "1e", "--1", "1.2.3", "1e126", "0x10", "1 2", "NaN", "Infinity"} {
		if n, err := parseNumber(in); err == nil {
			t.Errorf("%q became %v", in, n)
		}
	}
}

// TestBoto3 is how Python programs on nodes use the tables.
func TestBoto3(t *testing.T) {
	s, _ := open(t, "")
	srv := wiretest.Serve(t, map[string]wiretest.Registrar{"dynamodb": s})
	out, ok := srv.Python(t, `
import boto3
from decimal import Decimal
from boto3.dynamodb.conditions import Attr, Key
from botocore.exceptions import ClientError
db = boto3.resource("dynamodb")
table = db.create_table(TableName="parallelcluster-slurm-c", BillingMode="PAY_PER_REQUEST",
    KeySchema=[{"AttributeName": "Id", "KeyType": "HASH"}],
    AttributeDefinitions=[{"AttributeName": "Id", "AttributeType": "S"}, {"AttributeName": "InstanceId", "AttributeType": "S"}],
    GlobalSecondaryIndexes=[{"IndexName": "InstanceId", "KeySchema": [{"AttributeName": "InstanceId", "KeyType": "HASH"}], "Projection": {"ProjectionType": "ALL"}}])
table.wait_until_exists()
with table.batch_writer() as batch:
    for i in range(60):
        batch.put_item(Item={"Id": f"q-dy-c-{i}", "InstanceId": f"i-{i}", "n": Decimal(i), "Data": {"list": [1, None, True, b"x"], "set": {"a", "b"}}})
found = table.query(IndexName="InstanceId", KeyConditionExpression=Key("InstanceId").eq("i-42"))
assert found["Count"] == 1 and found["Items"][0]["Id"] == "q-dy-c-42", found
assert found["Items"][0]["Data"]["set"] == {"a", "b"}
assert len(table.scan(FilterExpression=Attr("n").between(10, 19) & Attr("Data.list[2]").eq(True))["Items"]) == 10
table.update_item(Key={"Id": "q-dy-c-1"}, UpdateExpression="SET #s = :v ADD n :one", ExpressionAttributeNames={"#s": "status"}, ExpressionAttributeValues={":v": "up", ":one": 1})
assert table.get_item(Key={"Id": "q-dy-c-1"}, ConsistentRead=True)["Item"]["n"] == 2
assert "Item" not in table.get_item(Key={"Id": "none"})
try:
    table.put_item(Item={"Id": "q-dy-c-1"}, ConditionExpression=Attr("Id").not_exists())
    raise SystemExit("no error")
except ClientError as e:
    assert e.response["Error"]["Code"] == "ConditionalCheckFailedException", e.response
try:
    table.scan(FilterExpression="status = :v", ExpressionAttributeValues={":v": "x"})
    raise SystemExit("no error")
except ClientError as e:
    assert "reserved keyword: status" in str(e), e
table.delete()
table.wait_until_not_exists()
`)
	if !ok {
		t.Error(out)
	}
}
