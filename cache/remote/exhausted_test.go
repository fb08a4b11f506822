package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"bottlebuild/cache"
	"bottlebuild/cache/cachetest"
)

// fetchInto finds and fetches some entries into a store in dir.
func fetchInto(ctx context.Context, host, dir string) error {
	s, err := cache.Open(filepath.Join(dir, "cache"))
	if err != nil {
		return err
	}
	defer s.Close()
	c, err := New(killConfig(host, dir, s))
	if err != nil {
		return err
	}
	defer c.Close()
	for n := range exhaustedEntries {
		e, err := c.Find(ctx, killRecipe(n).Key())
		if err == nil {
			err = c.Fetch(ctx, e.Output.Blobs, func(string) Step { return silent{} })
		}
		if err == nil {
			_, err = s.Get(e.Key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const exhaustedEntries = 3

// checkFetched checks that nothing is half-written, and that all goes well now.
func checkFetched(ctx context.Context, host, dir string) error {
	s, err := cache.Open(filepath.Join(dir, "cache"))
	if err != nil {
		return err
	}
	defer s.Close()
	for n := range exhaustedEntries {
		e, err := s.Get(killRecipe(n).Key())
		if errors.Is(err, cache.ErrMiss) && !errors.Is(err, cache.ErrDamaged) {
			continue
		}
		if err != nil {
			return err
		}
		for _, b := range e.Output.Blobs {
			if err := s.VerifyBlob(b.Digest); err != nil {
				return err
			}
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "cache", "tmp")); err != nil || len(left) > 0 {
		return fmt.Errorf("tmp has %v, %w", left, err)
	}
	return fetchInto(ctx, host, dir)
}

// newSource is a world whose registry has the entries.
func newSource(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	one := w.machine(nil)
	for n := range exhaustedEntries {
		e, err := killEntry(one.store, n)
		if err != nil {
			t.Fatal(err)
		}
		one.publish(t.Context(), e)
	}
	return w
}

// TestFetchWithTooManyOpenFiles fetches with every limit of open files up to one
// that suffices.
func TestFetchWithTooManyOpenFiles(t *testing.T) {
	w := newSource(t)
	cmd := victimCommand(t, "limits", w.host+"/acme", t.TempDir())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", out)
}

// limitsVictim is the process of that test.
func limitsVictim(ctx context.Context, host, dir string) error {
	// Without a connection nothing is found, which is no error of its own.
	failed, err := cachetest.WithFewFiles(dir, fetching(ctx, host, func(err error) bool {
		return errors.Is(err, syscall.EMFILE) || errors.Is(err, cache.ErrMiss)
	}))
	if err == nil {
		fmt.Printf("%d limits were too low", failed)
	}
	return err
}

// fetching fetches what newSource has.
func fetching(ctx context.Context, host string, right func(error) bool) cachetest.Work {
	return cachetest.Work{
		Try:   func(dir string) error { return fetchInto(ctx, host, dir) },
		Right: right,
		Check: func(dir string) error { return checkFetched(ctx, host, dir) },
	}
}
