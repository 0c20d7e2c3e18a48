package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"pcluster/internal/fleet"
)

// fleetKey returns the key of the item that holds the status of the fleet.
func fleetKey() map[string]ddb.AttributeValue {
	return map[string]ddb.AttributeValue{"Id": &ddb.AttributeValueMemberS{Value: "COMPUTE_FLEET"}}
}

// DescribeComputeFleet tells the status of a cluster's compute fleet.
func (o *Operator) DescribeComputeFleet(ctx context.Context, name string) (*Fleet, error) {
	s, err := o.clusterStack(ctx, name)
	if err != nil {
		return nil, err
	}
	f := o.fleet(ctx, s)
	return &f, nil
}

// fleet reads the status of the fleet; what can't be read is unknown.
func (o *Operator) fleet(ctx context.Context, s cfnStack) Fleet {
	switch s.status() {
	case "CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_IN_PROGRESS":
	default:
		return Fleet{Status: FleetUnknown}
	}
	f, err := o.fleetOrEnvironment(ctx, s)
	if err != nil {
		o.Log.Warn("compute fleet of " + s.name() + ": " + err.Error())
		return Fleet{Status: FleetUnknown}
	}
	return f
}

func (o *Operator) fleetOrEnvironment(ctx context.Context, s cfnStack) (Fleet, error) {
	if s.batch() {
		return o.readEnvironment(ctx, s)
	}
	f, _, err := o.readFleet(ctx, s)
	return f, err
}

// A doorbell is a name in a cluster's zone that its head node looks at every second.
type doorbell struct{ zone, name string }

func (o *Operator) readFleet(ctx context.Context, s cfnStack) (Fleet, doorbell, error) {
	var bell doorbell
	out, err := o.DynamoDB.GetItem(ctx, &dynamodb.GetItemInput{
		TableName:      aws.String(tableName(s.name())),
		Key:            fleetKey(),
		ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return Fleet{}, bell, err
	}
	status, updated := text(out.Item["Status"]), text(out.Item["LastUpdatedTime"])
	if keepsFleetInMap(s.tag(tagVersion)) {
		data, _ := out.Item["Data"].(*ddb.AttributeValueMemberM)
		if data == nil {
			return Fleet{Status: FleetUnknown}, bell, nil
		}
		if where, ok := data.Value[fleet.DoorbellMember].(*ddb.AttributeValueMemberM); ok {
			bell = doorbell{text(where.Value["zone"]), text(where.Value["name"])}
		}
		status, updated = text(data.Value["status"]), text(data.Value["lastStatusUpdatedTime"])
	}
	if status == "" {
		return Fleet{Status: FleetUnknown}, bell, nil
	}
	f := Fleet{Status: FleetStatus(status)}
	if t, ok := parseFleetTime(updated); ok {
		f.LastStatusUpdatedTime = &Time{t}
	}
	return f, bell, nil
}

func text(v ddb.AttributeValue) string {
	if s, ok := v.(*ddb.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

// fleetTime is the form in which times of the fleet's item are written: that of
// Python's datetime, which other tools that read the item expect.
const fleetTime = "2006-01-02 15:04:05.000000-07:00"

func parseFleetTime(s string) (time.Time, bool) {
	for _, form := range []string{"2006-01-02 15:04:05.999999999-07:00", "2006-01-02 15:04:05.999999999 MST", time.RFC3339Nano} {
		if t, err := time.Parse(form, strings.TrimSpace(s)); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// UpdateComputeFleet asks for the compute fleet to be started or stopped. The
// head node does the work, or AWS Batch; the answer says where the fleet stands.
func (o *Operator) UpdateComputeFleet(ctx context.Context, name string, request FleetStatus) (*Fleet, error) {
	s, err := o.clusterStack(ctx, name)
	if err != nil {
		return nil, err
	}
	switch s.status() {
	case "CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE":
	default:
		return nil, badRequest("The compute fleet of cluster '%s' cannot be updated while its stack is in status %s: wait for the stack, or look at 'pcluster describe-cluster -n %s'.", name, s.status(), name)
	}
	legal, scheduler := []FleetStatus{FleetStartRequested, FleetStopRequested}, "Slurm"
	if s.batch() {
		legal, scheduler = []FleetStatus{FleetEnabled, FleetDisabled}, "AWS Batch"
	}
	if !slices.Contains(legal, request) {
		return nil, badRequest("the update compute fleet status can only be set to `%s` or `%s` for %s scheduler clusters.", legal[0], legal[1], scheduler)
	}
	if s.batch() {
		return o.updateEnvironment(ctx, s, request)
	}
	current, bell, err := o.readFleet(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("status of the compute fleet of cluster %s: %w", name, err)
	}
	if current.Status == FleetUnknown {
		return nil, refuse(500, "The status of the compute fleet of cluster '%s' is not in table %s.", name, tableName(name))
	}
	if current.Status.covers(request) {
		return &current, nil
	}
	if err := o.writeFleet(ctx, s, current.Status, request); err != nil {
		if kindOf(err) == conflicting {
			return nil, badRequest("The status of the compute fleet of cluster '%s' changed from %s while it was updated. Please retry.", name, current.Status)
		}
		return nil, err
	}
	o.ring(ctx, bell)
	updated, _, err := o.readFleet(ctx, s)
	if err != nil {
		return nil, err
	}
	return &updated, nil
}

// ring has the head node look at the status now. Without a doorbell, or permission to
// ring, it does so within a minute.
func (o *Operator) ring(ctx context.Context, bell doorbell) {
	if bell.zone == "" || bell.name == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := fleet.Ring(ctx, o.Route53, bell.zone, bell.name, o.Now()); err != nil {
		o.Log.Info("the head node hears of the request within a minute: " + err.Error())
	}
}

// writeFleet changes the status of the fleet, provided it is still the old one.
func (o *Operator) writeFleet(ctx context.Context, s cfnStack, old, status FleetStatus) error {
	str := func(v string) ddb.AttributeValue { return &ddb.AttributeValueMemberS{Value: v} }
	table, now := tableName(s.name()), o.Now().UTC().Format(fleetTime)
	if !keepsFleetInMap(s.tag(tagVersion)) {
		_, err := o.DynamoDB.PutItem(ctx, &dynamodb.PutItemInput{
			TableName:                 &table,
			Item:                      map[string]ddb.AttributeValue{"Id": fleetKey()["Id"], "Status": str(string(status)), "LastUpdatedTime": str(now)},
			ConditionExpression:       aws.String("#s = :old"),
			ExpressionAttributeNames:  map[string]string{"#s": "Status"},
			ExpressionAttributeValues: map[string]ddb.AttributeValue{":old": str(string(old))},
		})
		return err
	}
	_, err := o.DynamoDB.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                 &table,
		Key:                       fleetKey(),
		UpdateExpression:          aws.String("SET #d.#s = :new, #d.#t = :now"),
		ConditionExpression:       aws.String("#d.#s = :old"),
		ExpressionAttributeNames:  map[string]string{"#d": "Data", "#s": "status", "#t": "lastStatusUpdatedTime"},
		ExpressionAttributeValues: map[string]ddb.AttributeValue{":new": str(string(status)), ":now": str(now), ":old": str(string(old))},
	})
	return err
}
