// Package history keeps a record of each run: what ran, what was cached, what
// failed, and how long it took. It is bounded in number and size.
package history

import (
	"cmp"
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
	Error         string         `json:"error,omitempty"` // that ended it, if it was not that of a node
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
	Reasons []graph.Reason `json:"reasons,omitempty"` // why its work was done or tried
}

const formatVersion = "1"

// Log is the directory that holds the records, a file each, mode 0600.
type Log struct{ Dir string }

const suffix = ".json"

func (l Log) path(id string) string { return filepath.Join(l.Dir, id+suffix) }

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
