package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// recall takes what the table of names says about the instances of a fleet whose memory
// is new. A row stays when its instance is gone, so it only tells whose the instance
// was: whose it is, Slurm knows.
func (p *planner) recall(recorded map[string]string) {
	if recorded == nil {
		return
	}
	p.mem.Recalled = true
	for node, id := range recorded {
		if _, ours := p.key(node); ours && p.mem.Assigned[node].Instance != id {
			p.mem.Recorded[node] = id
		}
	}
}

// supersede ends the instance that a node is recorded to have, if it still lives: the
// node is to start, so that Slurm has powered it down before.
func (p *planner) supersede(node string) {
	id, recorded := p.mem.Recorded[node]
	delete(p.mem.Recorded, node)
	if _, ending := p.mem.Ending[id]; !recorded || ending {
		return
	}
	if _, lives := p.mem.Strays[id]; !lives {
		p.mem.Ending[id] = p.now // it is told so when a look shows it, which it may never
		return
	}
	p.terminate(id)
	p.recordNode(record.Terminated, node, id, "another takes its place")
	p.logf("terminate %s, which was %s: another takes its place", id, node)
}

// superseded returns the instances that are recorded to be nodes' that have another one
// or are off.
func (p *planner) superseded(view *SlurmView) map[string]bool {
	if len(p.mem.Recorded) == 0 {
		return nil
	}
	out := make(map[string]bool)
	for i := range view.Nodes {
		n := &view.Nodes[i]
		id, recorded := p.mem.Recorded[n.Name]
		if !recorded || p.isTouched(n.Name, view) {
			continue
		}
		a, assigned := p.mem.Assigned[n.Name]
		out[id] = assigned && a.Instance != id || n.State.PoweredDown() || n.State.PoweringDown() && !n.State.Has("POWER_DOWN")
	}
	return out
}

// forgetRecorded drops the rows whose instances are known to be gone, or their nodes'.
func (p *planner) forgetRecorded(view *EC2View) {
	if len(p.mem.Recorded) == 0 {
		return
	}
	// EC2 may not show yet what was launched just before the memory was lost.
	young := view.At.Sub(time.Unix(0, p.mem.Epoch)) < p.policy.MissingTimeout
	lives := make(map[string]bool)
	for i := range view.Instances {
		lives[view.Instances[i].ID] = view.Instances[i].Live()
	}
	maps.DeleteFunc(p.mem.Recorded, func(node, id string) bool {
		alive, shown := lives[id]
		return p.mem.Assigned[node].Instance == id || shown && !alive || !shown && !young
	})
}

// recorded asks for the rows of all nodes, if the memory has not been told of them yet.
// It waits for the answer: a fleet that knew of no instance would launch another for a
// node that has one, whose name could not be recorded anyway.
func (d *Daemon) recorded(ctx context.Context) map[string]string {
	if d.mem.Recalled {
		return nil
	}
	var nodes []string
	for _, list := range d.policy.Queues {
		names, err := slurm.Expand(list)
		if err != nil {
			d.Log.Error("nodes of the fleet", "error", err)
		}
		nodes = append(nodes, names...)
	}
	slices.Sort(nodes)
	table := trouble{what: "table of the nodes' names"}
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		rows, err := d.Registry.Recorded(call, slices.Compact(nodes))
		cancel()
		switch {
		case err == nil:
			table.met(d.Log, d.Now(), nil)
			return rows
		case refused(err):
			d.Log.Error("nobody tells whose the fleet's instances are; those of no node are terminated in time", "error", err)
			return map[string]string{}
		}
		table.met(d.Log, d.Now(), err)
		if !sleep(ctx, pause, nil) {
			return nil
		}
	}
}

// refused says whether a service has understood a request, and will never carry it out.
func refused(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode() {
	case "AccessDeniedException", "ResourceNotFoundException", "ValidationException":
		return true
	}
	return false
}

// batchGetItems is the most items that DynamoDB returns at once.
const batchGetItems = 100

// Recorded returns the instances of nodes as they were identified last.
func (r *Records) Recorded(ctx context.Context, nodes []string) (map[string]string, error) {
	rows := make(map[string]string)
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for batch := range slices.Chunk(nodes, batchGetItems) {
		g.Go(func() error {
			some, err := r.read(ctx, batch)
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(rows, some)
			return err
		})
	}
	return rows, g.Wait()
}

func (r *Records) read(ctx context.Context, nodes []string) (map[string]string, error) {
	rows := make(map[string]string)
	var keys []map[string]ddb.AttributeValue
	for _, n := range nodes {
		keys = append(keys, map[string]ddb.AttributeValue{"Id": &ddb.AttributeValueMemberS{Value: n}})
	}
	left := map[string]ddb.KeysAndAttributes{r.Table: {
		Keys: keys, ConsistentRead: aws.Bool(true), ProjectionExpression: aws.String("Id, InstanceId"),
	}}
	for attempt := 0; ; attempt++ {
		out, err := r.DynamoDB.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: left})
		if err != nil {
			return nil, fmt.Errorf("names in table %s: %w", r.Table, err)
		}
		for _, item := range out.Responses[r.Table] {
			node, _ := item["Id"].(*ddb.AttributeValueMemberS)
			id, _ := item["InstanceId"].(*ddb.AttributeValueMemberS)
			if node != nil && id != nil {
				rows[node.Value] = id.Value
			}
		}
		left = out.UnprocessedKeys
		if len(left) == 0 {
			return rows, nil
		}
		if attempt == 8 {
			return nil, fmt.Errorf("names in table %s: DynamoDB does not read %d of them", r.Table, len(left[r.Table].Keys))
		}
		if !sleep(ctx, 50*time.Millisecond<<attempt, nil) {
			return nil, ctx.Err()
		}
	}
}
