package fsx

import (
	"context"
	"errors"
	"fmt"
	pathpkg "path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/fsx/types"

	"pcluster/internal/sandbox/s3"
)

// A repository is a directory of a file system that is tied to a prefix of a
// bucket: by an association, or by the file system's own ImportPath.
type repository struct {
	id             string // of the association, or of the file system itself
	fsID           string
	path           string // of the directory inside the file system, without slashes around it; empty for the root
	bucket, prefix string // prefix is empty or ends with a slash
	exportPrefix   string // where files go; the same for associations
	imports        []types.EventType
	exports        []types.EventType
	since          time.Time // objects older than this are not new
	batch          bool      // import everything before the repository is available
}

func (r repository) on(events []types.EventType, e types.EventType) bool {
	return slices.Contains(events, e)
}

func (a association) repository() repository {
	d := a.Description
	r := repository{id: *d.AssociationId, fsID: *d.FileSystemId, path: strings.Trim(*d.FileSystemPath, "/"), since: *d.CreationTime,
		batch: aws.ToBool(d.BatchImportMetaDataOnCreate)}
	r.bucket, r.prefix, _ = parseS3Path(*d.DataRepositoryPath)
	r.exportPrefix = r.prefix
	if p := d.S3.AutoImportPolicy; p != nil {
		r.imports = p.Events
	}
	if p := d.S3.AutoExportPolicy; p != nil {
		r.exports = p.Events
	}
	return r
}

// repository returns what the file system itself is tied to.
func (f fileSystem) repository() (repository, bool) {
	l := f.Description.LustreConfiguration
	if l == nil || l.DataRepositoryConfiguration == nil {
		return repository{}, false
	}
	c := l.DataRepositoryConfiguration
	r := repository{id: *f.Description.FileSystemId, fsID: *f.Description.FileSystemId, since: *f.Description.CreationTime, batch: true}
	r.bucket, r.prefix, _ = parseS3Path(*c.ImportPath)
	_, r.exportPrefix, _ = parseS3Path(*c.ExportPath)
	switch c.AutoImportPolicy {
	case types.AutoImportPolicyTypeNew:
		r.imports = []types.EventType{types.EventTypeNew}
	case types.AutoImportPolicyTypeNewChanged:
		r.imports = []types.EventType{types.EventTypeNew, types.EventTypeChanged}
	case types.AutoImportPolicyTypeNewChangedDeleted:
		r.imports = types.EventTypeNew.Values()
	}
	return r, true
}

// A link carries the changes of one repository, one at a time, so that an import
// and the export that it looks like to the watcher cannot meet.
//
// What it did is in the table "fsx.synced": for each file the state in which file
// and object were last the same. A file that differs from that was changed on an
// instance, an object that differs was changed in S3, and where neither differs
// there is nothing to do: that is how a link knows its own echo.
type link struct {
	s      *Service
	repo   repository
	cancel context.CancelFunc
	done   chan struct{}
	wake   chan struct{} // holds one token when there is work

	mu   sync.Mutex
	work work
}

// work is what a link has been told to look at.
type work struct {
	keys  map[string]bool // objects, by the path that they have as files
	paths map[string]bool // files
	trees map[string]bool // directories whose files may be new
	gone  map[string]bool // directories whose known files may be gone
	all   bool            // everything: messages were missed
}

func newWork() work {
	return work{keys: map[string]bool{}, paths: map[string]bool{}, trees: map[string]bool{}, gone: map[string]bool{}}
}

// connect starts the flow of a repository.
func (s *Service) connect(repo repository) {
	ctx, cancel := context.WithCancel(s.ctx)
	l := &link{s: s, repo: repo, cancel: cancel, done: make(chan struct{}), wake: make(chan struct{}, 1), work: newWork()}
	s.linksMu.Lock()
	if s.links[repo.id] != nil || ctx.Err() != nil {
		s.linksMu.Unlock()
		cancel()
		return
	}
	s.links[repo.id] = l
	s.linksMu.Unlock()
	s.busy.Go(func() {
		defer close(l.done)
		l.run(ctx)
	})
}

// disconnect ends the flow of a repository and waits until it has ended.
func (s *Service) disconnect(id string) {
	s.linksMu.Lock()
	l := s.links[id]
	delete(s.links, id)
	s.linksMu.Unlock()
	if l != nil {
		l.cancel()
		<-l.done
	}
}

// objectChanged hands a change in S3 to the links that it concerns.
func (s *Service) objectChanged(bucket, key string, _ bool) {
	s.linksMu.RLock()
	defer s.linksMu.RUnlock()
	for _, l := range s.links {
		if l.repo.bucket != bucket || len(l.repo.imports) == 0 {
			continue
		}
		if path, ok := strings.CutPrefix(key, l.repo.prefix); ok && path != "" {
			l.note(func(w *work) { w.keys[path] = true })
		}
	}
}

// note records work and wakes the link.
func (l *link) note(record func(*work)) {
	l.mu.Lock()
	record(&l.work)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take returns the recorded work and forgets it.
func (l *link) take() work {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.work
	l.work = newWork()
	return w
}

func sorted(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// run does the link's work until ctx ends.
func (l *link) run(ctx context.Context) {
	files, err := l.s.openFiles(l.repo)
	if err != nil {
		l.s.settle(l.repo, err)
		return
	}
	defer files.close()
	if len(l.repo.exports) > 0 {
		w, err := watch(files.dir, l)
		if err != nil {
			l.s.settle(l.repo, fmt.Errorf("watch %s: %w", l.repo.path, err))
			return
		}
		defer w.close()
	}
	if l.s.creating(l.repo) {
		passedOver, err := l.begin(ctx, files)
		if ctx.Err() != nil {
			return // begun again when the region is up again
		}
		l.s.settle(l.repo, err)
		if err != nil {
			return
		}
		if passedOver != nil {
			l.s.note(l.repo, passedOver)
		}
	} else {
		l.note(func(w *work) { w.all = true })
	}
	for failed := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		err := l.carry(ctx, files, l.take())
		if ctx.Err() == nil && (err != nil || failed) {
			l.s.note(l.repo, err)
			failed = err != nil
		}
	}
}

// begin does what makes a repository available. Objects that cannot become files
// are passed over; the first reason is returned beside the error.
func (l *link) begin(ctx context.Context, files *files) (passedOver, err error) {
	if !l.s.objects.HasBucket(l.repo.bucket) {
		return nil, fmt.Errorf("the S3 bucket %s does not exist", l.repo.bucket)
	}
	if !l.repo.batch {
		return nil, nil
	}
	return passedOver, l.s.objects.Entries(ctx, l.repo.bucket, l.repo.prefix, func(e s3.Entry) error {
		err := l.fetchNew(ctx, files, e)
		if err == nil || ctx.Err() != nil || broken(err) {
			return err
		}
		if passedOver == nil {
			passedOver = err
		}
		return nil
	})
}

// broken reports whether err is about the disk rather than about one file.
func broken(err error) bool {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// carry looks at objects and files that may have changed. One that cannot be
// carried does not keep back the others.
func (l *link) carry(ctx context.Context, files *files, w work) error {
	var errs []error
	try := func(err error) {
		if err != nil && len(errs) < 10 {
			errs = append(errs, err)
		}
	}
	if w.all {
		try(l.reconcile(ctx))
	}
	for _, key := range sorted(w.keys) {
		try(l.importObject(ctx, files, key))
	}
	for _, tree := range tops(sorted(w.trees)) {
		try(files.walk(tree, func(path string) error {
			try(l.exportFile(ctx, files, path))
			return ctx.Err()
		}))
	}
	if len(w.gone) > 0 {
		for _, path := range l.s.syncedBelow(l.repo.id, w.gone) {
			w.paths[path] = true
		}
	}
	for _, path := range sorted(w.paths) {
		try(l.exportFile(ctx, files, path))
	}
	return errors.Join(errs...)
}

// tops leaves out the directories that are below another of the sorted list.
func tops(dirs []string) []string {
	var out []string
	for _, d := range dirs {
		if n := len(out); n > 0 && (out[n-1] == "." || strings.HasPrefix(d, out[n-1]+"/")) {
			continue
		}
		out = append(out, d)
	}
	return out
}

// reconcile notes everything, after a time in which nobody watched.
func (l *link) reconcile(ctx context.Context) error {
	everywhere := map[string]bool{".": true}
	if len(l.repo.exports) > 0 {
		l.note(func(w *work) { w.trees["."], w.gone["."] = true, true })
	}
	if len(l.repo.imports) == 0 {
		return nil
	}
	for _, path := range l.s.syncedBelow(l.repo.id, everywhere) {
		l.note(func(w *work) { w.keys[path] = true })
	}
	return l.s.objects.Entries(ctx, l.repo.bucket, l.repo.prefix, func(e s3.Entry) error {
		if !e.Modified.Before(l.repo.since) {
			l.note(func(w *work) { w.keys[strings.TrimPrefix(e.Key, l.repo.prefix)] = true })
		}
		return nil
	})
}

// importObject carries one object into the file system, if it changed in S3 and
// the policy says so.
func (l *link) importObject(ctx context.Context, files *files, path string) error {
	row, known := l.s.synced.Get(l.row(path))
	e, err := l.s.objects.Stat(ctx, l.repo.bucket, l.repo.prefix+path)
	switch {
	case code(err) == "NoSuchKey" || code(err) == "NoSuchBucket":
		if !known || !l.repo.on(l.repo.imports, types.EventTypeDeleted) || files.changed(path, row) {
			return nil
		}
		if err := l.s.synced.Delete(l.row(path)); err != nil {
			return err
		}
		return files.remove(path)
	case err != nil:
		return err
	case known && row.ETag == e.ETag:
		return nil
	case !known && !l.repo.on(l.repo.imports, types.EventTypeNew):
		return nil
	case !known:
		return l.fetchNew(ctx, files, e)
	case !l.repo.on(l.repo.imports, types.EventTypeChanged) || files.changed(path, row):
		return nil // a change on an instance wins, until it is exported
	}
	return l.fetch(ctx, files, e)
}

// fetchNew imports an object unless there is a file in its place.
func (l *link) fetchNew(ctx context.Context, files *files, e s3.Entry) error {
	path := strings.TrimPrefix(e.Key, l.repo.prefix)
	dir, isDir := strings.CutSuffix(path, "/")
	switch {
	case dir == "": // the prefix itself
		return nil
	case !validPath(dir):
		return fmt.Errorf("import %s: the name is not one of a file", e.Key)
	case isDir:
		return files.mkdirAs(dir, e.Meta)
	case files.exists(path):
		return nil
	}
	return l.fetch(ctx, files, e)
}

// validPath reports whether an object's key names a file.
func validPath(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || len(part) > 255 {
			return false
		}
	}
	return !strings.Contains(path, "\x00")
}

// fetch copies an object to its file.
func (l *link) fetch(ctx context.Context, files *files, e s3.Entry) error {
	path := strings.TrimPrefix(e.Key, l.repo.prefix)
	body, now, err := l.s.objects.Open(ctx, l.repo.bucket, e.Key)
	if code(err) == "NoSuchKey" {
		return nil // deleted since
	}
	if err != nil {
		return err
	}
	defer body.Close()
	row, err := files.write(path, body, now)
	if err != nil {
		return fmt.Errorf("import %s: %w", e.Key, err)
	}
	return l.s.synced.Put(l.row(path), row)
}

// exportFile carries one file to the bucket, if it changed on an instance and the
// policy says so.
func (l *link) exportFile(ctx context.Context, files *files, path string) error {
	row, known := l.s.synced.Get(l.row(path))
	state, err := files.state(path)
	if err != nil {
		return err
	}
	event := types.EventTypeChanged
	switch {
	case state == nil && !known:
		return nil
	case state == nil:
		event = types.EventTypeDeleted
	case !known:
		event = types.EventTypeNew
	case state.same(row):
		return nil
	}
	if !l.repo.on(l.repo.exports, event) {
		return nil
	}
	if state == nil {
		if err := l.s.synced.Delete(l.row(path)); err != nil {
			return err
		}
		return l.s.objects.Remove(ctx, l.repo.bucket, l.repo.exportPrefix+path)
	}
	return l.export(ctx, files, path)
}

// export copies a file to its object.
func (l *link) export(ctx context.Context, files *files, path string) error {
	f, state, err := files.open(path)
	if err != nil || f == nil {
		return err
	}
	defer f.Close()
	e, err := l.s.objects.Put(ctx, l.repo.bucket, l.repo.exportPrefix+path, f, state.meta())
	if err != nil {
		return fmt.Errorf("export %s: %w", path, err)
	}
	state.ETag = e.ETag
	return l.s.synced.Put(l.row(path), *state)
}

func (l *link) row(path string) string { return l.repo.id + "/" + path }

// syncedBelow returns the paths of a repository's known files below any of some
// directories.
func (s *Service) syncedBelow(repo string, dirs map[string]bool) []string {
	var out []string
	for _, row := range s.synced.Keys() {
		path, ok := strings.CutPrefix(row, repo+"/")
		if !ok {
			continue
		}
		for dir := path; dir != "."; {
			if dir = pathpkg.Dir(dir); dirs[dir] {
				out = append(out, path)
				break
			}
		}
	}
	return out
}

func (s *Service) forgetSynced(repo string) error {
	for _, path := range s.syncedBelow(repo, map[string]bool{".": true}) {
		if err := s.synced.Delete(repo + "/" + path); err != nil {
			return err
		}
	}
	return nil
}

// creating reports whether a repository is not available yet.
func (s *Service) creating(repo repository) bool {
	if repo.id == repo.fsID {
		f, _ := s.fileSystems.Get(repo.fsID)
		return f.Description.Lifecycle == types.FileSystemLifecycleCreating
	}
	a, _ := s.associations.Get(repo.id)
	return a.Description.Lifecycle == types.DataRepositoryLifecycleCreating
}

// settle makes a repository available, or failed with the reason.
func (s *Service) settle(repo repository, reason error) {
	if repo.id == repo.fsID {
		_, _ = s.fileSystems.Update(repo.fsID, func(f *fileSystem) error {
			f.Description.Lifecycle, f.Description.FailureDetails = types.FileSystemLifecycleAvailable, nil
			if reason != nil {
				f.Description.Lifecycle = types.FileSystemLifecycleFailed
				f.Description.FailureDetails = &types.FileSystemFailureDetails{Message: aws.String(reason.Error())}
			}
			return nil
		})
		return
	}
	_, _ = s.associations.Update(repo.id, func(a *association) error {
		a.Description.Lifecycle, a.Description.FailureDetails = types.DataRepositoryLifecycleAvailable, nil
		if reason != nil {
			a.Description.Lifecycle, a.Description.FailureDetails = types.DataRepositoryLifecycleFailed, failure(reason)
		}
		return nil
	})
}

// note shows people that a change could not be carried, or with nil that changes
// can be carried again; the flow goes on.
func (s *Service) note(repo repository, reason error) {
	if repo.id == repo.fsID {
		_, _ = s.fileSystems.Update(repo.fsID, func(f *fileSystem) error {
			config := *f.Description.LustreConfiguration
			own := *config.DataRepositoryConfiguration
			own.FailureDetails = failure(reason)
			config.DataRepositoryConfiguration = &own
			f.Description.LustreConfiguration = &config
			return nil
		})
		return
	}
	_, _ = s.associations.Update(repo.id, func(a *association) error {
		a.Description.FailureDetails = failure(reason)
		return nil
	})
}

func failure(reason error) *types.DataRepositoryFailureDetails {
	if reason == nil {
		return nil
	}
	return &types.DataRepositoryFailureDetails{Message: aws.String(reason.Error())}
}

// rootOf returns the host directory of a file system.
func (s *Service) rootOf(fsID string) string { return filepath.Join(s.dir, fsID) }
