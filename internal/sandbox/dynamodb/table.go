package dynamodb

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// CreateTable makes a table that is active at once.
func (s *Service) CreateTable(_ context.Context, in *sdk.CreateTableInput) (*sdk.CreateTableOutput, error) {
	name := bareName(in.TableName)
	if in.StreamSpecification != nil && aws.ToBool(in.StreamSpecification.StreamEnabled) {
		return nil, invalid("The sandbox has no DynamoDB streams.")
	}
	arn := s.id.ARN("dynamodb", "table/"+name)
	d := types.TableDescription{
		TableName: &name, TableArn: &arn, TableId: aws.String(uuid()), TableStatus: types.TableStatusActive, CreationDateTime: aws.Time(s.now().UTC()),
		AttributeDefinitions: in.AttributeDefinitions, KeySchema: in.KeySchema, DeletionProtectionEnabled: aws.Bool(aws.ToBool(in.DeletionProtectionEnabled)),
	}
	if err := setBilling(&d, in.BillingMode, in.ProvisionedThroughput); err != nil {
		return nil, err
	}
	if in.TableClass != "" {
		d.TableClassSummary = &types.TableClassSummary{TableClass: in.TableClass}
	}
	setEncryption(&d, in.SSESpecification)
	for _, g := range in.GlobalSecondaryIndexes {
		d.GlobalSecondaryIndexes = append(d.GlobalSecondaryIndexes, globalIndex(arn, g))
	}
	for _, l := range in.LocalSecondaryIndexes {
		d.LocalSecondaryIndexes = append(d.LocalSecondaryIndexes, types.LocalSecondaryIndexDescription{
			IndexName: l.IndexName, KeySchema: l.KeySchema, Projection: l.Projection, IndexArn: aws.String(arn + "/index/" + aws.ToString(l.IndexName))})
	}
	if err := checkSchema(d); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.tables[name]; taken {
		return nil, wire.Errorf("ResourceInUseException", "Table already exists: %s", name)
	}
	tags := map[string]string{}
	for _, t := range in.Tags {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	if err := s.rows.Put(name, tableRow{Description: d, Tags: tags}); err != nil {
		return nil, err
	}
	s.tables[name] = newTable(d)
	d.TableStatus = types.TableStatusCreating
	return &sdk.CreateTableOutput{TableDescription: s.shown(d)}, nil
}

func uuid() string {
	h := region.Hex(32)
	return fmt.Sprintf("%s-%s-4%s-a%s-%s", h[:8], h[8:12], h[13:16], h[17:20], h[20:])
}

func globalIndex(tableARN string, g types.GlobalSecondaryIndex) types.GlobalSecondaryIndexDescription {
	return types.GlobalSecondaryIndexDescription{
		IndexName: g.IndexName, KeySchema: g.KeySchema, Projection: g.Projection, IndexStatus: types.IndexStatusActive,
		IndexArn: aws.String(tableARN + "/index/" + aws.ToString(g.IndexName)), ProvisionedThroughput: throughput(g.ProvisionedThroughput),
	}
}

func throughput(p *types.ProvisionedThroughput) *types.ProvisionedThroughputDescription {
	d := &types.ProvisionedThroughputDescription{NumberOfDecreasesToday: aws.Int64(0), ReadCapacityUnits: aws.Int64(0), WriteCapacityUnits: aws.Int64(0)}
	if p != nil {
		d.ReadCapacityUnits, d.WriteCapacityUnits = p.ReadCapacityUnits, p.WriteCapacityUnits
	}
	return d
}

func setBilling(d *types.TableDescription, mode types.BillingMode, p *types.ProvisionedThroughput) error {
	if mode == "" {
		mode = types.BillingModeProvisioned
	}
	switch {
	case mode == types.BillingModePayPerRequest && p != nil:
		return invalid("One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST")
	case mode == types.BillingModeProvisioned && p == nil:
		return invalid("One or more parameter values were invalid: ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED")
	}
	d.BillingModeSummary = &types.BillingModeSummary{BillingMode: mode}
	if mode == types.BillingModePayPerRequest {
		d.BillingModeSummary.LastUpdateToPayPerRequestDateTime = d.CreationDateTime
	}
	d.ProvisionedThroughput = throughput(p)
	return nil
}

func setEncryption(d *types.TableDescription, spec *types.SSESpecification) {
	if spec == nil {
		return
	}
	d.SSEDescription = nil
	if aws.ToBool(spec.Enabled) {
		d.SSEDescription = &types.SSEDescription{Status: types.SSEStatusEnabled, SSEType: types.SSETypeKms, KMSMasterKeyArn: spec.KMSMasterKeyId}
	}
}

// checkSchema judges the keys of a table and its indexes.
func checkSchema(d types.TableDescription) error {
	defined := map[string]bool{}
	for _, a := range d.AttributeDefinitions {
		if defined[*a.AttributeName] {
			return invalid("One or more parameter values were invalid: Cannot have duplicate attribute definitions: %s", *a.AttributeName)
		}
		defined[*a.AttributeName] = true
	}
	used := map[string]bool{}
	check := func(elements []types.KeySchemaElement) error {
		if len(elements) == 0 || len(elements) > 2 || elements[0].KeyType != types.KeyTypeHash || len(elements) == 2 && elements[1].KeyType != types.KeyTypeRange {
			return invalid("One or more parameter values were invalid: Invalid KeySchema: The first KeySchemaElement is a HASH key type and the second, if any, a RANGE key type")
		}
		for _, e := range elements {
			if !defined[*e.AttributeName] {
				return invalid("One or more parameter values were invalid: Some index key attributes are not defined in AttributeDefinitions. Keys: [%s], AttributeDefinitions: [%s]", *e.AttributeName, joined(defined))
			}
			used[*e.AttributeName] = true
		}
		return nil
	}
	if err := check(d.KeySchema); err != nil {
		return err
	}
	names := map[string]bool{}
	name := func(n *string) error {
		if names[*n] {
			return invalid("One or more parameter values were invalid: Duplicate index name: %s", *n)
		}
		names[*n] = true
		return nil
	}
	for _, g := range d.GlobalSecondaryIndexes {
		if err := name(g.IndexName); err != nil {
			return err
		}
		if err := check(g.KeySchema); err != nil {
			return err
		}
	}
	for _, l := range d.LocalSecondaryIndexes {
		if err := name(l.IndexName); err != nil {
			return err
		}
		if err := check(l.KeySchema); err != nil {
			return err
		}
		if len(d.KeySchema) != 2 || len(l.KeySchema) != 2 || *l.KeySchema[0].AttributeName != *d.KeySchema[0].AttributeName {
			return invalid("One or more parameter values were invalid: Index KeySchema does not have the same leading hash key as table KeySchema for index: %s", *l.IndexName)
		}
	}
	if len(used) != len(defined) {
		return invalid("One or more parameter values were invalid: Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions")
	}
	return nil
}

func joined(set map[string]bool) string {
	return strings.Join(slices.Sorted(maps.Keys(set)), ", ")
}

// shown completes a description with what changes by itself. The caller holds mu.
func (s *Service) shown(d types.TableDescription) *types.TableDescription {
	t := s.tables[*d.TableName]
	size := int64(0)
	for _, i := range t.items {
		size += int64(i.bytes())
	}
	d.ItemCount, d.TableSizeBytes = aws.Int64(int64(len(t.items))), &size
	if len(d.GlobalSecondaryIndexes) > 0 {
		d.GlobalSecondaryIndexes = slices.Clone(d.GlobalSecondaryIndexes)
	}
	for n := range d.GlobalSecondaryIndexes {
		g := &d.GlobalSecondaryIndexes[n]
		count, size := t.indexes[*g.IndexName].size(t)
		g.ItemCount, g.IndexSizeBytes = &count, &size
	}
	if len(d.LocalSecondaryIndexes) > 0 {
		d.LocalSecondaryIndexes = slices.Clone(d.LocalSecondaryIndexes)
	}
	for n := range d.LocalSecondaryIndexes {
		l := &d.LocalSecondaryIndexes[n]
		count, size := t.indexes[*l.IndexName].size(t)
		l.ItemCount, l.IndexSizeBytes = &count, &size
	}
	return &d
}

func (x *index) size(t *table) (count, bytes int64) {
	for _, group := range x.groups {
		for pk := range group {
			count++
			bytes += int64(project(t.items[pk], x.shown).bytes())
		}
	}
	return count, bytes
}

// row finds a table's row for operations on tables, whose error names the table.
func (s *Service) row(nameOrARN *string) (tableRow, error) {
	r, ok := s.rows.Get(bareName(nameOrARN))
	if !ok {
		return r, wire.Errorf("ResourceNotFoundException", "Requested resource not found: Table: %s not found", bareName(nameOrARN))
	}
	return r, nil
}

// DescribeTable describes a table.
func (s *Service) DescribeTable(_ context.Context, in *sdk.DescribeTableInput) (*sdk.DescribeTableOutput, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, err := s.row(in.TableName)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeTableOutput{Table: s.shown(r.Description)}, nil
}

// ListTables lists the names of tables.
func (s *Service) ListTables(_ context.Context, in *sdk.ListTablesInput) (*sdk.ListTablesOutput, error) {
	names := slices.DeleteFunc(s.rows.Keys(), func(n string) bool { return n <= aws.ToString(in.ExclusiveStartTableName) })
	out := &sdk.ListTablesOutput{TableNames: names}
	if most := page.Limit(in.Limit, 100); len(names) > most {
		out.TableNames, out.LastEvaluatedTableName = names[:most], &names[most-1]
	}
	return out, nil
}

// DeleteTable removes a table and its items.
func (s *Service) DeleteTable(_ context.Context, in *sdk.DeleteTableInput) (*sdk.DeleteTableOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.row(in.TableName)
	if err != nil {
		return nil, err
	}
	d := r.Description
	if aws.ToBool(d.DeletionProtectionEnabled) {
		return nil, invalid("Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.")
	}
	out := s.shown(d)
	out.TableStatus = types.TableStatusDeleting
	t := s.tables[*d.TableName]
	if err := s.rows.Delete(t.name); err != nil {
		return nil, err
	}
	delete(s.tables, t.name)
	for pk := range t.items {
		if err := s.items.Delete(t.name + "/" + pk); err != nil {
			return nil, err
		}
	}
	return &sdk.DeleteTableOutput{TableDescription: out}, nil
}

// UpdateTable changes billing, protection and global secondary indexes, at once.
func (s *Service) UpdateTable(_ context.Context, in *sdk.UpdateTableInput) (*sdk.UpdateTableOutput, error) {
	if in.StreamSpecification != nil || in.ReplicaUpdates != nil {
		return nil, invalid("The sandbox has no DynamoDB streams and no global tables.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.row(in.TableName)
	if err != nil {
		return nil, err
	}
	d := r.Description
	if in.BillingMode != "" || in.ProvisionedThroughput != nil {
		mode := in.BillingMode
		if mode == "" {
			mode = d.BillingModeSummary.BillingMode
		}
		if err := setBilling(&d, mode, in.ProvisionedThroughput); err != nil {
			return nil, err
		}
	}
	if in.DeletionProtectionEnabled != nil {
		d.DeletionProtectionEnabled = in.DeletionProtectionEnabled
	}
	if in.TableClass != "" {
		d.TableClassSummary = &types.TableClassSummary{TableClass: in.TableClass}
	}
	setEncryption(&d, in.SSESpecification)
	if err := updateIndexes(&d, in); err != nil {
		return nil, err
	}
	r.Description = d
	if err := s.rows.Put(*d.TableName, r); err != nil {
		return nil, err
	}
	if len(in.GlobalSecondaryIndexUpdates) > 0 {
		items := s.tables[*d.TableName].items
		t := newTable(d)
		for pk, i := range items {
			t.put(pk, i)
		}
		s.tables[t.name] = t
	}
	return &sdk.UpdateTableOutput{TableDescription: s.shown(d)}, nil
}

func updateIndexes(d *types.TableDescription, in *sdk.UpdateTableInput) error {
	if len(in.GlobalSecondaryIndexUpdates) == 0 {
		return nil
	}
	indexes := slices.Clone(d.GlobalSecondaryIndexes)
	find := func(name *string) int {
		return slices.IndexFunc(indexes, func(g types.GlobalSecondaryIndexDescription) bool { return *g.IndexName == aws.ToString(name) })
	}
	for _, u := range in.GlobalSecondaryIndexUpdates {
		switch {
		case u.Create != nil:
			if find(u.Create.IndexName) >= 0 {
				return invalid("One or more parameter values were invalid: Duplicate index name: %s", *u.Create.IndexName)
			}
			indexes = append(indexes, globalIndex(*d.TableArn, types.GlobalSecondaryIndex{IndexName: u.Create.IndexName, KeySchema: u.Create.KeySchema,
				Projection: u.Create.Projection, ProvisionedThroughput: u.Create.ProvisionedThroughput}))
		case u.Delete != nil:
			at := find(u.Delete.IndexName)
			if at < 0 {
				return wire.Errorf("ResourceNotFoundException", "Requested resource not found: Index: %s not found", *u.Delete.IndexName)
			}
			indexes = slices.Delete(indexes, at, at+1)
		case u.Update != nil:
			at := find(u.Update.IndexName)
			if at < 0 {
				return wire.Errorf("ResourceNotFoundException", "Requested resource not found: Index: %s not found", *u.Update.IndexName)
			}
			indexes[at].ProvisionedThroughput = throughput(u.Update.ProvisionedThroughput)
		}
	}
	d.GlobalSecondaryIndexes = indexes
	d.AttributeDefinitions = usedDefinitions(*d, in.AttributeDefinitions)
	return checkSchema(*d)
}

// usedDefinitions returns the definitions of a table, with those that come with
// new indexes and without those of deleted ones.
func usedDefinitions(d types.TableDescription, added []types.AttributeDefinition) []types.AttributeDefinition {
	used := map[string]bool{}
	note := func(elements []types.KeySchemaElement) {
		for _, e := range elements {
			used[*e.AttributeName] = true
		}
	}
	note(d.KeySchema)
	for _, g := range d.GlobalSecondaryIndexes {
		note(g.KeySchema)
	}
	for _, l := range d.LocalSecondaryIndexes {
		note(l.KeySchema)
	}
	var out []types.AttributeDefinition
	for _, a := range slices.Concat(added, d.AttributeDefinitions) {
		if used[*a.AttributeName] {
			out = append(out, a)
			delete(used, *a.AttributeName)
		}
	}
	return out
}

// change replaces a table's row.
func (s *Service) change(nameOrARN *string, fn func(*tableRow)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.row(nameOrARN)
	if err != nil {
		return err
	}
	fn(&r)
	return s.rows.Put(*r.Description.TableName, r)
}

// TagResource adds tags to a table.
func (s *Service) TagResource(_ context.Context, in *sdk.TagResourceInput) (*sdk.TagResourceOutput, error) {
	return &sdk.TagResourceOutput{}, s.change(in.ResourceArn, func(r *tableRow) {
		tags := map[string]string{}
		maps.Copy(tags, r.Tags)
		for _, t := range in.Tags {
			tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
		r.Tags = tags
	})
}

// UntagResource removes tags from a table.
func (s *Service) UntagResource(_ context.Context, in *sdk.UntagResourceInput) (*sdk.UntagResourceOutput, error) {
	return &sdk.UntagResourceOutput{}, s.change(in.ResourceArn, func(r *tableRow) {
		r.Tags = maps.Clone(r.Tags)
		for _, k := range in.TagKeys {
			delete(r.Tags, k)
		}
	})
}

// ListTagsOfResource lists the tags of a table.
func (s *Service) ListTagsOfResource(_ context.Context, in *sdk.ListTagsOfResourceInput) (*sdk.ListTagsOfResourceOutput, error) {
	r, err := s.row(in.ResourceArn)
	if err != nil {
		return nil, err
	}
	var tags []types.Tag
	for _, k := range slices.Sorted(maps.Keys(r.Tags)) {
		tags = append(tags, types.Tag{Key: &k, Value: aws.String(r.Tags[k])})
	}
	got, next, err := page.Of(tags, func(t types.Tag) string { return *t.Key }, in.NextToken, 100)
	if err != nil {
		return nil, invalid("Invalid NextToken")
	}
	return &sdk.ListTagsOfResourceOutput{Tags: got, NextToken: next}, nil
}

// UpdateTimeToLive keeps the attribute that holds the time of expiry. Nothing
// expires in the sandbox, as in DynamoDB nothing does for up to two days.
func (s *Service) UpdateTimeToLive(_ context.Context, in *sdk.UpdateTimeToLiveInput) (*sdk.UpdateTimeToLiveOutput, error) {
	spec := in.TimeToLiveSpecification
	err := s.change(in.TableName, func(r *tableRow) {
		r.TTL = ""
		if aws.ToBool(spec.Enabled) {
			r.TTL = aws.ToString(spec.AttributeName)
		}
	})
	return &sdk.UpdateTimeToLiveOutput{TimeToLiveSpecification: spec}, err
}

// DescribeTimeToLive returns what UpdateTimeToLive kept.
func (s *Service) DescribeTimeToLive(_ context.Context, in *sdk.DescribeTimeToLiveInput) (*sdk.DescribeTimeToLiveOutput, error) {
	r, err := s.row(in.TableName)
	if err != nil {
		return nil, err
	}
	d := &types.TimeToLiveDescription{TimeToLiveStatus: types.TimeToLiveStatusDisabled}
	if r.TTL != "" {
		d.TimeToLiveStatus, d.AttributeName = types.TimeToLiveStatusEnabled, &r.TTL
	}
	return &sdk.DescribeTimeToLiveOutput{TimeToLiveDescription: d}, nil
}

// UpdateContinuousBackups keeps the setting; the sandbox makes no backups.
func (s *Service) UpdateContinuousBackups(ctx context.Context, in *sdk.UpdateContinuousBackupsInput) (*sdk.UpdateContinuousBackupsOutput, error) {
	if err := s.change(in.TableName, func(r *tableRow) {
		r.Recovery = aws.ToBool(in.PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled)
	}); err != nil {
		return nil, err
	}
	out, err := s.DescribeContinuousBackups(ctx, &sdk.DescribeContinuousBackupsInput{TableName: in.TableName})
	if err != nil {
		return nil, err
	}
	return &sdk.UpdateContinuousBackupsOutput{ContinuousBackupsDescription: out.ContinuousBackupsDescription}, nil
}

// DescribeContinuousBackups returns what UpdateContinuousBackups kept.
func (s *Service) DescribeContinuousBackups(_ context.Context, in *sdk.DescribeContinuousBackupsInput) (*sdk.DescribeContinuousBackupsOutput, error) {
	r, err := s.row(in.TableName)
	if err != nil {
		return nil, wire.Errorf("TableNotFoundException", "Table not found: %s", bareName(in.TableName))
	}
	d := &types.ContinuousBackupsDescription{ContinuousBackupsStatus: types.ContinuousBackupsStatusEnabled,
		PointInTimeRecoveryDescription: &types.PointInTimeRecoveryDescription{PointInTimeRecoveryStatus: types.PointInTimeRecoveryStatusDisabled}}
	if r.Recovery {
		d.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus = types.PointInTimeRecoveryStatusEnabled
	}
	return &sdk.DescribeContinuousBackupsOutput{ContinuousBackupsDescription: d}, nil
}
