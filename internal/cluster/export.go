package cluster

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// An ExportRequest asks for logs in an archive.
type ExportRequest struct {
	Name         string // of the cluster or image
	LogGroup     string // empty: no logs
	StreamPrefix string // only streams whose names begin so
	Stack        string // whose events go into the archive, too; empty: none
	Bucket       string // through which CloudWatch Logs exports
	Prefix       string // of objects in it; empty: one made of name and time
	KeepObjects  bool
	From, To     time.Time // zero: from the creation of the group, until now
	OutputFile   string    // empty: the archive goes to the bucket
}

// An Exporter makes archives of log groups, by the way that CloudWatch Logs
// offers for much of it: an export task writes to a bucket, from where we read.
// Clusters and images have theirs exported alike.
type Exporter struct {
	Region         string
	CloudFormation CloudFormation
	Logs           Logs
	S3             S3
	Presign        Presigner
	Log            *slog.Logger
	Now            func() time.Time // in the zone of the user, which names show
	Poll           time.Duration
	// Progress is told how far an export is; nil: nobody wants to know.
	Progress func(string)
}

// Export writes an archive. It returns the URL at which it can be read for an
// hour, unless the request names a file.
func (e *Exporter) Export(ctx context.Context, r ExportRequest) (url string, err error) {
	root := r.Name + "-logs-" + e.Now().Format("200601021504")
	if err := e.checkBucket(ctx, r); err != nil {
		return "", err
	}
	scratch, err := os.MkdirTemp("", "pcluster-logs-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch)

	if r.LogGroup != "" {
		if err := e.exportGroup(ctx, r, root, filepath.Join(scratch, "cloudwatch-logs")); err != nil {
			return "", err
		}
	}
	if r.Stack != "" {
		if err := e.writeStackEvents(ctx, r, filepath.Join(scratch, r.Name+"-cfn-events")); err != nil {
			return "", err
		}
	}
	if r.OutputFile != "" {
		return "", writeArchive(r.OutputFile, scratch, root)
	}
	archive := filepath.Join(scratch, "archive") // not inside itself: it is not there yet when files are listed
	if err := writeArchive(archive, scratch, root); err != nil {
		return "", err
	}
	return e.upload(ctx, archive, r.Bucket, path.Join(r.Prefix, root+".tar.gz"))
}

// checkBucket refuses a bucket of another region, to which no task can export.
func (e *Exporter) checkBucket(ctx context.Context, r ExportRequest) error {
	out, err := e.S3.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: &r.Bucket})
	if err != nil {
		return fmt.Errorf("region of bucket %s: %w", r.Bucket, err)
	}
	region := string(out.LocationConstraint)
	switch region {
	case "":
		region = "us-east-1"
	case "EU": // what very old buckets call it
		region = "eu-west-1"
	}
	if region != e.Region {
		return fmt.Errorf("the bucket must be in the region of %s: that is %s, but bucket %s is in %s", r.Name, e.Region, r.Bucket, region)
	}
	return nil
}

// exportGroup has the events of a log group exported and brings them here, a
// file per stream.
func (e *Exporter) exportGroup(ctx context.Context, r ExportRequest, root, dir string) error {
	from, to := r.From, r.To
	if to.IsZero() {
		to = e.Now()
	}
	if from.IsZero() {
		group, err := logGroup(ctx, e.Logs, r.LogGroup)
		if err != nil {
			return err
		}
		from = group.created
	}
	if !from.Before(to) {
		return errors.New("the start time must be earlier than the end time")
	}
	if err := e.checkEvents(ctx, r, from, to); err != nil {
		return err
	}
	prefix, ours := strings.Trim(r.Prefix, "/"), false
	if prefix == "" {
		prefix = root
		objects, err := e.list(ctx, r.Bucket, prefix+"/")
		if err != nil {
			return err
		}
		ours = len(objects) == 0
	}
	task, err := e.runTask(ctx, r, prefix, from, to)
	if task != "" && !r.KeepObjects {
		leftovers := prefix + "/" + task + "/"
		if ours {
			leftovers = prefix + "/"
		}
		// Also after Ctrl-C: nobody else knows of these objects.
		defer func() {
			if err := e.remove(context.WithoutCancel(ctx), r.Bucket, leftovers); err != nil {
				e.Log.Warn(fmt.Sprintf("objects below s3://%s/%s are left: %v", r.Bucket, leftovers, err))
			}
		}()
	}
	if err != nil {
		return err
	}
	return e.download(ctx, r.Bucket, prefix+"/"+task+"/", dir)
}

// checkEvents refuses to export nothing.
func (e *Exporter) checkEvents(ctx context.Context, r ExportRequest, from, to time.Time) error {
	in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: &r.LogGroup, StartTime: aws.Int64(from.UnixMilli()), EndTime: aws.Int64(to.UnixMilli()), Limit: aws.Int32(1)}
	with := ""
	if r.StreamPrefix != "" {
		in.LogStreamNamePrefix = &r.StreamPrefix
		with = ", with log stream name prefix '" + r.StreamPrefix + "'"
	}
	for {
		out, err := e.Logs.FilterLogEvents(ctx, in)
		if err != nil {
			return fmt.Errorf("events of log group %s: %w", r.LogGroup, err)
		}
		if len(out.Events) > 0 {
			return nil
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			return fmt.Errorf("there are no log events in log group %s in the interval starting at %s and ending at %s%s",
				r.LogGroup, from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339), with)
		}
	}
}

// runTask lets CloudWatch Logs export to the bucket and waits until it has. It
// returns the ID of the task, which is part of its objects' keys, as soon as there
// is one.
func (e *Exporter) runTask(ctx context.Context, r ExportRequest, prefix string, from, to time.Time) (string, error) {
	in := &cloudwatchlogs.CreateExportTaskInput{
		LogGroupName: &r.LogGroup, Destination: &r.Bucket, DestinationPrefix: &prefix,
		From: aws.Int64(from.UnixMilli()), To: aws.Int64(to.UnixMilli()),
	}
	if r.StreamPrefix != "" {
		in.LogStreamNamePrefix = &r.StreamPrefix
	}
	created, err := e.Logs.CreateExportTask(ctx, in)
	if err != nil {
		if kindOf(err) == refusedBucket {
			return "", fmt.Errorf("CloudWatch Logs may not write to bucket %s: its policy must let logs.amazonaws.com use s3:GetBucketAcl and s3:PutObject (AWS documentation: Export log data to Amazon S3): %w", r.Bucket, err)
		}
		return "", fmt.Errorf("export log group %s: %w", r.LogGroup, err)
	}
	task := aws.ToString(created.TaskId)
	e.Log.Info("log export task: " + task)
	for shown := ""; ; {
		out, err := e.Logs.DescribeExportTasks(ctx, &cloudwatchlogs.DescribeExportTasksInput{TaskId: &task})
		if err != nil {
			return task, fmt.Errorf("log export task %s: %w", task, err)
		}
		if len(out.ExportTasks) == 0 || out.ExportTasks[0].Status == nil {
			return task, fmt.Errorf("log export task %s is not there any more", task)
		}
		status := out.ExportTasks[0].Status
		switch status.Code {
		case logtypes.ExportTaskStatusCodeCompleted:
			return task, nil
		case logtypes.ExportTaskStatusCodePending, logtypes.ExportTaskStatusCodeRunning, logtypes.ExportTaskStatusCodePendingCancel:
		default:
			return task, fmt.Errorf("log export task %s ended as %s: %s", task, status.Code, aws.ToString(status.Message))
		}
		if string(status.Code) != shown {
			shown = string(status.Code)
			e.tell("export of log group %s: %s", r.LogGroup, strings.ToLower(shown))
		}
		if err := sleep(ctx, e.Poll); err != nil {
			// An account has one task at a time: do not leave it to block the next.
			_, _ = e.Logs.CancelExportTask(context.WithoutCancel(ctx), &cloudwatchlogs.CancelExportTaskInput{TaskId: &task})
			return task, err
		}
	}
}

func (e *Exporter) tell(format string, args ...any) {
	if e.Progress != nil {
		e.Progress(fmt.Sprintf(format, args...))
	}
}

// streamsAtOnce is how many streams are downloaded at the same time.
const streamsAtOnce = 8

// download brings the objects of a task into a folder: those of a stream, which
// are numbered, one after the other into one file.
func (e *Exporter) download(ctx context.Context, bucket, prefix, dir string) error {
	objects, err := e.list(ctx, bucket, prefix)
	if err != nil {
		return err
	}
	byStream := map[string][]s3types.Object{}
	total := int64(0)
	for _, o := range objects {
		stream, part, ok := strings.Cut(strings.TrimPrefix(aws.ToString(o.Key), prefix), "/")
		if !ok || !strings.HasSuffix(part, ".gz") {
			continue
		}
		if stream == "." || !filepath.IsLocal(stream) { // named by a machine, which may have been taken over
			e.Log.Warn("log stream " + stream + " is left out: its name is no file name")
			continue
		}
		byStream[stream] = append(byStream[stream], o)
		total += aws.ToInt64(o.Size)
	}
	if len(byStream) == 0 {
		return fmt.Errorf("the export task has written nothing below s3://%s/%s", bucket, prefix)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	e.tell("download of %d log streams, %d KB", len(byStream), (total+1023)/1024)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(streamsAtOnce)
	for stream, parts := range byStream {
		slices.SortFunc(parts, func(a, b s3types.Object) int { return strings.Compare(*a.Key, *b.Key) })
		group.Go(func() error {
			if err := e.downloadStream(ctx, bucket, parts, filepath.Join(dir, stream)); err != nil {
				return fmt.Errorf("log stream %s: %w", stream, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (e *Exporter) downloadStream(ctx context.Context, bucket string, parts []s3types.Object, file string) (err error) {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for _, part := range parts {
		object, err := e.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: part.Key})
		if err != nil {
			return err
		}
		if err := decompress(out, object.Body); err != nil {
			return fmt.Errorf("s3://%s/%s: %w", bucket, *part.Key, err)
		}
	}
	return nil
}

func decompress(w io.Writer, body io.ReadCloser) error {
	defer body.Close()
	z, err := gzip.NewReader(body)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, z)
	return err
}

func (e *Exporter) list(ctx context.Context, bucket, prefix string) ([]s3types.Object, error) {
	var found []s3types.Object
	in := &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix}
	for {
		out, err := e.S3.ListObjectsV2(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("list s3://%s/%s: %w", bucket, prefix, err)
		}
		found = append(found, out.Contents...)
		if in.ContinuationToken = out.NextContinuationToken; in.ContinuationToken == nil {
			return found, nil
		}
	}
}

// remove deletes the objects below a prefix, with all their versions.
func (e *Exporter) remove(ctx context.Context, bucket, prefix string) error {
	return removeObjects(ctx, e.S3, bucket, prefix)
}

// writeStackEvents writes the events of a stack as a list of pages, as the API of
// CloudFormation spells them.
func (e *Exporter) writeStackEvents(ctx context.Context, r ExportRequest, file string) error {
	type event struct {
		StackId, EventId, StackName, LogicalResourceId, PhysicalResourceId, ResourceType string

		Timestamp            Time
		ResourceStatus       string
		ResourceStatusReason string `json:",omitempty"`
		ResourceProperties   string `json:",omitempty"`
		ClientRequestToken   string `json:",omitempty"`
	}
	pages := [][]event{}
	for token := ""; ; {
		page, err := ReadStackEvents(ctx, e.CloudFormation, r.Stack, token)
		if err != nil {
			return fmt.Errorf("events of stack %s: %w", r.Name, err)
		}
		events := []event{}
		for _, h := range page.Events {
			events = append(events, event{
				StackId: h.StackID, EventId: h.EventID, StackName: h.StackName, LogicalResourceId: h.LogicalResourceID, PhysicalResourceId: h.PhysicalResourceID,
				ResourceType: h.ResourceType, Timestamp: h.Timestamp, ResourceStatus: h.ResourceStatus,
				ResourceStatusReason: h.ResourceStatusReason, ResourceProperties: h.ResourceProperties, ClientRequestToken: h.ClientRequestToken,
			})
		}
		pages = append(pages, events)
		if token = page.NextToken; token == "" {
			break
		}
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(pages); err != nil {
		return err
	}
	return os.WriteFile(file, bytes.TrimSpace(text.Bytes()), 0o644)
}

// writeArchive packs what is in a folder, below one folder called root.
func writeArchive(file, dir, root string) (err error) {
	out, err := os.CreateTemp(filepath.Dir(file), ".pcluster-logs-") // a file that is there is whole
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(out.Name())
		}
	}()
	z := gzip.NewWriter(out)
	t := tar.NewWriter(z)
	err = filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || name == out.Name() {
			return err
		}
		inside, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		return addToArchive(t, name, path.Join(root, filepath.ToSlash(inside)), d)
	})
	if err = errors.Join(err, t.Close(), z.Close(), out.Chmod(0o644), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), file)
}

func addToArchive(t *tar.Writer, file, name string, d os.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	header, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return err
	}
	header.ModTime = header.ModTime.Truncate(time.Second) // rounded, it would be in the future
	header.Name, header.Uid, header.Gid, header.Uname, header.Gname = name, 0, 0, "", ""
	if d.IsDir() {
		header.Name, header.Mode = name+"/", 0o755
		return t.WriteHeader(header)
	}
	if err := t.WriteHeader(header); err != nil {
		return err
	}
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(t, in)
	return err
}

func (e *Exporter) upload(ctx context.Context, file, bucket, key string) (url string, err error) {
	archive, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer archive.Close()
	if _, err := e.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: archive}); err != nil {
		return "", fmt.Errorf("upload s3://%s/%s: %w", bucket, key, err)
	}
	request, err := e.Presign.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key}, s3.WithPresignExpires(urlLifetime))
	if err != nil {
		return "", fmt.Errorf("URL of s3://%s/%s: %w", bucket, key, err)
	}
	return request.URL, nil
}

// A ClusterExport asks for the logs of a cluster.
type ClusterExport struct {
	ExportRequest          // LogGroup, StreamPrefix and Stack are not the caller's business
	Filters       []string // see [LogFilter]
}

// ExportLogs exports the logs of a cluster, which may be deleted already: its log
// group outlives it, unless its file says otherwise.
func (o *Operator) ExportLogs(ctx context.Context, r ClusterExport, progress func(string)) (url string, err error) {
	bucket := ""
	s, err := o.clusterStack(ctx, r.Name)
	refused, isRefused := errors.AsType[*Error](err)
	switch {
	case err == nil:
		r.LogGroup, r.Stack, bucket = s.parameter(parameterLogGroup), s.id(), s.parameter(parameterBucket)
	case isRefused && refused.Status == 404:
		if r.LogGroup, err = o.newestLogGroup(ctx, r.Name); err != nil {
			return "", err
		}
		if r.LogGroup == "" {
			return "", refused
		}
	default:
		return "", err
	}
	if r.LogGroup != "" {
		if r.StreamPrefix, err = o.streamPrefix(ctx, r.Name, r.Filters); err != nil {
			return "", err
		}
	}
	if r.Bucket == "" {
		if r.Bucket, err = o.ExportBucket(ctx, bucket, r.Prefix); err != nil {
			return "", err
		}
	}
	return o.Exporter(progress).Export(ctx, r.ExportRequest)
}

// Exporter returns what exports with the operator's services.
func (o *Operator) Exporter(progress func(string)) *Exporter {
	return &Exporter{
		Region: o.Region, CloudFormation: o.CloudFormation, Logs: o.Logs, S3: o.S3, Presign: o.Presign,
		Log: o.Log, Now: o.Now, Poll: o.Poll, Progress: progress,
	}
}

type namedGroup struct {
	name    string
	created time.Time
}

// logGroup reads a log group.
func logGroup(ctx context.Context, logs Logs, name string) (namedGroup, error) {
	groups, err := logGroups(ctx, logs, name)
	if err != nil {
		return namedGroup{}, err
	}
	if i := slices.IndexFunc(groups, func(g namedGroup) bool { return g.name == name }); i >= 0 {
		return groups[i], nil
	}
	return namedGroup{}, fmt.Errorf("log group %s does not exist", name)
}

func logGroups(ctx context.Context, logs Logs, prefix string) ([]namedGroup, error) {
	var groups []namedGroup
	in := &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &prefix}
	for {
		out, err := logs.DescribeLogGroups(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("log group %s: %w", prefix, err)
		}
		for _, g := range out.LogGroups {
			groups = append(groups, namedGroup{aws.ToString(g.LogGroupName), milliseconds(g.CreationTime).Time})
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			return groups, nil
		}
	}
}

// newestLogGroup returns the log group of the last cluster of that name, empty if
// there is none.
func (o *Operator) newestLogGroup(ctx context.Context, cluster string) (string, error) {
	prefix := "/aws/parallelcluster/" + cluster + "-"
	groups, err := logGroups(ctx, o.Logs, prefix)
	if err != nil {
		return "", err
	}
	newest := namedGroup{}
	for _, g := range groups {
		if stamp := strings.TrimPrefix(g.name, prefix); isStamp.MatchString(stamp) && !g.created.Before(newest.created) {
			newest = g
		}
	}
	return newest.name, nil
}

// isStamp is what follows the name of the cluster in that of its log group.
var isStamp = regexp.MustCompile(`^\d{12}$`)

// ExportBucket returns the bucket to export through if the user names none: that
// of the cluster or image or, if the argument is empty, that which all share; this
// one we open to CloudWatch Logs ourselves.
func (o *Operator) ExportBucket(ctx context.Context, bucket, prefix string) (string, error) {
	if prefix == "parallelcluster" || strings.HasPrefix(prefix, "parallelcluster/") {
		return "", fmt.Errorf("the prefix %s is not for logs: pcluster keeps its own files in the folder parallelcluster/ of its bucket; name another prefix", prefix)
	}
	owner, err := o.accountLater(ctx)()
	if err != nil {
		return "", err
	}
	shared := bucketName(owner.id, o.Region)
	if bucket == "" {
		if bucket, err = o.ensureBucket(ctx, owner.id, ""); err != nil {
			return "", err
		}
	}
	if bucket != shared {
		return bucket, nil
	}
	return bucket, o.admitLogs(ctx, owner, bucket)
}

// admitLogs makes the policy of the shared bucket let CloudWatch Logs export the
// log groups of clusters and images, and keeps it out of our own folder.
func (o *Operator) admitLogs(ctx context.Context, owner account, bucket string) error {
	var policy struct {
		Version   string           `json:"Version"`
		ID        string           `json:"Id,omitempty"`
		Statement []map[string]any `json:"Statement"`
	}
	current, err := o.S3.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &bucket})
	switch {
	case err == nil:
		if err := json.Unmarshal([]byte(aws.ToString(current.Policy)), &policy); err != nil {
			return fmt.Errorf("policy of bucket %s: %w", bucket, err)
		}
	case kindOf(err) != missing:
		return fmt.Errorf("policy of bucket %s: %w", bucket, err)
	}
	if policy.Version == "" {
		policy.Version = "2012-10-17"
	}
	changed := false
	for _, statement := range logStatements(owner, o.Region, bucket) {
		if !slices.ContainsFunc(policy.Statement, func(s map[string]any) bool { return s["Sid"] == statement["Sid"] }) {
			policy.Statement = append(policy.Statement, statement)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	text, err := json.Marshal(policy)
	if err != nil {
		return err
	}
	if _, err := o.S3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: aws.String(string(text))}); err != nil {
		return fmt.Errorf("policy of bucket %s: %w", bucket, err)
	}
	return nil
}

func logStatements(owner account, region, bucket string) []map[string]any {
	arn := "arn:" + owner.partition + ":s3:::" + bucket
	service := map[string]any{"Service": "logs." + region + ".amazonaws.com"}
	if owner.partition == "aws-cn" {
		service = map[string]any{"Service": "logs." + region + ".amazonaws.com.cn"}
	}
	groups := "arn:" + owner.partition + ":logs:" + region + ":" + owner.id + ":log-group:"
	from := map[string]any{"aws:SourceArn": []string{groups + "/aws/parallelcluster/*", groups + "/aws/imagebuilder/*"}}
	return []map[string]any{{
		"Sid": "AllowReadBucketAclForExportLogs", "Effect": "Allow", "Principal": service, "Action": "s3:GetBucketAcl", "Resource": arn,
		"Condition": map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": owner.id}, "ArnLike": from},
	}, {
		"Sid": "AllowPutObjectForExportLogs", "Effect": "Allow", "Principal": service, "Action": "s3:PutObject", "Resource": arn + "/*",
		"Condition": map[string]any{
			"StringEquals": map[string]any{"s3:x-amz-acl": "bucket-owner-full-control", "aws:SourceAccount": owner.id}, "ArnLike": from,
		},
	}, {
		"Sid": "DenyPutObjectOnReservedPath", "Effect": "Deny", "Principal": service, "Action": "s3:PutObject", "Resource": arn + "/parallelcluster/*",
	}}
}
