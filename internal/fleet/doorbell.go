package fleet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53 "github.com/aws/aws-sdk-go-v2/service/route53/types"
)

// A Doorbell is a name in the cluster's own zone. Whoever requests something of the fleet
// gives it another address, so that the daemon asks for the status at once: to resolve a
// name is no request to AWS's APIs, and can be done every second. That it is there, and
// where, the item with the status says. Who does not know of it is heard later.
type Doorbell struct {
	DNS    dnsAPI
	ZoneID string
	Domain string
	Status *StatusItem
	// Lookup returns the addresses of a name, as net.Resolver does.
	Lookup func(ctx context.Context, host string) ([]string, error)
}

// doorbellLabel is no node's name.
const doorbellLabel = "compute-fleet"

// Name is what resolves.
func (b *Doorbell) Name() string {
	return doorbellLabel + "." + strings.TrimSuffix(b.Domain, ".")
}

const (
	doorbellInterval = time.Second
	doorbellPatience = 2 * time.Second
	doorbellRetry    = time.Minute // to put it up
)

// hang puts the doorbell up, and says where it is.
func (b *Doorbell) hang(ctx context.Context, now time.Time) error {
	if err := Ring(ctx, b.DNS, b.ZoneID, b.Name(), now); err != nil {
		return err
	}
	_, err := b.Status.DynamoDB.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                aws.String(b.Status.Table),
		Key:                      map[string]ddb.AttributeValue{"Id": &ddb.AttributeValueMemberS{Value: statusID}},
		UpdateExpression:         aws.String("SET #dt.#bell = :bell"),
		ConditionExpression:      aws.String("attribute_exists(#dt)"),
		ExpressionAttributeNames: map[string]string{"#dt": "Data", "#bell": DoorbellMember},
		ExpressionAttributeValues: map[string]ddb.AttributeValue{":bell": &ddb.AttributeValueMemberM{Value: map[string]ddb.AttributeValue{
			"zone": &ddb.AttributeValueMemberS{Value: b.ZoneID}, "name": &ddb.AttributeValueMemberS{Value: b.Name()},
		}}},
	})
	if err != nil {
		return fmt.Errorf("say where the doorbell of the compute fleet is: %w", err)
	}
	return nil
}

// DoorbellMember is the member of the status item's data that says where the doorbell is:
// "zone" is the hosted zone's ID, and "name" the name in it.
const DoorbellMember = "doorbell"

// Ring gives a doorbell another address: one of the host's own, which leads nowhere.
func Ring(ctx context.Context, api dnsAPI, zone, name string, now time.Time) error {
	var addr [4]byte
	binary.BigEndian.PutUint32(addr[:], 127<<24|uint32(now.UnixMilli())&0xFFFFFF)
	_, err := api.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{
		HostedZoneId: aws.String(zone),
		ChangeBatch: &r53.ChangeBatch{Changes: []r53.Change{{
			Action: r53.ChangeActionUpsert,
			ResourceRecordSet: &r53.ResourceRecordSet{
				Name: aws.String(name), Type: r53.RRTypeA, TTL: aws.Int64(1),
				ResourceRecords: []r53.ResourceRecord{{Value: aws.String(netip.AddrFrom4(addr).String())}},
			},
		}}},
	})
	if err != nil {
		return fmt.Errorf("DNS record %s in zone %s: %w", name, zone, err)
	}
	return nil
}

// watchDoorbell has the status asked for whenever somebody has rung. Until it hangs, and
// while names don't resolve, requests are heard at the next look.
func (d *Daemon) watchDoorbell(ctx context.Context) {
	wall := trouble{what: "doorbell of the fleet"}
	for {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := d.Doorbell.hang(call, d.Now())
		cancel()
		if ctx.Err() != nil {
			return
		}
		wall.met(d.Log, d.Now(), err)
		if err == nil {
			break
		}
		if !sleep(ctx, doorbellRetry, nil) {
			return
		}
	}
	names := trouble{what: "name of the fleet's doorbell"}
	var known string
	for sleep(ctx, doorbellInterval, nil) {
		call, cancel := context.WithTimeout(ctx, doorbellPatience)
		addrs, err := d.Doorbell.Lookup(call, d.Doorbell.Name()+".")
		cancel()
		if ctx.Err() != nil {
			return
		}
		// New names may be unknown for a minute; that is not worth a word.
		if missing := new(net.DNSError); errors.As(err, &missing) && missing.IsNotFound {
			continue
		}
		names.met(d.Log, d.Now(), err)
		if err != nil {
			continue
		}
		slices.Sort(addrs)
		now := strings.Join(addrs, " ")
		if known != "" && now != known {
			nudge(d.statusNow)
		}
		known = now
	}
}
