package history

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"bottlebuild/graph"
)

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
func (r *Recorder) End(status Status, report *graph.Report, failure error, now time.Time) error {
	r.run.Status, r.run.Seconds = status, now.Sub(r.run.Started).Seconds()
	if report != nil {
		r.take(report)
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

func (r *Recorder) take(report *graph.Report) {
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
			n.Started, n.Reasons = &started, first(res.Reasons)
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
