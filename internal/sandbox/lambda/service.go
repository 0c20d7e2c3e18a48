// Package lambda is the part of Lambda that the stacks of a region use: functions
// as zip files with a custom runtime, permissions, and invocations that really
// run.
//
// A function runs as a process of the host, in an execution environment that
// speaks Lambda's own runtime API on loopback (environment.go). Its AWS clients
// find the region through AWS_ENDPOINT_URL and the credentials of the function's
// role in its environment. Start at [New], and at [Service.Invoke] for the way of
// an event.
package lambda

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// Objects reads code from buckets; package s3 has it.
type Objects interface {
	Object(ctx context.Context, bucket, key, version string) ([]byte, error)
}

// Credentials are those of roles; package iam has them.
type Credentials interface {
	RoleCredentials(ctx context.Context, roleARN, session string) (accessKeyID, secret, token string, expires time.Time, err error)
}

// Logs takes what functions print; package logs has it.
type Logs interface {
	CreateLogGroup(context.Context, *cloudwatchlogs.CreateLogGroupInput) (*cloudwatchlogs.CreateLogGroupOutput, error)
	CreateLogStream(context.Context, *cloudwatchlogs.CreateLogStreamInput) (*cloudwatchlogs.CreateLogStreamOutput, error)
	PutLogEvents(context.Context, *cloudwatchlogs.PutLogEventsInput) (*cloudwatchlogs.PutLogEventsOutput, error)
}

// Config is what functions need of the region.
type Config struct {
	Dir         string // where code is kept
	Objects     Objects
	Credentials Credentials
	Logs        Logs
	Endpoint    func() string // the region's URL on loopback
	CABundle    string        // file of certificates that functions trust
	Log         *slog.Logger
}

// A Service is the functions of a region. It is safe for concurrent use.
type Service struct {
	id  *region.Identity
	cfg Config
	now func() time.Time

	functions *store.Table[function]

	events  *store.Table[event]
	retries []time.Duration // pauses before events are tried again

	codeMu sync.Mutex // held while code is unpacked or removed

	mu           sync.Mutex // held over changes of functions, and over what follows
	idle         map[string][]*environment
	environments map[*environment]bool // all with a process
	opening      int                   // that will be environments
	closed       bool

	queued sync.WaitGroup // events that are worked on
	end    chan struct{}  // closed when the service is
	starts chan start
}

// A function is a row; its key is its name.
type function struct {
	Name, Role, Handler, Description string
	Runtime                          types.Runtime
	Architecture                     types.Architecture
	Timeout, Memory                  int32
	Variables                        map[string]string     `json:",omitempty"`
	VPC                              *types.VpcConfig      `json:",omitempty"`
	Logging                          *types.LoggingConfig  `json:",omitempty"`
	Tags                             map[string]string     `json:",omitempty"`
	Statements                       map[string]*statement `json:",omitempty"` // of its resource policy, by ID
	Modified                         time.Time
	CodeSHA256                       string // base64, as AWS shows it
	CodeSize                         int64
	Revision                         string
}

// A statement is one of a function's resource policy.
type statement struct {
	Sid       string
	Effect    string
	Principal any
	Action    string
	Resource  string
	Condition map[string]map[string]string `json:",omitempty"`
}

// New opens the region's functions.
func New(db *store.DB, id *region.Identity, cfg Config) (*Service, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		id: id, cfg: cfg, now: time.Now, retries: pauses(),
		idle: map[string][]*environment{}, environments: map[*environment]bool{}, end: make(chan struct{}), starts: make(chan start),
	}
	if err := errors.Join(
		store.OpenTable(db, "lambda.functions", &s.functions),
		store.OpenTable(db, "lambda.events", &s.events),
		os.MkdirAll(cfg.Dir, 0o700),
	); err != nil {
		return nil, err
	}
	s.pruneCode()
	go s.startProcesses()
	return s, nil
}

// Close ends all processes of functions, in the middle of an event if need be.
// Events that nobody waits for are worked on again when the region is next up.
func (s *Service) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	close(s.end)
	all := slices.Collect(maps.Keys(s.environments))
	s.idle = map[string][]*environment{}
	s.mu.Unlock()
	for _, e := range all {
		e.stop()
	}
	s.queued.Wait()
}

func (s *Service) arn(name string) string { return s.id.ARN("lambda", "function:"+name) }

var functionARN = regexp.MustCompile(`^(?:arn:[^:]*:lambda:[^:]*:)?(?:\d{12}:)?(?:function:)?([A-Za-z0-9_-]+)(?::(?:\$LATEST|[A-Za-z0-9_-]+))?$`)

// find returns the function that a request names, by name or ARN.
func (s *Service) find(ref *string) (function, error) {
	name := aws.ToString(ref)
	if m := functionARN.FindStringSubmatch(name); m != nil {
		name = m[1]
	}
	f, ok := s.functions.Get(name)
	if !ok {
		return f, &wire.Error{Code: "ResourceNotFoundException", Message: "Function not found: " + s.arn(name), Status: 404}
	}
	return f, nil
}

func invalid(format string, args ...any) error {
	return wire.Errorf("InvalidParameterValueException", format, args...)
}

// CreateFunction makes a function and keeps its code.
func (s *Service) CreateFunction(ctx context.Context, in *lambda.CreateFunctionInput) (*lambda.CreateFunctionOutput, error) {
	if in.PackageType == types.PackageTypeImage {
		return nil, invalid("Container images are not supported in this region: give the code as a zip file.")
	}
	if in.Runtime == "" || in.Handler == nil {
		return nil, invalid("Runtime and Handler are mandatory parameters for functions created with deployment packages.")
	}
	m := functionARN.FindStringSubmatch(aws.ToString(in.FunctionName))
	if m == nil {
		return nil, invalid("1 validation error detected: Value '%s' at 'functionName' is no name of a function.", aws.ToString(in.FunctionName))
	}
	f := function{
		Name: m[1], Role: aws.ToString(in.Role), Handler: aws.ToString(in.Handler), Description: aws.ToString(in.Description), Runtime: in.Runtime,
		Architecture: types.ArchitectureX8664, Timeout: 3, Memory: 128, Tags: in.Tags, Logging: in.LoggingConfig, VPC: vpcConfig(in.VpcConfig),
	}
	if len(in.Architectures) > 0 {
		f.Architecture = in.Architectures[0]
	}
	if in.Timeout != nil {
		f.Timeout = *in.Timeout
	}
	if in.MemorySize != nil {
		f.Memory = *in.MemorySize
	}
	if in.Environment != nil {
		f.Variables = in.Environment.Variables
	}
	if in.Code == nil {
		return nil, invalid("Please provide a source for function code.")
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	s.codeMu.Lock()
	defer s.codeMu.Unlock()
	taken := &wire.Error{Code: "ResourceConflictException", Message: "Function already exist: " + f.Name, Status: 409}
	if _, exists := s.functions.Get(f.Name); exists {
		return nil, taken
	}
	if err := s.keepCode(ctx, &f, in.Code.ZipFile, in.Code.S3Bucket, in.Code.S3Key, in.Code.S3ObjectVersion); err != nil {
		return nil, err
	}
	if ok, err := s.functions.Insert(f.Name, f); err != nil {
		return nil, err
	} else if !ok {
		return nil, taken
	}
	c := s.configuration(f)
	return &lambda.CreateFunctionOutput{
		FunctionName: c.FunctionName, FunctionArn: c.FunctionArn, Role: c.Role, Handler: c.Handler, Runtime: c.Runtime, Timeout: c.Timeout,
		MemorySize: c.MemorySize, LastModified: c.LastModified, CodeSha256: c.CodeSha256, CodeSize: c.CodeSize, Version: c.Version,
		Architectures: c.Architectures, PackageType: c.PackageType, State: c.State, LastUpdateStatus: c.LastUpdateStatus, RevisionId: c.RevisionId,
		Environment: c.Environment, VpcConfig: c.VpcConfig, Description: c.Description, LoggingConfig: c.LoggingConfig,
	}, nil
}

func vpcConfig(c *types.VpcConfig) *types.VpcConfig {
	if c == nil || len(c.SubnetIds) == 0 {
		return nil
	}
	return c
}

// check refuses what Lambda would (its quotas page).
func (f function) check() error {
	switch {
	case f.Timeout < 1 || f.Timeout > 900:
		return invalid("1 validation error detected: Value '%d' at 'timeout' failed to satisfy constraint: Member must have value between 1 and 900", f.Timeout)
	case f.Memory < 128 || f.Memory > 10240:
		return invalid("1 validation error detected: Value '%d' at 'memorySize' failed to satisfy constraint: Member must have value between 128 and 10240", f.Memory)
	case !strings.HasPrefix(f.Role, "arn:"):
		return invalid("1 validation error detected: Value '%s' at 'role' is no ARN of a role.", f.Role)
	}
	return nil
}

// maxUnpacked bounds a function's code (Lambda quotas: 250 MB unzipped).
const maxUnpacked = 250 << 20

// keepCode unpacks a function's code beside the others', under its checksum: an
// environment that still runs the old code keeps it.
func (s *Service) keepCode(ctx context.Context, f *function, data []byte, bucket, key, version *string) error {
	if len(data) == 0 {
		if bucket == nil || key == nil {
			return invalid("Please provide a source for function code.")
		}
		var err error
		if data, err = s.cfg.Objects.Object(ctx, *bucket, *key, aws.ToString(version)); err != nil {
			return invalid("Error occurred while GetObject. S3 Error: %v", err)
		}
	}
	sum := sha256.Sum256(data)
	f.CodeSHA256, f.CodeSize = base64.StdEncoding.EncodeToString(sum[:]), int64(len(data))
	f.Modified, f.Revision = s.now().UTC(), region.Hex(32)
	dir := s.codeDir(*f)
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	tmp, err := os.MkdirTemp(s.cfg.Dir, "unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := unpack(tmp, data); err != nil {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

func (s *Service) codeDir(f function) string {
	sum := sha256.Sum256([]byte(f.CodeSHA256))
	return filepath.Join(s.cfg.Dir, fmt.Sprintf("code-%x", sum[:12]))
}

func unpack(dir string, data []byte) error {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return invalid("Could not unzip uploaded file. Please check your file, then try to upload again.")
	}
	left := int64(maxUnpacked)
	for _, file := range z.File {
		if !filepath.IsLocal(file.Name) {
			return invalid("Could not unzip uploaded file: it would leave its folder with %q.", file.Name)
		}
		if left -= int64(file.UncompressedSize64); left < 0 {
			return invalid("Unzipped size must be smaller than %d bytes", maxUnpacked)
		}
		if err := unpackFile(filepath.Join(dir, file.Name), file); err != nil {
			return fmt.Errorf("unpack %s: %w", file.Name, err)
		}
	}
	return nil
}

func unpackFile(path string, file *zip.File) error {
	if file.FileInfo().IsDir() {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	in, err := file.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	// A process that another goroutine starts meanwhile would hold the file open for
	// writing until its exec, and the program could not be run ("text file busy").
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, file.Mode().Perm()|0o400)
	if err != nil {
		return err
	}
	_, err = out.ReadFrom(in)
	return errors.Join(err, out.Close())
}

func (s *Service) configuration(f function) types.FunctionConfiguration {
	c := types.FunctionConfiguration{
		FunctionName: aws.String(f.Name), FunctionArn: aws.String(s.arn(f.Name)), Role: aws.String(f.Role), Handler: aws.String(f.Handler),
		Runtime: f.Runtime, Timeout: aws.Int32(f.Timeout), MemorySize: aws.Int32(f.Memory), Description: aws.String(f.Description),
		LastModified: aws.String(f.Modified.Format("2006-01-02T15:04:05.000+0000")), CodeSha256: aws.String(f.CodeSHA256), CodeSize: f.CodeSize,
		Version: aws.String("$LATEST"), Architectures: []types.Architecture{f.Architecture}, PackageType: types.PackageTypeZip,
		State: types.StateActive, LastUpdateStatus: types.LastUpdateStatusSuccessful, RevisionId: aws.String(f.Revision),
		LoggingConfig: &types.LoggingConfig{LogFormat: types.LogFormatText, LogGroup: aws.String(f.logGroup())},
	}
	if f.Variables != nil {
		c.Environment = &types.EnvironmentResponse{Variables: f.Variables}
	}
	if f.VPC != nil {
		c.VpcConfig = &types.VpcConfigResponse{SubnetIds: f.VPC.SubnetIds, SecurityGroupIds: f.VPC.SecurityGroupIds}
	}
	return c
}

func (f function) logGroup() string {
	if f.Logging != nil && aws.ToString(f.Logging.LogGroup) != "" {
		return *f.Logging.LogGroup
	}
	return "/aws/lambda/" + f.Name
}

// GetFunction describes a function.
func (s *Service) GetFunction(_ context.Context, in *lambda.GetFunctionInput) (*lambda.GetFunctionOutput, error) {
	f, err := s.find(in.FunctionName)
	if err != nil {
		return nil, err
	}
	c := s.configuration(f)
	return &lambda.GetFunctionOutput{
		Configuration: &c, Tags: f.Tags,
		Code: &types.FunctionCodeLocation{RepositoryType: aws.String("S3")},
	}, nil
}

// GetFunctionConfiguration describes a function without its code.
func (s *Service) GetFunctionConfiguration(_ context.Context, in *lambda.GetFunctionConfigurationInput) (*lambda.GetFunctionConfigurationOutput, error) {
	f, err := s.find(in.FunctionName)
	if err != nil {
		return nil, err
	}
	c := s.configuration(f)
	return &lambda.GetFunctionConfigurationOutput{
		FunctionName: c.FunctionName, FunctionArn: c.FunctionArn, Role: c.Role, Handler: c.Handler, Runtime: c.Runtime, Timeout: c.Timeout,
		MemorySize: c.MemorySize, LastModified: c.LastModified, CodeSha256: c.CodeSha256, CodeSize: c.CodeSize, Version: c.Version,
		Architectures: c.Architectures, PackageType: c.PackageType, State: c.State, LastUpdateStatus: c.LastUpdateStatus, RevisionId: c.RevisionId,
		Environment: c.Environment, VpcConfig: c.VpcConfig, Description: c.Description, LoggingConfig: c.LoggingConfig,
	}, nil
}

// ListFunctions lists functions by name.
func (s *Service) ListFunctions(_ context.Context, in *lambda.ListFunctionsInput) (*lambda.ListFunctionsOutput, error) {
	rows, next, err := page.Of(s.functions.All(), func(f function) string { return f.Name }, in.Marker, page.Limit(in.MaxItems, 50))
	if err != nil {
		return nil, invalid("Invalid pagination token.")
	}
	out := &lambda.ListFunctionsOutput{Functions: []types.FunctionConfiguration{}, NextMarker: next}
	for _, f := range rows {
		out.Functions = append(out.Functions, s.configuration(f))
	}
	return out, nil
}

// UpdateFunctionCode replaces a function's code; invocations under way end with
// the old one.
func (s *Service) UpdateFunctionCode(ctx context.Context, in *lambda.UpdateFunctionCodeInput) (*lambda.UpdateFunctionCodeOutput, error) {
	s.codeMu.Lock()
	defer s.codeMu.Unlock()
	f, err := s.find(in.FunctionName)
	if err != nil {
		return nil, err
	}
	if err := s.keepCode(ctx, &f, in.ZipFile, in.S3Bucket, in.S3Key, in.S3ObjectVersion); err != nil {
		return nil, err
	}
	if len(in.Architectures) > 0 {
		f.Architecture = in.Architectures[0]
	}
	if in.DryRun {
		c := s.configuration(f)
		return &lambda.UpdateFunctionCodeOutput{FunctionName: c.FunctionName, FunctionArn: c.FunctionArn, CodeSha256: c.CodeSha256, CodeSize: c.CodeSize, Version: c.Version}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err = s.functions.Update(f.Name, func(row *function) error {
		row.Architecture, row.CodeSHA256, row.CodeSize, row.Modified, row.Revision = f.Architecture, f.CodeSHA256, f.CodeSize, f.Modified, f.Revision
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.retire(f.Name)
	c := s.configuration(f)
	return &lambda.UpdateFunctionCodeOutput{
		FunctionName: c.FunctionName, FunctionArn: c.FunctionArn, CodeSha256: c.CodeSha256, CodeSize: c.CodeSize, LastModified: c.LastModified,
		Version: c.Version, State: c.State, LastUpdateStatus: c.LastUpdateStatus, RevisionId: c.RevisionId, Runtime: c.Runtime, Role: c.Role,
		Handler: c.Handler, Timeout: c.Timeout, MemorySize: c.MemorySize, Architectures: c.Architectures, PackageType: c.PackageType,
	}, nil
}

// UpdateFunctionConfiguration changes everything about a function but its code.
func (s *Service) UpdateFunctionConfiguration(_ context.Context, in *lambda.UpdateFunctionConfigurationInput) (*lambda.UpdateFunctionConfigurationOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(in.FunctionName)
	if err != nil {
		return nil, err
	}
	set := func(to *string, from *string) {
		if from != nil {
			*to = *from
		}
	}
	set(&f.Role, in.Role)
	set(&f.Handler, in.Handler)
	set(&f.Description, in.Description)
	if in.Runtime != "" {
		f.Runtime = in.Runtime
	}
	if in.Timeout != nil {
		f.Timeout = *in.Timeout
	}
	if in.MemorySize != nil {
		f.Memory = *in.MemorySize
	}
	if in.Environment != nil {
		f.Variables = in.Environment.Variables
	}
	if in.VpcConfig != nil {
		f.VPC = vpcConfig(in.VpcConfig)
	}
	if in.LoggingConfig != nil {
		f.Logging = in.LoggingConfig
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	f.Modified, f.Revision = s.now().UTC(), region.Hex(32)
	if err := s.functions.Put(f.Name, f); err != nil {
		return nil, err
	}
	s.retire(f.Name)
	c := s.configuration(f)
	return &lambda.UpdateFunctionConfigurationOutput{
		FunctionName: c.FunctionName, FunctionArn: c.FunctionArn, CodeSha256: c.CodeSha256, CodeSize: c.CodeSize, LastModified: c.LastModified,
		Version: c.Version, State: c.State, LastUpdateStatus: c.LastUpdateStatus, RevisionId: c.RevisionId, Runtime: c.Runtime, Role: c.Role,
		Handler: c.Handler, Timeout: c.Timeout, MemorySize: c.MemorySize, Architectures: c.Architectures, PackageType: c.PackageType,
		Environment: c.Environment, VpcConfig: c.VpcConfig, Description: c.Description, LoggingConfig: c.LoggingConfig,
	}, nil
}

// DeleteFunction deletes a function. Its log group stays, as on AWS.
func (s *Service) DeleteFunction(_ context.Context, in *lambda.DeleteFunctionInput) (*lambda.DeleteFunctionOutput, error) {
	s.codeMu.Lock()
	defer s.codeMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(in.FunctionName)
	if err != nil {
		return nil, err
	}
	if err := s.functions.Delete(f.Name); err != nil {
		return nil, err
	}
	s.retire(f.Name)
	shared := slices.ContainsFunc(s.functions.All(), func(o function) bool { return o.CodeSHA256 == f.CodeSHA256 })
	if !shared {
		// A process that still runs keeps its program's pages.
		if err := os.RemoveAll(s.codeDir(f)); err != nil {
			s.cfg.Log.Warn("remove a function's code", "function", f.Name, "err", err)
		}
	}
	return &lambda.DeleteFunctionOutput{}, nil
}

// pruneCode removes code that no function has any more: that of earlier versions,
// which their last invocations may have needed, and what a killed daemon had
// begun to unpack.
func (s *Service) pruneCode() {
	used := map[string]bool{}
	for _, f := range s.functions.All() {
		used[s.codeDir(f)] = true
	}
	dirs, _ := filepath.Glob(filepath.Join(s.cfg.Dir, "*-*"))
	for _, dir := range dirs {
		if used[dir] {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			s.cfg.Log.Warn("remove code", "dir", dir, "err", err)
		}
	}
}

// AddPermission adds a statement to a function's resource policy.
func (s *Service) AddPermission(_ context.Context, in *lambda.AddPermissionInput) (*lambda.AddPermissionOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(in.FunctionName)
	if err != nil {
		return nil, err
	}
	sid := aws.ToString(in.StatementId)
	if _, taken := f.Statements[sid]; taken {
		return nil, &wire.Error{Code: "ResourceConflictException", Message: fmt.Sprintf("The statement id (%s) provided already exists. Please provide a new statement id, or remove the existing statement.", sid), Status: 409}
	}
	st := &statement{Sid: sid, Effect: "Allow", Action: aws.ToString(in.Action), Resource: s.arn(f.Name)}
	if principal := aws.ToString(in.Principal); strings.HasSuffix(principal, ".amazonaws.com") {
		st.Principal = map[string]string{"Service": principal}
	} else {
		st.Principal = map[string]string{"AWS": principal}
	}
	condition := func(operator, key string, value *string) {
		if value != nil {
			if st.Condition == nil {
				st.Condition = map[string]map[string]string{}
			}
			st.Condition[operator] = map[string]string{key: *value}
		}
	}
	condition("ArnLike", "AWS:SourceArn", in.SourceArn)
	condition("StringEquals", "AWS:SourceAccount", in.SourceAccount)
	if _, err := s.functions.Update(f.Name, func(f *function) error {
		f.Statements = maps.Clone(f.Statements)
		if f.Statements == nil {
			f.Statements = map[string]*statement{}
		}
		f.Statements[sid] = st
		return nil
	}); err != nil {
		return nil, err
	}
	text, err := json.Marshal(st)
	return &lambda.AddPermissionOutput{Statement: aws.String(string(text))}, err
}

// RemovePermission removes a statement from a function's resource policy.
func (s *Service) RemovePermission(_ context.Context, in *lambda.RemovePermissionInput) (*lambda.RemovePermissionOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(in.FunctionName)
	if err != nil {
		return nil, err
	}
	if _, ok := f.Statements[aws.ToString(in.StatementId)]; !ok {
		return nil, &wire.Error{Code: "ResourceNotFoundException", Message: fmt.Sprintf("Statement %s is not found in resource policy.", aws.ToString(in.StatementId)), Status: 404}
	}
	_, err = s.functions.Update(f.Name, func(f *function) error {
		f.Statements = maps.Clone(f.Statements)
		delete(f.Statements, *in.StatementId)
		return nil
	})
	return &lambda.RemovePermissionOutput{}, err
}

// GetPolicy returns a function's resource policy.
func (s *Service) GetPolicy(_ context.Context, in *lambda.GetPolicyInput) (*lambda.GetPolicyOutput, error) {
	f, err := s.find(in.FunctionName)
	if err != nil {
		return nil, err
	}
	if len(f.Statements) == 0 {
		return nil, &wire.Error{Code: "ResourceNotFoundException", Message: "The resource you requested does not exist.", Status: 404}
	}
	doc := struct {
		Version   string
		Id        string
		Statement []*statement
	}{Version: "2012-10-17", Id: "default"}
	for _, sid := range slices.Sorted(maps.Keys(f.Statements)) {
		doc.Statement = append(doc.Statement, f.Statements[sid])
	}
	text, err := json.Marshal(doc)
	return &lambda.GetPolicyOutput{Policy: aws.String(string(text)), RevisionId: aws.String(f.Revision)}, err
}

// TagResource adds tags to a function.
func (s *Service) TagResource(_ context.Context, in *lambda.TagResourceInput) (*lambda.TagResourceOutput, error) {
	return &lambda.TagResourceOutput{}, s.changeTags(in.Resource, func(tags map[string]string) { maps.Copy(tags, in.Tags) })
}

// UntagResource removes tags from a function.
func (s *Service) UntagResource(_ context.Context, in *lambda.UntagResourceInput) (*lambda.UntagResourceOutput, error) {
	return &lambda.UntagResourceOutput{}, s.changeTags(in.Resource, func(tags map[string]string) {
		for _, k := range in.TagKeys {
			delete(tags, k)
		}
	})
}

func (s *Service) changeTags(resource *string, change func(map[string]string)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(resource)
	if err != nil {
		return err
	}
	_, err = s.functions.Update(f.Name, func(f *function) error {
		tags := maps.Clone(f.Tags)
		if tags == nil {
			tags = map[string]string{}
		}
		change(tags)
		f.Tags = tags
		return nil
	})
	return err
}

// ListTags returns the tags of a function.
func (s *Service) ListTags(_ context.Context, in *lambda.ListTagsInput) (*lambda.ListTagsOutput, error) {
	f, err := s.find(in.Resource)
	if err != nil {
		return nil, err
	}
	return &lambda.ListTagsOutput{Tags: f.Tags}, nil
}

// Register attaches the operations to the API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "AddPermission", s.AddPermission)
	wire.Handle(m, "CreateFunction", s.CreateFunction)
	wire.Handle(m, "DeleteFunction", s.DeleteFunction)
	wire.Handle(m, "GetFunction", s.GetFunction)
	wire.Handle(m, "GetFunctionConfiguration", s.GetFunctionConfiguration)
	wire.Handle(m, "GetPolicy", s.GetPolicy)
	wire.Handle(m, "Invoke", s.Invoke)
	wire.Handle(m, "ListFunctions", s.ListFunctions)
	wire.Handle(m, "ListTags", s.ListTags)
	wire.Handle(m, "RemovePermission", s.RemovePermission)
	wire.Handle(m, "TagResource", s.TagResource)
	wire.Handle(m, "UntagResource", s.UntagResource)
	wire.Handle(m, "UpdateFunctionCode", s.UpdateFunctionCode)
	wire.Handle(m, "UpdateFunctionConfiguration", s.UpdateFunctionConfiguration)
}
