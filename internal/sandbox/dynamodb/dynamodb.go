// Package dynamodb is the sandbox's DynamoDB: tables with secondary indexes, and
// items that are read and changed by expressions.
//
// Items live in memory, in maps that follow the tables' keys, and are written
// through to the region's store one row each. Reads are always consistent. A
// transaction is atomic for readers; should the daemon be killed in the middle of
// one, the next process finds a part of it.
//
// The legacy parameters that expressions replaced (Expected, AttributeUpdates,
// KeyConditions, …) are refused.
//
// Where to start: item.go for the operations on single items, parser.go for
// expressions.
package dynamodb

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// Service is the DynamoDB of one region.
type Service struct {
	id  *region.Identity
	now func() time.Time

	rows  *store.Table[tableRow]
	items *store.Table[item] // under table/key

	mu     sync.RWMutex
	tables map[string]*table
}

// A tableRow is what the store keeps of a table besides its items.
type tableRow struct {
	Description types.TableDescription
	Tags        map[string]string
	TTL         string // attribute with the time of expiry; empty when off
	Recovery    bool   // point-in-time recovery is said to be on
}

// New opens the service's tables in db.
func New(db *store.DB, id *region.Identity) (*Service, error) {
	s := &Service{id: id, now: time.Now, tables: map[string]*table{}}
	if err := errors.Join(
		store.OpenTable(db, "dynamodb.tables", &s.rows),
		store.OpenTable(db, "dynamodb.items", &s.items),
	); err != nil {
		return nil, err
	}
	for _, name := range s.rows.Keys() {
		row, _ := s.rows.Get(name)
		s.tables[name] = newTable(row.Description)
	}
	for _, key := range s.items.Keys() {
		name, pk, _ := strings.Cut(key, "/")
		i, _ := s.items.Get(key)
		t, ok := s.tables[name]
		if !ok { // died while deleting the table
			if err := s.items.Delete(key); err != nil {
				return nil, err
			}
			continue
		}
		t.put(pk, i)
	}
	return s, nil
}

// bareName returns a table's name from its name or ARN.
func bareName(nameOrARN *string) string {
	name := aws.ToString(nameOrARN)
	if strings.HasPrefix(name, "arn:") {
		_, name, _ = strings.Cut(name, ":table/")
		name, _, _ = strings.Cut(name, "/")
	}
	return name
}

// table finds a table. The caller holds mu.
func (s *Service) table(name *string) (*table, error) {
	t, ok := s.tables[bareName(name)]
	if !ok {
		return nil, wire.Errorf("ResourceNotFoundException", "Requested resource not found")
	}
	return t, nil
}

// write makes i the item under pk, or removes it when i is nil. The caller holds
// mu for writing.
func (s *Service) write(t *table, pk string, i item) error {
	row := t.name + "/" + pk
	if i == nil {
		if err := s.items.Delete(row); err != nil {
			return fmt.Errorf("delete item of %s: %w", t.name, err)
		}
		t.remove(pk)
		return nil
	}
	if err := s.items.Put(row, i); err != nil {
		return fmt.Errorf("put item into %s: %w", t.name, err)
	}
	t.put(pk, i)
	return nil
}

// consumed answers a request for the capacity that an operation took.
func consumed(asked types.ReturnConsumedCapacity, t *table, bytes, perUnit int) *types.ConsumedCapacity {
	if asked == "" || asked == types.ReturnConsumedCapacityNone {
		return nil
	}
	units := float64(max(1, (bytes+perUnit-1)/perUnit))
	if perUnit == readUnit {
		units /= 2
	}
	return &types.ConsumedCapacity{TableName: &t.name, CapacityUnits: &units}
}

const (
	readUnit  = 4 << 10
	writeUnit = 1 << 10
	maxItem   = 400 << 10
	maxPage   = 1 << 20
)
