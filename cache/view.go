package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// errView is the error of a change to a store that is only looked at.
var errView = errors.New("the cache is only looked at here, not changed")

// View opens the store in dir to look at it: nothing on disk is changed, and a
// dir that is not there is not made and reads as empty. What is found damaged is
// a miss from then on and stays where it is. Blobs may be put; they are kept in
// memory, at most [maxViewed] bytes of them, and end with the view. Locks are not
// taken, and stat tables are not written. Any other change is an error.
func View(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache %s: %w", dir, err)
	}
	s := &Store{dir: dir, view: &overlay{blobs: map[Digest][]byte{}, hidden: map[string]bool{}}}
	if err := checkPrivate(dir); errors.Is(err, fs.ErrNotExist) {
		return s, nil
	} else if err != nil {
		return nil, fmt.Errorf("open cache %s: %w", dir, err)
	}
	for name, root := range map[string]**os.Root{".": &s.root, "blobs/sha256": &s.blobs, "entries": &s.entries} {
		*root, err = os.OpenRoot(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(fmt.Errorf("open cache %s: %w", dir, err), s.Close())
		}
	}
	return s, nil
}

// maxViewed bounds the blobs of a view: they are manifests and configs.
const maxViewed = 64 << 20

// overlay is what a view knows that is not on disk.
type overlay struct {
	mu     sync.Mutex
	blobs  map[Digest][]byte // what was put
	size   int               // of all blobs, in bytes
	hidden map[string]bool   // paths of what was found damaged
}

func (o *overlay) put(b []byte) (Digest, error) {
	d := DigestOf(b)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.blobs[d] != nil {
		return d, nil
	}
	if o.size+len(b) > maxViewed {
		return d, fmt.Errorf("put blob: %w: there is no room for over %d bytes", errView, maxViewed)
	}
	o.size += len(b)
	o.blobs[d] = append([]byte{}, b...)
	return d, nil
}

// get returns a blob that was put into the view; a nil overlay has none.
func (o *overlay) get(d Digest) ([]byte, bool) {
	if o == nil {
		return nil, false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	b, ok := o.blobs[d]
	return b, ok
}

// hide makes a damaged file a miss.
func (o *overlay) hide(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hidden[name] = true
}

// hides reports whether a file was found damaged; a nil overlay hides none.
func (o *overlay) hides(name string) bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.hidden[name]
}

// lstat is root.Lstat, where nothing is in a nil root.
func lstat(root *os.Root, name string) (fs.FileInfo, error) {
	if root == nil {
		return nil, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
	}
	return root.Lstat(name)
}

// openRead opens a file of a root for reading, and no symbolic link; nothing is
// in a nil root. O_NONBLOCK keeps a pipe that somebody has put there from blocking,
// and Go from trying it out on each regular file with five system calls.
func openRead(root *os.Root, name string) (*os.File, error) {
	if root == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return root.OpenFile(name, os.O_RDONLY|openNoFollow|syscall.O_NONBLOCK, 0)
}
