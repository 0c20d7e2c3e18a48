package access

import (
	"slices"

	"maps"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// tables are those of a batch.
func (a *asker) tables() []string {
	switch in := a.call.Input.(type) {
	case *dynamodb.BatchWriteItemInput:
		return slices.Sorted(maps.Keys(in.RequestItems))
	case *dynamodb.BatchGetItemInput:
		return slices.Sorted(maps.Keys(in.RequestItems))
	}
	return nil
}

// leadingKeys are the partition keys of the items that a call reads or writes. Which
// attribute that is, is told by nothing but the table: Id in all tables of clusters.
func (a *asker) leadingKeys() []string {
	var out []string
	add := func(item map[string]types.AttributeValue) {
		if s, ok := item["Id"].(*types.AttributeValueMemberS); ok {
			out = append(out, s.Value)
		}
	}
	switch in := a.call.Input.(type) {
	case *dynamodb.GetItemInput:
		add(in.Key)
	case *dynamodb.PutItemInput:
		add(in.Item)
	case *dynamodb.UpdateItemInput:
		add(in.Key)
	case *dynamodb.DeleteItemInput:
		add(in.Key)
	case *dynamodb.BatchWriteItemInput:
		for _, requests := range in.RequestItems {
			for _, r := range requests {
				if r.PutRequest != nil {
					add(r.PutRequest.Item)
				}
				if r.DeleteRequest != nil {
					add(r.DeleteRequest.Key)
				}
			}
		}
	case *dynamodb.BatchGetItemInput:
		for _, keys := range in.RequestItems {
			for _, k := range keys.Keys {
				add(k)
			}
		}
	}
	return out
}
