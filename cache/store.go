package cache

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
)

// Store is a cache directory. It may be used by any number of goroutines and
// processes at once: readers take no lock, and writers publish by rename.
//
//	oci-layout, index.json   with blobs/, a valid OCI image layout
//	blobs/sha256/HEX         bytes, named by their digest
//	entries/HH/HEX           one small file per key
//	marks/HH/HEX             empty files, see [Store.Mark]
//	latest/HH/HEX            the newest keys of an address, see [Store.SetLatest]
//	locks/HEX                flock files, one per key that is being worked on
//	leases/                  flock files, one per process that uses the store, see [Store.Hold]
//	pins/HEX                 what outlives processes and needs blobs, see [Store.Pin]
//	chores/                  when what is done daily was done, see [Store.Daily]
//	quarantine/              what was found damaged, for people to look at
//	damaged/HH/HEX           empty files: which keys and blobs that was, until they are put again
//	tmp/                     files that are being written
//
// The time of modification of an entry and of a blob is when it was last used,
// to the hour, as [Store.Prune] needs it.
type Store struct {
	dir  string
	root *os.Root
	// Looked into often enough to be kept open: blobs/sha256 and entries.
	blobs, entries *os.Root
	shards         shards
	view           *overlay // of a store opened with View

	lease leaseHolder
}

const openNoFollow = syscall.O_NOFOLLOW

var storeDirs = []string{"blobs/sha256", "entries", "marks", "latest", "locks", "leases", "pins", "quarantine", "tmp"}

const layoutFile = `{"imageLayoutVersion":"1.0.0"}`

// Open opens the store in dir and makes it, mode 0700, if it is not there. It
// refuses a dir that is a symbolic link, is no directory, belongs to another
// user, or may be written by others.
func Open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	if err := checkPrivate(dir); err != nil {
		return nil, fmt.Errorf("open cache %s: %w", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	s := &Store{dir: dir, root: root}
	if err := s.initialise(); err != nil {
		return nil, errors.Join(fmt.Errorf("open cache %s: %w", dir, err), s.Close())
	}
	return s, nil
}

func (s *Store) initialise() error {
	if err := s.lay(); err != nil {
		return err
	}
	s.lease.endImplicit() // of lay
	var err error
	if s.blobs, err = s.root.OpenRoot("blobs/sha256"); err != nil {
		return err
	}
	s.entries, err = s.root.OpenRoot("entries")
	return err
}

// lay makes the directories and the layout's two files where they are missing.
func (s *Store) lay() error {
	_, err := s.root.Lstat("oci-layout") // written last, so all else is there
	if err == nil {
		_, err = s.root.Lstat("pins") // unless it is older than that
	}
	if err == nil {
		return nil
	}
	for _, d := range storeDirs {
		if err := s.root.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	if _, err := s.root.Lstat(indexFile); errors.Is(err, fs.ErrNotExist) {
		if err := s.publish(indexFile, []byte(emptyIndex)); err != nil {
			return err
		}
	}
	return s.publish("oci-layout", []byte(layoutFile))
}

// checkPrivate reports why the directory is not one to trust.
func checkPrivate(dir string) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case fi.Mode()&fs.ModeSymlink != 0:
		return errors.New("it is a symbolic link; name the directory itself")
	case !fi.IsDir():
		return errors.New("it is not a directory")
	case ok && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("it belongs to user %d, not to user %d who runs this", st.Uid, os.Geteuid())
	case fi.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("its mode %04o lets others write to it; mend it with: chmod go-w %s", fi.Mode().Perm(), dir)
	}
	return nil
}

// Dir returns the store's absolute path.
func (s *Store) Dir() string { return s.dir }

// Exists reports whether the store's directory was there when it was opened: a view
// may be of one that is not.
func (s *Store) Exists() bool { return s.root != nil }

// Close gives back what the store holds open.
func (s *Store) Close() error {
	errs := []error{s.lease.end(), s.shards.close()}
	for _, r := range []*os.Root{s.blobs, s.entries, s.root} {
		if r != nil {
			errs = append(errs, r.Close())
		}
	}
	return errors.Join(errs...)
}

// TempDir makes an empty directory of the caller's own on the store's file
// system, so that what is written there can be published by rename. The caller
// removes it, or else [Store.Sweep] when this process has ended.
func (s *Store) TempDir() (string, error) {
	owner, err := s.writer()
	if err != nil {
		return "", fmt.Errorf("make temporary directory: %w", err)
	}
	dir, err := os.MkdirTemp(filepath.Join(s.dir, "tmp"), owner+"-dir-")
	if err != nil {
		return "", fmt.Errorf("make temporary directory: %w", err)
	}
	return dir, nil
}

// publish puts b at name: temporary file, write, fsync, rename, fsync of the
// directory. A reader sees the whole of it or what was there before.
func (s *Store) publish(name string, b []byte) error {
	if s.view != nil {
		return fmt.Errorf("publish %s: %w", name, errView)
	}
	t, err := s.createTemp()
	if err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	defer t.discard()
	if _, err := io.Copy(t.file, bytes.NewReader(b)); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	return t.rename(name)
}

// temp is a file in tmp/ on its way to a name of its own.
type temp struct {
	s    *Store
	name string // in the root
	file *os.File
}

func (s *Store) createTemp() (*temp, error) {
	owner, err := s.writer()
	if err != nil {
		return nil, err
	}
	name := path.Join("tmp", owner+"-"+rand.Text())
	f, err := s.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &temp{s, name, f}, nil
}

// rename makes the file durable under its final name.
func (t *temp) rename(name string) error {
	err := t.file.Sync()
	if cerr := t.file.Close(); err == nil {
		err = cerr
	}
	t.file = nil
	if err == nil {
		err = t.s.root.Rename(t.name, name)
		if errors.Is(err, fs.ErrNotExist) { // the first file of its directory
			if err = t.s.root.MkdirAll(path.Dir(name), 0o700); err == nil {
				err = t.s.root.Rename(t.name, name)
			}
		}
	}
	if err == nil {
		t.name = ""
		t.s.clearDamaged(name)
		err = t.s.syncDir(path.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	return nil
}

// discard removes the file if it was not renamed. It may be called always.
func (t *temp) discard() {
	if t.file != nil {
		t.file.Close()
	}
	if t.name != "" {
		t.s.root.Remove(t.name)
	}
}

func (s *Store) syncDir(name string) error {
	d, err := s.root.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
