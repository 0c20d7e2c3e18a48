// Package route53 is the sandbox's Route 53: hosted zones and their record sets,
// and the answers that they give to the region's DNS server.
//
// Zones are in zone.go, changes of records in change.go, and what DNS sees of them
// in lookup.go.
package route53

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// VPCs is the part of EC2 that private zones need.
type VPCs interface {
	DescribeVpcs(context.Context, *ec2.DescribeVpcsInput) (*ec2.DescribeVpcsOutput, error)
}

// Service is the Route 53 of one account.
type Service struct {
	id   *region.Identity
	vpcs VPCs
	now  func() time.Time

	rows    *store.Table[zoneRow]
	records *store.Table[types.ResourceRecordSet] // under zone/name/type/identifier

	mu    sync.RWMutex
	zones map[string]*zone // by bare ID
}

// A zoneRow is what the store keeps of a zone besides its records.
type zoneRow struct {
	Zone types.HostedZone
	VPCs []types.VPC
	Tags map[string]string
}

// A zone is one zone in memory.
type zone struct {
	zoneRow
	records map[string]types.ResourceRecordSet // by recordKey
	names   map[string]map[string]bool         // recordKeys by name
}

// New opens the service's tables in db.
func New(db *store.DB, id *region.Identity, vpcs VPCs) (*Service, error) {
	s := &Service{id: id, vpcs: vpcs, now: time.Now, zones: map[string]*zone{}}
	if err := errors.Join(
		store.OpenTable(db, "route53.zones", &s.rows),
		store.OpenTable(db, "route53.records", &s.records),
	); err != nil {
		return nil, err
	}
	for _, zoneID := range s.rows.Keys() {
		row, _ := s.rows.Get(zoneID)
		s.zones[zoneID] = newZone(row)
	}
	for _, row := range s.records.Keys() {
		zoneID, _, _ := strings.Cut(row, "/")
		r, _ := s.records.Get(row)
		z, ok := s.zones[zoneID]
		if !ok { // died while deleting the zone
			if err := s.records.Delete(row); err != nil {
				return nil, err
			}
			continue
		}
		z.put(r)
	}
	return s, nil
}

func newZone(row zoneRow) *zone {
	return &zone{zoneRow: row, records: map[string]types.ResourceRecordSet{}, names: map[string]map[string]bool{}}
}

// recordKey identifies a record set in its zone.
func recordKey(r types.ResourceRecordSet) string {
	return *r.Name + "/" + string(r.Type) + "/" + aws.ToString(r.SetIdentifier)
}

func (z *zone) put(r types.ResourceRecordSet) {
	key := recordKey(r)
	z.records[key] = r
	if z.names[*r.Name] == nil {
		z.names[*r.Name] = map[string]bool{}
	}
	z.names[*r.Name][key] = true
}

func (z *zone) remove(key string) {
	r, ok := z.records[key]
	if !ok {
		return
	}
	delete(z.records, key)
	delete(z.names[*r.Name], key)
	if len(z.names[*r.Name]) == 0 {
		delete(z.names, *r.Name)
	}
}

// shown returns the zone as the API describes it.
func (z *zone) shown() types.HostedZone {
	out := z.Zone
	out.ResourceRecordSetCount = aws.Int64(int64(len(z.records)))
	return out
}

// bareID returns the ID of a zone or change without its path.
func bareID(id *string) string {
	v := aws.ToString(id)
	return v[strings.LastIndex(v, "/")+1:]
}

// zone finds a zone. The caller holds mu.
func (s *Service) zone(id *string) (*zone, error) {
	z, ok := s.zones[bareID(id)]
	if !ok {
		return nil, &wire.Error{Code: "NoSuchHostedZone", Message: "No hosted zone found with ID: " + bareID(id), Status: 404}
	}
	return z, nil
}

// canonicalName returns a domain name as Route 53 writes it: in lower case, with
// the final dot, and with what is no letter, digit, dash, underscore or dot in
// octal.
func canonicalName(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c == '\\' && octal.MatchString(name[i:]):
			b.WriteString(name[i : i+4])
			i += 3
		case c >= 'A' && c <= 'Z':
			b.WriteByte(c + 'a' - 'A')
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\%03o`, c)
		}
	}
	return strings.TrimSuffix(b.String(), ".") + "."
}

var octal = regexp.MustCompile(`^\\[0-3][0-7]{2}`)

// checkName refuses what cannot be a domain name.
func checkName(name string) error {
	if len(name) > 255 {
		return badDomain(name)
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 {
			return badDomain(name)
		}
	}
	return nil
}

func badDomain(name string) error {
	return wire.Errorf("InvalidDomainName", "%s is not a valid domain name", strings.TrimSuffix(name, "."))
}

// reversed returns a name with its labels in reverse order, in which Route 53
// sorts.
func reversed(name string) string {
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".") + "."
}

func compareRecords(a, b types.ResourceRecordSet) int {
	return cmp.Or(strings.Compare(reversed(*a.Name), reversed(*b.Name)), strings.Compare(string(a.Type), string(b.Type)),
		strings.Compare(aws.ToString(a.SetIdentifier), aws.ToString(b.SetIdentifier)))
}

// inside reports whether a name is that of a zone or below it.
func inside(name, zoneName string) bool {
	return name == zoneName || strings.HasSuffix(name, "."+zoneName)
}

// newChange returns the description of a change that is about to spread. The ID
// holds the time, so that nothing need be remembered for [Service.GetChange].
func (s *Service) newChange(comment *string) *types.ChangeInfo {
	at := s.now().UTC()
	return &types.ChangeInfo{Id: aws.String(fmt.Sprintf("/change/C%012X%s", at.UnixMilli(), strings.ToUpper(region.Hex(8)))),
		Status: types.ChangeStatusPending, SubmittedAt: &at, Comment: comment}
}

var changeID = regexp.MustCompile(`^C([0-9A-F]{12})[0-9A-F]{8}$`)

// paged is page.Of with Route 53's error.
func paged[T any](rows []T, key func(T) string, token *string, asked *int32) ([]T, *string, error) {
	got, next, err := page.Of(rows, key, token, page.Limit(asked, 100))
	if err != nil {
		return nil, nil, wire.Errorf("InvalidInput", "The marker is not valid.")
	}
	return got, next, nil
}
