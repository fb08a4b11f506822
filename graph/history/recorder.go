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
	log   Log
	run   Run
	lock  *flock.Flock // of the record, while the run is under way
	noted []*graph.Result
	index map[string]int // of noted, by address
	wrote time.Time
	cost  time.Duration // of writing the record last
}

// Start begins the record of a run. It reaches the disk only with
// [Recorder.Begin] or [Recorder.End].
func (l Log) Start(project, version string, targets []string, now time.Time) *Recorder {
	return &Recorder{log: l, index: map[string]int{}, run: Run{
		FormatVersion: formatVersion, ID: strings.Replace(now.UTC().Format("20060102T150405.000000"), ".", "", 1) + "-" + strings.ToLower(rand.Text()[:6]),
		Project: project, Version: version, Targets: targets, Started: now.UTC(), Status: Running,
		Counts: map[string]int{}, Nodes: []Node{},
	}}
}

// ID names the run.
func (r *Recorder) ID() string { return r.run.ID }

// Begun reports whether the record is on disk already.
func (r *Recorder) Begun() bool { return r.lock != nil }

// Begin writes that the run is under way, before its work starts: if it is
// killed, the record remains. It is not called for a run without work.
func (r *Recorder) Begin() error {
	if r.lock != nil {
		return nil
	}
	return r.write(true)
}

// rarely is how much longer than it took to write the record it stays as it is.
const rarely = 20

// Note takes how a node has ended while the run is under way: if that is killed, its
// record says what it had done by then. One call at a time.
func (r *Recorder) Note(res *graph.Result) {
	i, again := r.index[res.Node.Address]
	switch {
	case !again:
		r.index[res.Node.Address] = len(r.noted)
		r.noted = append(r.noted, res)
	case res.Status != graph.Cached: // else it was planned once more, and this is what it did before
		r.noted[i] = res
	}
	if r.lock == nil || res.Status != graph.Ran && res.Status != graph.Failed || time.Since(r.wrote) < rarely*r.cost {
		return
	}
	start := time.Now()
	r.take(r.noted)
	_ = r.write(true) // if it cannot be written, End says so
	r.wrote = time.Now()
	r.cost = r.wrote.Sub(start)
}

// End writes how the run ended and makes room for it. report may be nil.
func (r *Recorder) End(status Status, report *graph.Report, failure error, now time.Time) error {
	r.run.Status, r.run.Seconds = status, now.Sub(r.run.Started).Seconds()
	results := r.noted
	if report != nil {
		results = report.Results
	}
	r.take(results)
	if failure != nil && (report == nil || len(r.run.Nodes) == 0) {
		r.run.Error = clip(failure.Error())
	}
	worked := r.lock != nil
	err := r.write(false)
	if r.lock != nil { // it could not be written
		r.lock.Close()
	}
	return errors.Join(err, r.log.prune(worked))
}

// take makes the results those of the record.
func (r *Recorder) take(results []*graph.Result) {
	r.run.Counts, r.run.Nodes, r.run.Omitted = map[string]int{}, make([]Node, 0, len(results)), 0
	for _, res := range results {
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
		if res.Status != graph.Cached && !res.Started.IsZero() {
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
// It is not synced: a record that a power failure has damaged is passed over. With
// underWay it is locked before it is there, and with it the run is known to be alive.
func (r *Recorder) write(underWay bool) error {
	b, err := json.Marshal(&r.run)
	if err == nil {
		err = os.MkdirAll(r.log.Dir, 0o700)
	}
	tmp := filepath.Join(r.log.Dir, ".tmp-"+r.run.ID)
	if err == nil {
		err = os.WriteFile(tmp, b, 0o600)
	}
	var lock *flock.Flock
	if err == nil && underWay {
		lock = flock.New(tmp, flock.SetFlag(os.O_RDONLY))
		_, err = lock.TryLock() // nobody else knows of the file
	}
	if err == nil {
		err = os.Rename(tmp, r.log.path(r.run.ID))
	}
	if err != nil {
		if lock != nil {
			lock.Close()
		}
		return fmt.Errorf("record run: %w", err)
	}
	if r.lock != nil {
		r.lock.Close()
	}
	r.lock = lock
	return nil
}
