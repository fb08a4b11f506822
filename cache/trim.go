package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// A trim is a prune in pieces, for stores that nobody can look through in one go.
// It goes by times of use alone, which an entry's blobs share with the entry to the
// hour, and so needs no survey: first all files are measured, by the hour of their
// last use; from that follows until when something must have been used to stay; then
// the files are gone through again and what is older goes. How far it has come is in
// a file, so that the next trim goes on from there.
//
// What it does is coarser than [Store.Prune]: of the blobs that were used in the same
// hour any may go, and entries that have lost theirs stay until they are older.

// trimState is how far a trim has come.
type trimState struct {
	Phase int `json:"phase"` // of trimPhases
	Unit  int `json:"unit"`  // of 256: files whose names start with that byte
	// Stride is how many units of blobs are taken at once: their directory has to be
	// read as a whole each time.
	Stride int             `json:"stride"`
	Hours  map[int64]int64 `json:"hours"` // bytes by the hour of last use, since 1970
	// Cutoff is the hour before which everything goes, and Excess how many bytes of
	// that hour do.
	Cutoff int64 `json:"cutoff"`
	Excess int64 `json:"excess"`
}

const (
	trimFile  = "chores/trim.json"
	trimUnits = 256
)

// Trimming reports whether a trim has begun and is not done.
func (s *Store) Trimming() bool {
	_, err := lstat(s.root, trimFile)
	return err == nil
}

// Trim goes on with a trim, or begins one, until it is done or ctx ends. MaxAge,
// MaxSize, Reserved and Slice of the options count. The report is of this call.
func (s *Store) Trim(ctx context.Context, o PruneOptions) (r *PruneReport, done bool, err error) {
	r = &PruneReport{Kinds: map[string]KindPrune{}}
	if o.Slice == 0 {
		o.Slice = sliceTime
	}
	unlock, err := s.lockPrune()
	if err != nil {
		return r, false, fmt.Errorf("trim: %w", err)
	}
	defer unlock()
	s.lease.endImplicit() // of writing; it protects nothing any more
	t := &trimmer{pruner: pruner{s: s, o: o, report: r, start: time.Now()}, pinned: map[Digest]bool{}}
	t.since = t.start.Add(-clockMargin)
	pins, err := s.Pins(true)
	if err != nil {
		return r, false, fmt.Errorf("trim: %w", err)
	}
	for _, p := range pins {
		for _, b := range p.Blobs {
			t.pinned[b.Digest] = true
		}
	}
	if err := errors.Join(s.Sweep(), s.removePruned()); err != nil {
		return r, false, err
	}
	t.load()
	err = t.run(ctx)
	switch {
	case err == nil:
		err = s.root.Remove(trimFile)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		done = err == nil
	case ctx.Err() != nil:
		err = t.save()
	}
	if err != nil {
		err = fmt.Errorf("trim: %w", err)
	}
	return r, done, err
}

type trimmer struct {
	pruner
	state  trimState
	pinned map[Digest]bool
}

// load reads the state; one that is gone or damaged is a new trim's.
func (t *trimmer) load() {
	b, err := readFile(t.s.root, trimFile, 64<<20)
	if err == nil {
		err = json.Unmarshal(b, &t.state)
	}
	ok := err == nil && t.state.Phase >= 0 && t.state.Phase < len(t.phases()) && t.state.Unit >= 0 && t.state.Unit <= trimUnits
	if !ok {
		t.state = trimState{}
	}
	if t.state.Hours == nil {
		t.state.Hours = map[int64]int64{}
	}
	t.state.Stride = min(max(t.state.Stride, 1), trimUnits)
	if !ok {
		t.state.Stride = trimUnits
	}
}

func (t *trimmer) save() error {
	b, err := json.Marshal(t.state)
	if err != nil {
		return err
	}
	if err := t.s.root.MkdirAll("chores", 0o700); err != nil {
		return err
	}
	defer t.s.lease.endImplicit() // of the file
	return t.s.publish(trimFile, b)
}

func (t *trimmer) phases() []func(context.Context) error {
	return []func(context.Context) error{
		func(ctx context.Context) error { return t.entryUnits(ctx, t.measure) },
		func(ctx context.Context) error { return t.blobUnits(ctx, t.measure) },
		t.decide,
		func(ctx context.Context) error { return t.removing(ctx, t.entryUnits, t.trimEntry) },
		func(ctx context.Context) error { return t.removing(ctx, t.blobUnits, t.trimBlob) },
		t.rest,
	}
}

// rest drops what is small and says of the past what can be done without.
func (t *trimmer) rest(ctx context.Context) error {
	n, freed, err := t.s.PruneStats(t.start.Add(-recordAge))
	if err != nil {
		return err
	}
	quarantined, err := t.s.trimQuarantine(maxQuarantineFiles, maxQuarantineBytes, t.start.Add(-quarantineAge), false)
	if err == nil {
		err = t.s.dropSigns(t.start.Add(-quarantineAge))
	}
	if err != nil {
		return err
	}
	t.report.Files += n
	t.report.Freed += freed + quarantined
	return t.s.pruneTags(ctx, false)
}

func (t *trimmer) run(ctx context.Context) error {
	for phases := t.phases(); t.state.Phase < len(phases); t.state.Phase++ {
		if err := phases[t.state.Phase](ctx); err != nil {
			return err
		}
		t.state.Unit = 0
	}
	return nil
}

// removing is a phase that removes things, in slices.
func (t *trimmer) removing(ctx context.Context, units func(context.Context, func(context.Context, fs.FileInfo) error) error, remove func(context.Context, fs.FileInfo) error) error {
	if err := t.begin(ctx); err != nil {
		return err
	}
	defer t.end()
	return units(ctx, remove)
}

// entryUnits calls visit with each entry from the state's unit on.
func (t *trimmer) entryUnits(ctx context.Context, visit func(context.Context, fs.FileInfo) error) error {
	for ; t.state.Unit < trimUnits; t.state.Unit++ {
		for fi, err := range eachInfo(t.s.root, fmt.Sprintf("entries/%02x", t.state.Unit)) {
			if err == nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err == nil {
				err = visit(ctx, fi)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// blobUnits is entryUnits for blobs, which are in one directory. As many units are
// taken at once as have proved to be done in time.
func (t *trimmer) blobUnits(ctx context.Context, visit func(context.Context, fs.FileInfo) error) error {
	for t.state.Unit < trimUnits {
		end := min(t.state.Unit+t.state.Stride, trimUnits)
		first, last := fmt.Sprintf("%02x", t.state.Unit), fmt.Sprintf("%02x", end-1)
		for e, err := range eachName(t.s.root, "blobs/sha256") {
			if err == nil && ctx.Err() != nil {
				t.state.Stride = max(t.state.Stride/2, 1)
				err = context.Cause(ctx)
			}
			if err != nil {
				return err
			}
			if name := e.Name(); len(name) < 2 || name[:2] < first || name[:2] > last {
				continue
			}
			fi, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = visit(ctx, fi)
			}
			if err != nil {
				return err
			}
		}
		t.state.Unit = end
	}
	return nil
}

const secondsPerHour = 3600

func hourOf(at time.Time) int64 { return at.Unix() / secondsPerHour }

func (t *trimmer) measure(_ context.Context, fi fs.FileInfo) error {
	t.state.Hours[hourOf(fi.ModTime())] += fi.Size()
	return nil
}

// decide finds out what goes, from what was measured.
func (t *trimmer) decide(context.Context) error {
	st := &t.state
	st.Excess = 0
	st.Cutoff = 0
	if t.o.MaxAge > 0 {
		st.Cutoff = hourOf(t.start.Add(-t.o.MaxAge))
	}
	if t.o.MaxSize < 0 {
		return nil
	}
	hours := make([]int64, 0, len(st.Hours))
	for h := range st.Hours {
		hours = append(hours, h)
	}
	slices.Sort(hours)
	size := t.o.Reserved
	for _, h := range slices.Backward(hours) {
		if size += st.Hours[h]; size > t.o.MaxSize {
			if h >= st.Cutoff {
				st.Cutoff, st.Excess = h, size-t.o.MaxSize
			}
			break
		}
	}
	return nil
}

func (t *trimmer) trimEntry(ctx context.Context, fi fs.FileInfo) error {
	k, err := ParseKey(digestPrefix + fi.Name())
	if nerr := t.next(ctx); nerr != nil || err != nil || hourOf(fi.ModTime()) >= t.state.Cutoff {
		return nerr
	}
	e := &entryState{key: k, size: fi.Size(), used: fi.ModTime()}
	if b, _, err := t.s.readEntry(k); err == nil {
		if read, err := decodeEntry(b, k); err == nil {
			e.kind = read.Kind
			for _, b := range read.Output.Blobs {
				e.output = append(e.output, &blobState{digest: b.Digest, pinned: t.pinned[b.Digest]})
			}
		}
	}
	return t.entry(e)
}

func (t *trimmer) trimBlob(ctx context.Context, fi fs.FileInfo) error {
	d, err := ParseDigest(digestPrefix + fi.Name())
	if nerr := t.next(ctx); nerr != nil || err != nil || t.pinned[d] {
		return nerr
	}
	h := hourOf(fi.ModTime())
	if h > t.state.Cutoff || h == t.state.Cutoff && t.state.Excess <= 0 {
		return nil
	}
	n, err := t.blob(&blobState{digest: d, size: fi.Size(), used: fi.ModTime()})
	if h == t.state.Cutoff {
		t.state.Excess -= n
	}
	return err
}
