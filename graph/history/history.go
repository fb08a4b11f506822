// Package history keeps a record of each run: what ran, what was cached, what
// failed, and how long it took. It is bounded in number and size.
package history

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"bottlebuild/cache"
	"bottlebuild/graph"
)

// Bounds. What is over them goes: of a run's nodes those that were cached first,
// of runs the oldest.
const (
	MaxRuns   = 200
	slack     = 20       // runs over MaxRuns that one without work leaves to the next
	MaxBytes  = 32 << 20 // of all records together
	maxNodes  = 2000     // of a record
	maxText   = 2000     // bytes of an error
	maxRecord = 8 << 20  // bytes; a longer file is none
)

// Status says how a run ended.
type Status string

// The statuses.
const (
	Running     Status = "running"
	Done        Status = "done"
	Failed      Status = "failed"
	Interrupted Status = "interrupted"
	Killed      Status = "killed" // it left no end
)

// Run is the record of one run. It holds no values of variables or secrets.
type Run struct {
	FormatVersion string         `json:"format_version"`
	ID            string         `json:"id"`
	Project       string         `json:"project"` // scope: the bottle file, or the directory of them
	Targets       []string       `json:"targets,omitempty"`
	Version       string         `json:"version"` // of bottlebuild
	Started       time.Time      `json:"started"`
	Seconds       float64        `json:"seconds"`
	Status        Status         `json:"status"`
	Error         string         `json:"error,omitempty"` // that ended it before any node was tried
	Counts        map[string]int `json:"counts"`          // of nodes, by status
	Nodes         []Node         `json:"nodes"`           // in the order of the plan
	Omitted       int            `json:"omitted,omitempty"`
}

// Node is how one node of a run ended.
type Node struct {
	Address string         `json:"address"`
	Kind    string         `json:"kind"`
	Status  graph.Status   `json:"status"`
	Action  string         `json:"action,omitempty"`
	Key     *cache.Key     `json:"key,omitempty"`
	Digest  *cache.Digest  `json:"digest,omitempty"`
	Started *time.Time     `json:"started,omitempty"`
	Seconds float64        `json:"seconds"`
	Bytes   int64          `json:"bytes"`
	Error   string         `json:"error,omitempty"`
	Reasons []graph.Reason `json:"reasons,omitempty"` // of the plan
}

const formatVersion = "1"

// Log is the directory that holds the records, a file each, mode 0600.
type Log struct{ Dir string }

// Recorder is a run that has started and not ended.
type Recorder struct {
	log  Log
	run  Run
	lock *flock.Flock
}

// Start begins the record of a run. It reaches the disk only with
// [Recorder.Begin] or [Recorder.End].
func (l Log) Start(project, version string, targets []string, now time.Time) *Recorder {
	return &Recorder{log: l, run: Run{
		FormatVersion: formatVersion, ID: strings.Replace(now.UTC().Format("20060102T150405.000000"), ".", "", 1) + "-" + strings.ToLower(rand.Text()[:6]),
		Project: project, Version: version, Targets: targets, Started: now.UTC(), Status: Running,
		Counts: map[string]int{}, Nodes: []Node{},
	}}
}

// ID names the run.
func (r *Recorder) ID() string { return r.run.ID }

// Begin writes that the run is under way, before its work starts: if it is
// killed, the record remains. It is not called for a run without work.
func (r *Recorder) Begin() error {
	if r.lock != nil {
		return nil
	}
	if err := r.write(); err != nil {
		return err
	}
	lock := flock.New(r.log.path(r.run.ID), flock.SetFlag(os.O_RDONLY))
	if _, err := lock.TryLock(); err != nil {
		return fmt.Errorf("record run: %w", err)
	}
	r.lock = lock
	return nil
}

// End writes how the run ended and makes room for it. report may be nil.
func (r *Recorder) End(status Status, report *graph.Report, reasons map[string][]graph.Reason, failure error, now time.Time) error {
	r.run.Status, r.run.Seconds = status, now.Sub(r.run.Started).Seconds()
	if report != nil {
		r.take(report, reasons)
	}
	if failure != nil && len(r.run.Nodes) == 0 {
		r.run.Error = clip(failure.Error())
	}
	err := r.write()
	if r.lock != nil {
		r.lock.Close()
	}
	worked := r.lock != nil
	return errors.Join(err, r.log.prune(worked))
}

func (r *Recorder) take(report *graph.Report, reasons map[string][]graph.Reason) {
	for _, res := range report.Results {
		r.run.Counts[string(res.Status)]++
		n := Node{
			Address: res.Node.Address, Kind: res.Node.Kind, Status: res.Status, Action: res.Action,
			Seconds: res.Elapsed.Seconds(), Bytes: res.Bytes,
		}
		if !res.Key.IsZero() {
			n.Key = &res.Key
		}
		if !res.Output.Digest.IsZero() {
			n.Digest = &res.Output.Digest
		}
		if res.Err != nil {
			n.Error = clip(res.Err.Error())
		}
		if res.Status == graph.Ran || res.Status == graph.Failed {
			started := res.Started.UTC()
			n.Started, n.Reasons = &started, first(reasons[n.Address])
		}
		r.run.Nodes = append(r.run.Nodes, n)
	}
	if over := len(r.run.Nodes) - maxNodes; over > 0 {
		keep := slices.Clone(r.run.Nodes)
		slices.SortStableFunc(keep, func(a, b Node) int { return cmp.Compare(rank(a.Status), rank(b.Status)) })
		kept := make(map[string]bool, maxNodes)
		for _, n := range keep[:maxNodes] {
			kept[n.Address] = true
		}
		r.run.Nodes = slices.DeleteFunc(r.run.Nodes, func(n Node) bool { return !kept[n.Address] })
		r.run.Omitted = over
	}
}

// rank orders nodes by how much one wants to know of them later.
func rank(s graph.Status) int {
	return slices.Index([]graph.Status{graph.Failed, graph.Ran, graph.Skipped, graph.Cached}, s)
}

// first bounds how many reasons are kept.
func first(reasons []graph.Reason) []graph.Reason {
	const most = 10
	return reasons[:min(len(reasons), most)]
}

func clip(text string) string {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + " […]"
	}
	return text
}

const suffix = ".json"

func (l Log) path(id string) string { return filepath.Join(l.Dir, id+suffix) }

// write puts the record in place whole: a reader sees this one or the one before.
// It is not synced: a record that a power failure has damaged is passed over.
func (r *Recorder) write() error {
	b, err := json.Marshal(&r.run)
	if err == nil {
		err = os.MkdirAll(r.log.Dir, 0o700)
	}
	if err == nil {
		tmp := filepath.Join(r.log.Dir, ".tmp-"+r.run.ID)
		if err = os.WriteFile(tmp, b, 0o600); err == nil {
			err = os.Rename(tmp, r.log.path(r.run.ID))
		}
	}
	if err != nil {
		return fmt.Errorf("record run: %w", err)
	}
	return nil
}

// ids returns the runs there are, newest first.
func (l Log) ids() ([]string, error) {
	entries, err := os.ReadDir(l.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), suffix); ok && e.Type().IsRegular() {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(b, a) })
	return ids, nil
}

// prune removes the oldest records over the bounds, and what killed runs left
// half written. It looks at every record, so a run that did no work leaves that
// to another as long as there are few too many.
func (l Log) prune(now bool) error {
	entries, err := os.ReadDir(l.Dir)
	if err != nil {
		return fmt.Errorf("prune runs: %w", err)
	}
	if !now && len(entries) <= MaxRuns+slack {
		return nil
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return cmp.Compare(b.Name(), a.Name()) })
	var errs []error
	var size int64
	runs := 0
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			continue // another process has removed it
		}
		drop := strings.HasPrefix(e.Name(), ".tmp-") && time.Since(fi.ModTime()) > time.Hour
		if strings.HasSuffix(e.Name(), suffix) {
			runs++
			size += fi.Size()
			drop = runs > 1 && (runs > MaxRuns || size > MaxBytes)
		}
		if drop {
			if err := os.Remove(filepath.Join(l.Dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("prune runs: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}

// Runs yields the records, newest first, of one project, or of all if project
// is empty. Damaged ones are passed over.
func (l Log) Runs(project string, yield func(*Run) bool) error {
	ids, err := l.ids()
	if err != nil {
		return err
	}
	for _, id := range ids {
		run, err := l.read(id)
		if err != nil || project != "" && run.Project != project {
			continue
		}
		if !yield(run) {
			return nil
		}
	}
	return nil
}

// ErrNone is returned by [Log.Find] if no run is meant.
var ErrNone = errors.New("there is no such run")

// Find returns the run whose ID starts with prefix, or the newest of the project
// for an empty prefix.
func (l Log) Find(project, prefix string) (*Run, error) {
	if prefix == "" {
		var newest *Run
		err := l.Runs(project, func(r *Run) bool { newest = r; return false })
		if err == nil && newest == nil {
			err = ErrNone
		}
		return newest, err
	}
	ids, err := l.ids()
	if err != nil {
		return nil, err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return !strings.HasPrefix(id, prefix) })
	switch len(ids) {
	case 0:
		return nil, ErrNone
	case 1:
		return l.read(ids[0])
	}
	return nil, fmt.Errorf("%d runs start with %q", len(ids), prefix)
}

func (l Log) read(id string) (*Run, error) {
	f, err := os.Open(l.path(id))
	if err != nil {
		return nil, fmt.Errorf("read run %s: %w", id, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err == nil && len(b) > maxRecord {
		err = fmt.Errorf("it is over %d bytes", maxRecord)
	}
	run := &Run{}
	if err == nil {
		err = json.Unmarshal(b, run)
	}
	if err == nil && (run.ID != id || run.FormatVersion != formatVersion) {
		err = errors.New("it is no record of this version")
	}
	if err != nil {
		return nil, fmt.Errorf("read run %s: %w", id, err)
	}
	if run.Status == Running && !l.alive(id) {
		run.Status = Killed
	}
	return run, nil
}

// alive tells whether the process of a run that has not ended still holds its record.
func (l Log) alive(id string) bool {
	lock := flock.New(l.path(id), flock.SetFlag(os.O_RDONLY))
	defer lock.Close()
	free, err := lock.TryRLock()
	return err == nil && !free
}
