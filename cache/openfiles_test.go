//go:build unix

package cache_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"bottlebuild/cache"
	"bottlebuild/cache/cachetest"
)

const fullNames = 4

func fullName(n int) string { return fmt.Sprintf("full%d.x", n) }

// fill opens a store and publishes some entries; it returns how many were
// acknowledged before an error.
func fill(dir string) (done int, err error) {
	s, err := cache.Open(dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for ; done < fullNames; done++ {
		if err := publish(s, fullName(done)); err != nil {
			return done, err
		}
	}
	return done, nil
}

// checkFilled checks that what was acknowledged is there and the rest is not,
// that nothing is half-written, and that all goes well when there is room.
func checkFilled(dir string, done int) error {
	s, err := cache.Open(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	for n := range fullNames {
		hit, err := check(s, fullName(n), false)
		if err != nil || n < done && !hit || n > done && hit {
			return fmt.Errorf("%s, of which %d were acknowledged: hit %v, %w", fullName(n), done, hit, err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		return fmt.Errorf("tmp has %v, %w", left, err)
	}
	if again, err := fill(dir); err != nil || again != fullNames {
		return fmt.Errorf("with room again: %d, %w", again, err)
	}
	return nil
}

// namesPath reports whether the error says which file it is about.
func namesPath(err error) bool {
	var path *os.PathError
	var link *os.LinkError
	return errors.As(err, &path) && path.Path != "" || errors.As(err, &link) && link.New != ""
}

// TestTooManyOpenFiles fills a store with every limit of open files up to one
// that suffices.
func TestTooManyOpenFiles(t *testing.T) {
	if out, err := helper(t, "files", t.TempDir(), "").Output(); err != nil {
		t.Fatal(err)
	} else {
		t.Logf("%s", out)
	}
}

func filesHelper(dir, _ string) error {
	failed, err := cachetest.WithFewFiles(dir, filling(syscall.EMFILE))
	if err == nil {
		fmt.Printf("%d limits were too low", failed)
	}
	return err
}

// filling fills a store, where the lack of something comes to an error of that kind.
func filling(lack error) cachetest.Work {
	done := 0
	return cachetest.Work{
		Try: func(dir string) (err error) {
			done, err = fill(filepath.Join(dir, "cache"))
			return err
		},
		Right: func(err error) bool { return errors.Is(err, lack) && namesPath(err) },
		Check: func(dir string) error { return checkFilled(filepath.Join(dir, "cache"), done) },
	}
}
