package cache

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
)

// A lease says: a process uses the store. It is a file of leases/ that the
// process holds locked, so that a dead one's is known; the file's time of
// modification is when the lease began. What a lease protects is told by times
// of use alone:
//
//   - A process with a lease gives each entry and blob that it finds or writes a
//     time of use of at least the lease's begin less useInterval. Mostly it has
//     one, and nothing is written. Else it is set under the shared sweep lock,
//     so that it cannot be removed at the same moment.
//   - Nothing that was used later than useInterval before the begin of the
//     oldest live lease is removed.
//   - [Store.Put] sets the time of use of all the entry's blobs: what a removal
//     that began earlier took for unused is used from then on.

// useInterval is how old a time of use may be before it is set anew. A variable
// for tests.
var useInterval = time.Hour

// clockMargin covers clocks of file systems that tick in steps. A variable for tests.
var clockMargin = 2 * time.Second

// leaseHolder is a store's lease, if it has one.
type leaseHolder struct {
	mu       sync.Mutex
	name     string // of the file in leases/
	file     *flock.Flock
	holds    int  // of Hold
	implicit bool // taken by a write without Hold; kept until Close
	// begin is when the lease began, in nanoseconds since 1970; 0: there is none.
	begin atomic.Int64
}

// Hold protects everything that this store finds or writes from now on, until
// release is called: no process removes it meanwhile. What was found before is
// not protected. Without it, readers are never sure that what they have found
// is still there a moment later; writers are, as a store that writes holds a
// lease until it is closed.
func (s *Store) Hold() (release func(), err error) {
	l := &s.lease
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.begins(s); err != nil {
		return nil, err
	}
	l.holds++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.holds--
		if l.holds == 0 && !l.implicit {
			_ = l.drop()
		}
	}), nil
}

// writer makes sure that there is a lease and returns its name, with which
// temporary files begin.
func (s *Store) writer() (name string, err error) {
	l := &s.lease
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		if err := l.begins(s); err != nil {
			return "", err
		}
		l.implicit = true
	}
	return l.name, nil
}

// begins takes the lease if it is not there; l.mu is held.
func (l *leaseHolder) begins(s *Store) error {
	if l.file != nil {
		return nil
	}
	if s.view != nil {
		return errView
	}
	// Whoever removes things sees all leases: none begins while it does.
	unlock, err := s.lockShared()
	if err != nil {
		return err
	}
	defer unlock()
	var f *flock.Flock
	name, now := "", time.Now()
	for locked := false; !locked; {
		name = rand.Text()
		path := filepath.Join(s.dir, "leases", name)
		f = flock.New(path, flock.SetFlag(os.O_RDWR|os.O_CREATE|os.O_EXCL), flock.SetPermissions(0o600))
		locked, err = f.TryLock()
		if err == nil && locked {
			err = os.Chtimes(path, now, now)
			locked = current(f, path) // else someone has taken it for a dead one's
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.Close()
			return fmt.Errorf("take a lease of the cache: %w", err)
		}
	}
	l.name, l.file = name, f
	l.begin.Store(now.UnixNano())
	return nil
}

// drop ends the lease; l.mu is held.
func (l *leaseHolder) drop() error {
	if l.file == nil {
		return nil
	}
	l.begin.Store(0)
	err := os.Remove(l.file.Path())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	err = errors.Join(err, l.file.Close())
	l.file, l.name, l.implicit = nil, "", false
	return err
}

// endImplicit ends a lease that nobody holds.
func (l *leaseHolder) endImplicit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holds == 0 {
		_ = l.drop()
	}
}

func (l *leaseHolder) end() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holds = 0
	return l.drop()
}

// use makes sure that the file, last used at the given time, stays there for as
// long as the store's lease lasts. Without a lease it does nothing. The error
// wraps [fs.ErrNotExist] if the file is gone.
func (s *Store) use(root *os.Root, name string, used time.Time) error {
	begin := s.lease.begin.Load()
	if begin == 0 || used.UnixNano() >= begin-int64(useInterval) {
		return nil
	}
	unlock, err := s.lockShared()
	if err != nil {
		return err
	}
	defer unlock()
	return s.stamp(root, name)
}

// stamp sets the time of use to now; the sweep lock is held.
func (s *Store) stamp(root *os.Root, name string) error {
	now := time.Now()
	if begin := time.Unix(0, s.lease.begin.Load()); now.Before(begin) { // the clock was set back
		now = begin
	}
	return root.Chtimes(name, now, now)
}

// Lease is a live lease of some process.
type Lease struct {
	Name  string    `json:"name"`
	Begin time.Time `json:"begin"`
}

// Leases returns the leases of processes that live. Those of dead ones are
// removed on the way.
func (s *Store) Leases() ([]Lease, error) {
	var live []Lease
	for e, err := range eachName(s.root, "leases") {
		if err != nil {
			return nil, fmt.Errorf("read leases: %w", err)
		}
		path := filepath.Join(s.dir, "leases", e.Name())
		removed, err := s.buryLease(path)
		if err != nil {
			return nil, fmt.Errorf("read leases: %w", err)
		}
		fi, err := os.Lstat(path)
		if removed || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read leases: %w", err)
		}
		live = append(live, Lease{e.Name(), fi.ModTime()})
	}
	return live, nil
}

// buryLease removes the lease of a process that is dead, or in a view only tells.
func (s *Store) buryLease(path string) (dead bool, err error) {
	if s.view == nil {
		return removeIfFree(path)
	}
	f := flock.New(path, flock.SetFlag(os.O_RDONLY))
	dead, err = f.TryLock()
	f.Close()
	return dead, err
}

// leaseNameLen is the length of a lease's name, as rand.Text makes it.
const leaseNameLen = 26

func (s *Store) leaseLives(name string) bool {
	_, err := s.root.Lstat("leases/" + name)
	return err == nil
}

// heldSince returns the time since which what was used may be in use by a
// process that lives: the far future if there is none. The sweep lock is held.
func (s *Store) heldSince() (time.Time, error) {
	leases, err := s.Leases()
	if err != nil {
		return time.Time{}, err
	}
	since := farFuture
	for _, l := range leases {
		if t := l.Begin.Add(-useInterval - clockMargin); t.Before(since) {
			since = t
		}
	}
	return since, nil
}

var farFuture = time.Unix(1<<62, 0)
