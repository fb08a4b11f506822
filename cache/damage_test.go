package cache_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bottlebuild/cache"
)

// looks calls see with the store and with a view of it as another process has.
func looks(t *testing.T, s *cache.Store, see func(name string, s *cache.Store)) {
	t.Helper()
	v, err := cache.View(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	see("store", s)
	see("view", v)
}

func TestWhatWasDamagedIsNotCalledEvicted(t *testing.T) {
	for name, damage := range map[string]func(*cache.Store, *cache.Entry) error{
		"blob": func(s *cache.Store, e *cache.Entry) error {
			return errors.Join(os.WriteFile(s.BlobPath(e.Output.Digest), []byte("CONTENT"), 0o600), notDamaged(s.VerifyBlob(e.Output.Digest)))
		},
		"blob of another size": func(s *cache.Store, e *cache.Entry) error {
			_, err := s.Get(e.Key)
			return errors.Join(err, os.WriteFile(s.BlobPath(e.Output.Digest), []byte("con"), 0o600), notDamaged(s.HasBlob(e.Output.Digest, 7)))
		},
		"entry": func(s *cache.Store, e *cache.Entry) error {
			file := filepath.Join(s.Dir(), "entries", e.Key.Hex()[:2], e.Key.Hex())
			err := os.WriteFile(file, []byte("no entry"), 0o600)
			_, got := s.Get(e.Key)
			return errors.Join(err, notDamaged(got))
		},
		"blob that verify finds": func(s *cache.Store, e *cache.Entry) error {
			err := os.WriteFile(s.BlobPath(e.Output.Digest), []byte("CONTENT"), 0o600)
			r, verr := s.Verify(t.Context(), cache.VerifyOptions{})
			if len(r.Damaged) != 1 {
				err = errors.Join(err, errors.New("verify did not find it"))
			}
			return errors.Join(err, verr)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			e := entry(t, s, "content")
			if err := damage(s, e); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				looks(t, s, func(by string, s *cache.Store) {
					if _, err := s.Get(e.Key); !errors.Is(err, cache.ErrMiss) || !errors.Is(err, cache.ErrDamaged) {
						t.Errorf("%s: %v", by, err)
					}
				})
			}
			// Made again it is whole, and what is evicted then is no more than that.
			entry(t, s, "content")
			looks(t, s, func(by string, s *cache.Store) {
				if _, err := s.Get(e.Key); err != nil {
					t.Errorf("%s: made again: %v", by, err)
				}
			})
			if err := os.Remove(s.BlobPath(e.Output.Digest)); err != nil {
				t.Fatal(err)
			}
			looks(t, s, func(by string, s *cache.Store) {
				if _, err := s.Get(e.Key); !errors.Is(err, cache.ErrEvicted) || errors.Is(err, cache.ErrDamaged) {
					t.Errorf("%s: evicted: %v", by, err)
				}
			})
			if err := s.Delete(e.Key); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Recipe(e.Key); !errors.Is(err, cache.ErrMiss) || errors.Is(err, cache.ErrDamaged) {
				t.Errorf("deleted: %v", err)
			}
		})
	}
}

// notDamaged makes an error of one that is not of damage.
func notDamaged(err error) error {
	if errors.Is(err, cache.ErrDamaged) {
		return nil
	}
	return errors.Join(errors.New("it was not found damaged"), err)
}

// A slow reader of a damaged blob does not take away what has been put in its place.
func TestAReaderQuarantinesOnlyWhatItHasRead(t *testing.T) {
	s := open(t)
	e := entry(t, s, "content")
	if err := os.WriteFile(s.BlobPath(e.Output.Digest), []byte("CONTENT"), 0o600); err != nil {
		t.Fatal(err)
	}
	slow, err := s.OpenBlob(e.Output.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if err := s.VerifyBlob(e.Output.Digest); !errors.Is(err, cache.ErrDamaged) {
		t.Fatal(err)
	}
	entry(t, s, "content")
	if _, err := io.ReadAll(slow); !errors.Is(err, cache.ErrDamaged) {
		t.Errorf("what the slow one has read: %v", err)
	}
	if _, err := s.Get(e.Key); err != nil {
		t.Errorf("what was made again: %v", err)
	}
}

func TestSignsOfDamageAreBounded(t *testing.T) {
	s := open(t)
	signs := func() (n int) {
		err := filepath.WalkDir(filepath.Join(s.Dir(), "damaged"), func(_ string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				n++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	damage := func(e *cache.Entry) {
		t.Helper()
		if err := os.Truncate(s.BlobPath(e.Output.Digest), 3); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(e.Key); !errors.Is(err, cache.ErrDamaged) {
			t.Fatal(err)
		}
	}
	e := entry(t, s, "content")
	dir := filepath.Join(s.Dir(), "damaged", e.Output.Digest.Hex()[:2])
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	recent := time.Now().Add(-6 * 24 * time.Hour)
	for i := range 100 {
		name := filepath.Join(dir, e.Output.Digest.Hex()[:62]+string("0123456789"[i/10])+string("0123456789"[i%10]))
		if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Chtimes(name, recent, recent)); err != nil {
			t.Fatal(err)
		}
	}
	damage(e)
	if n := signs(); n != 64 {
		t.Errorf("there are %d signs", n)
	}
	if _, err := s.Get(e.Key); !errors.Is(err, cache.ErrDamaged) {
		t.Errorf("the newest one: %v", err)
	}
	prune := func(o cache.PruneOptions) {
		t.Helper()
		if _, err := s.Prune(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	prune(cache.PruneOptions{MaxSize: -1})
	if n := signs(); n != 64 {
		t.Errorf("of a week there are %d", n)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range entries {
		if d.Name() != e.Output.Digest.Hex() {
			older := time.Now().Add(-8 * 24 * time.Hour)
			if err := os.Chtimes(filepath.Join(dir, d.Name()), older, older); err != nil {
				t.Fatal(err)
			}
		}
	}
	prune(cache.PruneOptions{MaxSize: -1, DryRun: true})
	if n := signs(); n != 64 {
		t.Errorf("a dry run has left %d", n)
	}
	if _, done, err := s.Trim(t.Context(), cache.PruneOptions{MaxSize: -1}); err != nil || !done {
		t.Fatal(done, err)
	}
	if n := signs(); n != 1 {
		t.Errorf("after more than a week there are %d", n)
	}
	prune(cache.PruneOptions{All: true})
	if n := signs(); n != 0 {
		t.Errorf("when all is pruned there are %d", n)
	}
}
