package cloudformation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/sandbox/cloudformation/resource"
	"pcluster/internal/sandbox/cloudformation/template"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
)

// A cloud is a service of things, for tests of the engine. A thing has a Size
// that can be changed and a Kind that cannot, and may use other things: then
// those cannot be deleted.
type cloud struct {
	mu     sync.Mutex
	things map[string]*thing
	made   int               // how many there ever were
	log    []string          // what was done, by logical ID
	refuse map[string]string // verb + " " + logical ID, or that + "=" + Size, to the error
	hold   map[string]bool   // logical IDs of things that never become ready
}

type thing struct {
	ID, Logical, Token string
	Props              map[string]any
	Tags               map[string]string
}

func newCloud() *cloud {
	return &cloud{things: map[string]*thing{}, refuse: map[string]string{}, hold: map[string]bool{}}
}

func (c *cloud) do(verb string, r *resource.Request) error {
	c.log = append(c.log, verb+" "+r.LogicalID)
	for _, key := range []string{verb + " " + r.LogicalID, verb + " " + r.LogicalID + "=" + r.String("Size")} {
		if message, ok := c.refuse[key]; ok {
			return &smithy.GenericAPIError{Code: "Refused", Message: message}
		}
	}
	return nil
}

func uses(props map[string]any) []string {
	list, _ := props["Uses"].([]any)
	var out []string
	for _, e := range list {
		s, _ := template.Text(e)
		out = append(out, s)
	}
	return out
}

func (c *cloud) thingType() *resource.Type {
	return resource.Own(resource.Type{
		Name: "Test::Cloud::Thing", Attributes: []string{"Size", "Id"}, Replaces: []string{"Kind"}, Signals: true,
		Create: func(_ context.Context, r *resource.Request) error {
			c.mu.Lock()
			var t *thing
			for _, have := range c.things { // idempotent by token
				if have.Token == r.Token {
					t = have
				}
			}
			if t == nil {
				if err := c.do("create", r); err != nil {
					c.mu.Unlock()
					return err
				}
				for _, id := range uses(r.Props) {
					if c.things[id] == nil {
						c.mu.Unlock()
						return &smithy.GenericAPIError{Code: "Thing.NotFound", Message: "no thing " + id}
					}
				}
				c.made++
				t = &thing{ID: fmt.Sprintf("thing-%d", c.made), Logical: r.LogicalID, Token: r.Token, Props: r.Props, Tags: r.Tags}
				c.things[t.ID] = t
			}
			c.mu.Unlock()
			if err := r.Created(t.ID); err != nil {
				return err
			}
			r.Set("Id", t.ID)
			r.Set("Size", r.StringOr("Size", "0"))
			return r.Wait(func() (bool, error) {
				c.mu.Lock()
				defer c.mu.Unlock()
				if message, ok := c.refuse["ready "+r.LogicalID]; ok {
					return false, &smithy.GenericAPIError{Code: "Broken", Message: message}
				}
				return !c.hold[r.LogicalID], nil
			})
		},
		Update: func(_ context.Context, r *resource.Request) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			if err := c.do("update", r); err != nil {
				return err
			}
			t := c.things[r.PhysicalID]
			if t == nil {
				return &smithy.GenericAPIError{Code: "Thing.NotFound", Message: "no thing " + r.PhysicalID}
			}
			changed := *t
			changed.Props, changed.Tags = r.Props, r.Tags
			c.things[r.PhysicalID] = &changed
			r.Set("Size", r.StringOr("Size", "0"))
			return nil
		},
		Delete: func(_ context.Context, r *resource.Request) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			if err := c.do("delete", r); err != nil {
				return err
			}
			for _, t := range c.things {
				if slices.Contains(uses(t.Props), r.PhysicalID) {
					return &smithy.GenericAPIError{Code: "InUse", Message: r.PhysicalID + " is used by " + t.ID}
				}
			}
			delete(c.things, r.PhysicalID)
			return nil
		},
	}, nil, "*")
}

// have returns the logical IDs of the things that exist, sorted, with their sizes.
func (c *cloud) have() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, t := range c.things {
		name := t.Logical
		for _, p := range []string{"Kind", "Size"} {
			if s, ok := template.Text(t.Props[p]); ok {
				name += " " + strings.ToLower(p) + "=" + s
			}
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (c *cloud) done(verb string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, l := range c.log {
		if id, ok := strings.CutPrefix(l, verb+" "); ok {
			out = append(out, id)
		}
	}
	return out
}

// objects is an S3 with one version of each object.
type objects map[string]string

func (o objects) Object(_ context.Context, bucket, key, _ string) ([]byte, error) {
	if body, ok := o[bucket+"/"+key]; ok {
		return []byte(body), nil
	}
	return nil, &smithy.GenericAPIError{Code: "NoSuchKey", Message: "The specified key does not exist."}
}

// A rig is a CloudFormation on a cloud.
type rig struct {
	*Service
	t     *testing.T
	cloud *cloud
	cfg   Config
	path  string
	db    *store.DB
}

func newRig(t *testing.T, cfg Config) *rig {
	t.Helper()
	r := &rig{t: t, cloud: newCloud(), cfg: cfg, path: filepath.Join(t.TempDir(), "region.db")}
	r.open()
	t.Cleanup(r.close)
	return r
}

func (r *rig) open() {
	r.t.Helper()
	var err error
	if r.db, err = store.Open(r.path); err != nil {
		r.t.Fatal(err)
	}
	if r.Service, err = New(r.db, region.NewIdentity("", ""), r.cfg); err != nil {
		r.t.Fatal(err)
	}
	r.types["Test::Cloud::Thing"] = r.cloud.thingType()
}

func (r *rig) close() {
	if r.Service == nil {
		return
	}
	r.Close()
	if err := r.db.Close(); err != nil {
		r.t.Error(err)
	}
	r.Service = nil
}

// restart brings the service up again with what it had stored.
func (r *rig) restart() {
	r.t.Helper()
	r.close()
	r.open()
	r.Start(context.Background())
}

// things returns a template of things. Each is "Name" or "Name < Other Another"
// with JSON members of its own after a colon.
func things(lines ...string) string {
	resources := map[string]any{}
	for _, line := range lines {
		head, members, _ := strings.Cut(line, ":")
		name, after, _ := strings.Cut(head, "<")
		name = strings.TrimSpace(name)
		props := map[string]any{}
		r := map[string]any{"Type": "Test::Cloud::Thing", "Properties": props}
		if members != "" {
			var m map[string]any
			if err := json.Unmarshal([]byte("{"+members+"}"), &m); err != nil {
				panic(err)
			}
			for k, v := range m {
				switch k {
				case "DeletionPolicy", "UpdateReplacePolicy", "Metadata", "CreationPolicy", "Condition", "Type":
					r[k] = v
				default:
					props[k] = v
				}
			}
		}
		var users []any
		for _, other := range strings.Fields(after) {
			users = append(users, map[string]any{"Ref": other})
		}
		if users != nil {
			props["Uses"] = users
		}
		resources[name] = r
	}
	return template.JSON(map[string]any{"Resources": resources})
}

// with adds sections to a template.
func with(tpl, section, content string) string {
	var m map[string]any
	var c any
	if err := errors.Join(json.Unmarshal([]byte(tpl), &m), json.Unmarshal([]byte(content), &c)); err != nil {
		panic(err)
	}
	if object, ok := c.(map[string]any); ok && m[section] != nil {
		maps.Copy(m[section].(map[string]any), object)
	} else {
		m[section] = c
	}
	return template.JSON(m)
}

func (r *rig) create(name, tpl string, opts ...func(*sdk.CreateStackInput)) string {
	r.t.Helper()
	in := &sdk.CreateStackInput{StackName: aws.String(name), TemplateBody: aws.String(tpl)}
	for _, o := range opts {
		o(in)
	}
	out, err := r.CreateStack(context.Background(), in)
	if err != nil {
		r.t.Fatalf("CreateStack: %v", err)
	}
	return *out.StackId
}

func (r *rig) update(name, tpl string, opts ...func(*sdk.UpdateStackInput)) {
	r.t.Helper()
	in := &sdk.UpdateStackInput{StackName: aws.String(name), TemplateBody: aws.String(tpl)}
	for _, o := range opts {
		o(in)
	}
	if _, err := r.UpdateStack(context.Background(), in); err != nil {
		r.t.Fatalf("UpdateStack: %v", err)
	}
}

func (r *rig) delete(name string) {
	r.t.Helper()
	if _, err := r.DeleteStack(context.Background(), &sdk.DeleteStackInput{StackName: aws.String(name)}); err != nil {
		r.t.Fatalf("DeleteStack: %v", err)
	}
}

// settled waits until no operation runs on the stack and returns it.
func (r *rig) settled(nameOrID string) stackRow {
	r.t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		changed := r.bell.next()
		st := r.find(nameOrID)
		if st == nil {
			r.t.Fatalf("no stack %s", nameOrID)
		}
		if row := st.snapshot(); row.Op == nil {
			return row
		}
		select {
		case <-changed:
		case <-deadline:
			r.t.Fatalf("stack %s stays in %s", nameOrID, st.snapshot().Status)
		}
	}
}

// eventually waits for a condition that nothing announces.
func (r *rig) eventually(what string, holds func() bool) {
	r.t.Helper()
	for range 100_000 {
		if holds() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	r.t.Fatalf("no %s", what)
}

// wants checks the final status of a stack.
func (r *rig) wants(nameOrID, status string) stackRow {
	r.t.Helper()
	row := r.settled(nameOrID)
	if row.Status != status {
		r.t.Fatalf("stack is %s (%s), want %s; events:\n%s", row.Status, row.Reason, status, strings.Join(r.history(nameOrID), "\n"))
	}
	return row
}

// history returns a stack's events, oldest first.
func (r *rig) history(nameOrID string) []string {
	r.t.Helper()
	var out []string
	in := &sdk.DescribeStackEventsInput{StackName: aws.String(nameOrID)}
	for {
		page, err := r.DescribeStackEvents(context.Background(), in)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, e := range page.StackEvents {
			out = append(out, strings.TrimSpace(*e.LogicalResourceId+" "+string(e.ResourceStatus)+" "+aws.ToString(e.ResourceStatusReason)))
		}
		if in.NextToken = page.NextToken; in.NextToken == nil {
			break
		}
	}
	slices.Reverse(out)
	return out
}

func (r *rig) describe1(nameOrID string) types.Stack {
	r.t.Helper()
	out, err := r.DescribeStacks(context.Background(), &sdk.DescribeStacksInput{StackName: aws.String(nameOrID)})
	if err != nil {
		r.t.Fatal(err)
	}
	return out.Stacks[0]
}

// inSequence checks that the lines occur in the list in this order.
func inSequence(t *testing.T, list []string, lines ...string) {
	t.Helper()
	at := 0
	for _, l := range lines {
		i := slices.IndexFunc(list[at:], func(have string) bool {
			return have == l || strings.HasSuffix(l, "…") && strings.HasPrefix(have, strings.TrimSuffix(l, "…"))
		})
		if i < 0 {
			t.Fatalf("%q is missing, or too early, in:\n%s", l, strings.Join(list, "\n"))
		}
		at += i + 1
	}
}
