// Package resource makes, changes and removes the resources of stacks: one
// [Type] per CloudFormation resource type, each a few functions that call the
// region's other services through the interfaces declared here.
//
// It knows nothing of stacks as such: the engine (package cloudformation) hands
// it a [Request] with evaluated properties and keeps the books. What the engine
// relies on:
//
//   - A creation may be asked for again with the same token, after a restart of
//     the daemon in its middle. It then finds what the first attempt made.
//   - A deletion of what is gone already succeeds.
//   - An ID is reported ([Request.Created]) as soon as there is something to
//     delete, before waiting for it to become ready.
//
// Start at [Types]. Types are grouped in files by service; how properties become
// inputs of the SDK is in decode.go.
package resource

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/smithy-go"

	"pcluster/internal/sandbox/cloudformation/template"
)

// A Type is what the engine must know of a resource type.
type Type struct {
	Name string

	// Attributes are the names that Fn::GetAtt takes. "*" takes any.
	Attributes []string
	// Replaces are the properties whose change takes a new resource, as paths
	// (LustreConfiguration.ImportPath). "*" stands for all but Tags.
	Replaces []string
	// Snapshots says that the deletion policy Snapshot is possible.
	Snapshots bool
	// Signals says that a CreationPolicy can make the type wait for signals.
	Signals bool

	Create func(context.Context, *Request) error
	// Update changes what Replaces does not name; nil: any change but one of
	// tags, for which there is nothing to do, takes a new resource.
	Update func(context.Context, *Request) error
	Delete func(context.Context, *Request) error

	properties properties
	// adapt changes properties that templates write otherwise than the SDK's
	// input, before they are checked; nil changes nothing.
	adapt func(map[string]any) map[string]any
}

// A Request is one piece of work on one resource. Contexts that functions of a
// [Type] get are not cancelled with the stack's operation, so that no call is
// left half done; only [Request.Wait] ends early.
type Request struct {
	Type      string
	StackID   string
	StackName string
	LogicalID string
	Account   string
	Region    string

	// Token is the same for all repeats of one attempt at creating this
	// resource, and differs from that of any other attempt.
	Token string
	// Started is when this attempt began; repeats do not change it.
	Started time.Time
	// Resumed says that an earlier run of this attempt may have done part of it.
	Resumed bool

	PhysicalID string         // of what is updated or deleted, or was made before the restart
	Replaced   string         // for creations that replace a resource: its physical ID
	Props      map[string]any // evaluated properties
	Before     map[string]any // for updates: the properties so far
	Snapshot   bool           // for deletions: take a snapshot first

	// Tags are the stack's tags and those that CloudFormation adds; own tags of
	// the resource are in Props. TagsBefore is for updates.
	Tags, TagsBefore map[string]string

	Attributes map[string]any // for Fn::GetAtt; updates and deletions see what the creation set

	// Interrupt ends waits. Its cause tells why.
	Interrupt context.Context
	// Record stores the physical ID. Use Created.
	Record func(physicalID string) error
}

// Created tells the engine the physical ID of the resource as soon as there is
// something to delete.
func (r *Request) Created(physicalID string) error {
	r.PhysicalID = physicalID
	if r.Record == nil {
		return nil
	}
	return r.Record(physicalID)
}

// Set sets an attribute for Fn::GetAtt.
func (r *Request) Set(attribute string, v any) {
	out := maps.Clone(r.Attributes)
	if out == nil {
		out = map[string]any{}
	}
	out[attribute] = v
	r.Attributes = out
}

// String returns a property that is a scalar, or "".
func (r *Request) String(property string) string {
	s, _ := template.Text(r.Props[property])
	return s
}

// StringOr returns a property that is a scalar, or the given default.
func (r *Request) StringOr(property, otherwise string) string {
	if s, ok := template.Text(r.Props[property]); ok {
		return s
	}
	return otherwise
}

// Bool returns a boolean property, or false.
func (r *Request) Bool(property string) bool { return strings.EqualFold(r.String(property), "true") }

// Has reports whether the property is set.
func (r *Request) Has(property string) bool { return r.Props[property] != nil }

// Changed reports whether any of the properties differs from before.
func (r *Request) Changed(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return !template.Equal(r.Props[n], r.Before[n]) })
}

const nameAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// Name returns the value of the property that names the resource, or else a
// name made of stack, logical ID and 12 characters that depend on the token, cut
// to at most limit characters.
func (r *Request) Name(property string, limit int) string {
	if name := r.String(property); name != "" {
		return name
	}
	return GeneratedName(r.StackName, r.LogicalID, r.Token, limit)
}

// GeneratedName is the name that CloudFormation gives to what has none.
func GeneratedName(stackName, logicalID, token string, limit int) string {
	name := stackName + "-" + logicalID
	if most := limit - 13; len(name) > most {
		stack := stackName[:min(len(stackName), (most-1)/2)]
		name = stack + "-" + logicalID[:min(len(logicalID), most-1-len(stack))]
	}
	return name + "-" + nameSuffix(token)
}

// nameSuffix returns 12 capitals and digits that depend on the token.
func nameSuffix(token string) string {
	sum := sha256.Sum256([]byte(token))
	suffix := make([]byte, 12)
	for i := range suffix {
		suffix[i] = nameAlphabet[int(sum[i])%len(nameAlphabet)]
	}
	return string(suffix)
}

// Poll intervals of waits: quick at first, as most things here take
// milliseconds, and never slow.
const (
	firstPoll = 2 * time.Millisecond
	lastPoll  = 40 * time.Millisecond
)

// Wait calls done until it returns true or an error.
func (r *Request) Wait(done func() (bool, error)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for pause := firstPoll; ; pause = min(pause*3/2, lastPoll) {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-r.Interrupt.Done():
			return context.Cause(r.Interrupt)
		}
	}
}

// retryFor is how long deletions are repeated that something still in use
// prevents.
const retryFor = 5 * time.Minute

// Retry calls do as long as it fails with one of the given error codes, for some
// minutes.
func (r *Request) Retry(do func() error, codes ...string) error {
	var last error
	deadline := time.Now().Add(retryFor)
	err := r.Wait(func() (bool, error) {
		last = do()
		if last == nil {
			return true, nil
		}
		if slices.Contains(codes, errorCode(last)) && time.Now().Before(deadline) {
			return false, nil
		}
		return false, last
	})
	return err
}

// SupportsAttribute reports whether Fn::GetAtt of the type takes the attribute.
func (t *Type) SupportsAttribute(name string) bool {
	for _, a := range t.Attributes {
		if a == "*" || a == name || strings.HasSuffix(a, ".*") && strings.HasPrefix(name, a[:len(a)-1]) {
			return true
		}
	}
	return false
}

// Replacement returns the properties whose change from before to after takes a
// new resource.
func (t *Type) Replacement(before, after map[string]any) []string {
	var out []string
	for _, path := range t.Replaces {
		if path == "*" {
			for _, name := range template.Changed(before, after) {
				if name != "Tags" {
					out = append(out, name)
				}
			}
			continue
		}
		if !template.Equal(lookup(before, path), lookup(after, path)) {
			out = append(out, path)
		}
	}
	return out
}

func lookup(v any, path string) any {
	for _, name := range strings.Split(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// with returns m with one member replaced.
func with(m map[string]any, name string, v any) map[string]any {
	out := maps.Clone(m)
	out[name] = v
	return out
}

func errorCode(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// gone turns the error of a deletion into nil if the thing was not there.
func gone(err error) error {
	if notFound(err) {
		return nil
	}
	return err
}

func notFound(err error) bool {
	code := errorCode(err)
	return strings.Contains(code, "NotFound") || strings.HasPrefix(code, "NoSuch") || code == "InvalidPlacementGroup.Unknown"
}

// alreadyExists reports whether err refuses a name that is taken.
func alreadyExists(err error) bool {
	switch errorCode(err) {
	case "EntityAlreadyExists", "ResourceAlreadyExistsException", "ResourceConflictException", "ResourceInUseException",
		"FileSystemAlreadyExists", "AccessPointAlreadyExists", "MountTargetConflict", "HostedZoneAlreadyExists",
		"BucketAlreadyOwnedByYou", "ParameterAlreadyExists", "ResourceExistsException",
		"InvalidGroup.Duplicate", "InvalidPlacementGroup.Duplicate", "InvalidKeyPair.Duplicate",
		"InvalidLaunchTemplateName.AlreadyExistsException", "InvalidPermission.Duplicate", "RouteAlreadyExists",
		"Resource.AlreadyAssociated":
		return true
	}
	return false
}

// FailureReason renders the error of a function of a type as the reason of a
// stack event, in the form that AWS's resource handlers give it.
func FailureReason(typ, token string, err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return err.Error()
	}
	service := typ
	if parts := strings.Split(typ, "::"); len(parts) == 3 {
		service = parts[1]
		if service == strings.ToUpper(service) && len(service) <= 3 { // Ec2, Iam, Efs
			service = service[:1] + strings.ToLower(service[1:])
		}
	}
	handler := "GeneralServiceException"
	switch {
	case notFound(err):
		handler = "NotFound"
	case alreadyExists(err):
		handler = "AlreadyExists"
	case strings.Contains(api.ErrorCode(), "Invalid"), strings.Contains(api.ErrorCode(), "Validation"), strings.Contains(api.ErrorCode(), "Malformed"):
		handler = "InvalidRequest"
	case strings.Contains(api.ErrorCode(), "LimitExceeded"):
		handler = "ServiceLimitExceeded"
	}
	return fmt.Sprintf("Resource handler returned message: \"%s (Service: %s, Status Code: 400, Error Code: %s)\" (RequestToken: %s, HandlerErrorCode: %s)",
		strings.TrimSuffix(api.ErrorMessage(), "."), service, api.ErrorCode(), token, handler)
}

// tagList returns the tags of a resource, its own before the stack's, in order.
// Own tags are a list of Key, Value objects or an object, under one of the
// properties Tags and the given ones.
func (r *Request) tagList(properties ...string) []tag {
	return mergeTags(r.Props, r.Tags, properties)
}

type tag struct{ Key, Value string }

func mergeTags(props map[string]any, stack map[string]string, properties []string) []tag {
	all := maps.Clone(stack)
	if all == nil {
		all = map[string]string{}
	}
	for _, p := range append(properties, "Tags") {
		switch own := props[p].(type) {
		case []any:
			for _, e := range own {
				m, _ := e.(map[string]any)
				k, _ := template.Text(m["Key"])
				v, _ := template.Text(m["Value"])
				if k != "" {
					all[k] = v
				}
			}
		case map[string]any:
			for k, e := range own {
				all[k], _ = template.Text(e)
			}
		}
	}
	var out []tag
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, tag{k, all[k]})
	}
	return out
}

// tagMap is tagList as a map.
func (r *Request) tagMap() map[string]string {
	out := map[string]string{}
	for _, t := range r.tagList() {
		out[t.Key] = t.Value
	}
	return out
}

// tagChanges returns the tags to set and the keys to remove in an update.
func (r *Request) tagChanges(properties ...string) (set []tag, remove []string) {
	before := map[string]string{}
	for _, t := range mergeTags(r.Before, r.TagsBefore, properties) {
		before[t.Key] = t.Value
	}
	for _, t := range r.tagList(properties...) {
		if old, ok := before[t.Key]; !ok || old != t.Value {
			set = append(set, t)
		}
		delete(before, t.Key)
	}
	return set, slices.Sorted(maps.Keys(before))
}
