package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53 "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"golang.org/x/sync/errgroup"
)

// dynamoAPI is the part of DynamoDB that the fleet needs; *dynamodb.Client has it.
type dynamoAPI interface {
	BatchGetItem(context.Context, *dynamodb.BatchGetItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error)
	BatchWriteItem(context.Context, *dynamodb.BatchWriteItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error)
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
}

// dnsAPI is the part of Route 53 that the fleet needs; *route53.Client has it.
type dnsAPI interface {
	ChangeResourceRecordSets(context.Context, *route53.ChangeResourceRecordSetsInput, ...func(*route53.Options)) (*route53.ChangeResourceRecordSetsOutput, error)
}

// Records are where the names of nodes are kept for others to read.
type Records struct {
	DynamoDB     dynamoAPI
	Table        string // item per node: which instance it is. Booting nodes ask it for their names
	HeadAddress  string
	HeadHostname string

	DNS    dnsAPI
	ZoneID string // empty without managed DNS
	Domain string
}

// Identify lets the instances learn which nodes they are.
func (r *Records) Identify(ctx context.Context, assigned []Assignment) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for batch := range slices.Chunk(assigned, batchWriteItems) {
		g.Go(func() error { return r.write(ctx, batch) })
	}
	return g.Wait()
}

// batchWriteItems is the most items that DynamoDB takes at once.
const batchWriteItems = 25

func (r *Records) write(ctx context.Context, batch []Assignment) error {
	var puts []ddb.WriteRequest
	for _, a := range batch {
		puts = append(puts, ddb.WriteRequest{PutRequest: &ddb.PutRequest{Item: map[string]ddb.AttributeValue{
			"Id":                &ddb.AttributeValueMemberS{Value: a.Node},
			"InstanceId":        &ddb.AttributeValueMemberS{Value: a.Instance},
			"HeadNodePrivateIp": &ddb.AttributeValueMemberS{Value: r.HeadAddress},
			"HeadNodeHostname":  &ddb.AttributeValueMemberS{Value: r.HeadHostname},
		}}})
	}
	left := map[string][]ddb.WriteRequest{r.Table: puts}
	for attempt := 0; ; attempt++ {
		out, err := r.DynamoDB.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: left})
		if err != nil {
			return fmt.Errorf("record names in table %s: %w", r.Table, err)
		}
		left = out.UnprocessedItems
		if len(left) == 0 {
			return nil
		}
		if attempt == 8 {
			return fmt.Errorf("record names in table %s: DynamoDB does not take %d of them", r.Table, len(left[r.Table]))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond << attempt):
		}
	}
}

// changesPerRequest is how many records one request changes.
const changesPerRequest = 500

// recordTTL is for how many seconds resolvers may remember a node's address.
const recordTTL = 120

// Publish makes the nodes' names resolve, if the cluster has names.
func (r *Records) Publish(ctx context.Context, assigned []Assignment) error {
	if r.ZoneID == "" || r.Domain == "" {
		return nil
	}
	var errs []error
	for batch := range slices.Chunk(assigned, changesPerRequest) {
		var changes []r53.Change
		for _, a := range batch {
			changes = append(changes, r53.Change{
				Action: r53.ChangeActionUpsert,
				ResourceRecordSet: &r53.ResourceRecordSet{
					Name: aws.String(a.Node + "." + strings.TrimSuffix(r.Domain, ".")), Type: r53.RRTypeA, TTL: aws.Int64(recordTTL),
					ResourceRecords: []r53.ResourceRecord{{Value: aws.String(a.Addr)}},
				},
			})
		}
		_, err := r.DNS.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{
			HostedZoneId: aws.String(r.ZoneID),
			ChangeBatch:  &r53.ChangeBatch{Changes: changes},
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("DNS records in zone %s: %w", r.ZoneID, err))
		}
	}
	return errors.Join(errs...)
}

// A StatusItem is the item in which users and the fleet agree on its status.
type StatusItem struct {
	DynamoDB dynamoAPI
	Table    string
}

const statusID = "COMPUTE_FLEET"

// Get returns the status, and nothing if it was never set.
func (s *StatusItem) Get(ctx context.Context) (Status, error) {
	out, err := s.DynamoDB.GetItem(ctx, &dynamodb.GetItemInput{
		TableName:      aws.String(s.Table),
		Key:            map[string]ddb.AttributeValue{"Id": &ddb.AttributeValueMemberS{Value: statusID}},
		ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return "", fmt.Errorf("status of the compute fleet: %w", err)
	}
	data, _ := out.Item["Data"].(*ddb.AttributeValueMemberM)
	if data == nil {
		return "", nil
	}
	status, _ := data.Value["status"].(*ddb.AttributeValueMemberS)
	if status == nil {
		return "", nil
	}
	return Status(status.Value), nil
}

// Change sets the status, provided that it is still the one to change from. It
// reports false if it is not.
func (s *StatusItem) Change(ctx context.Context, change StatusChange, now time.Time) (bool, error) {
	_, err := s.DynamoDB.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                aws.String(s.Table),
		Key:                      map[string]ddb.AttributeValue{"Id": &ddb.AttributeValueMemberS{Value: statusID}},
		UpdateExpression:         aws.String("SET #dt.#st = :to, #dt.#up = :now"),
		ConditionExpression:      aws.String("#dt.#st = :from"),
		ExpressionAttributeNames: map[string]string{"#dt": "Data", "#st": "status", "#up": "lastStatusUpdatedTime"},
		ExpressionAttributeValues: map[string]ddb.AttributeValue{
			":from": &ddb.AttributeValueMemberS{Value: string(change.From)},
			":to":   &ddb.AttributeValueMemberS{Value: string(change.To)},
			":now":  &ddb.AttributeValueMemberS{Value: statusTime(now)},
		},
	})
	var lost *ddb.ConditionalCheckFailedException
	switch {
	case errors.As(err, &lost):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("change status of the compute fleet to %s: %w", change.To, err)
	}
	return true, nil
}

// statusTime is a moment in the form that readers of the item expect.
func statusTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000-07:00") }

// NewStatusItem returns the item of a fleet that begins its life.
func NewStatusItem(status Status, now time.Time) map[string]ddb.AttributeValue {
	return map[string]ddb.AttributeValue{
		"Id": &ddb.AttributeValueMemberS{Value: statusID},
		"Data": &ddb.AttributeValueMemberM{Value: map[string]ddb.AttributeValue{
			"status":                &ddb.AttributeValueMemberS{Value: string(status)},
			"lastStatusUpdatedTime": &ddb.AttributeValueMemberS{Value: statusTime(now)},
		}},
	}
}
