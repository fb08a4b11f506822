package cache_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"bottlebuild/cache"
	"bottlebuild/cache/cachetest"
)

// TestKilled kills processes while they publish and prune. Whatever was
// acknowledged is there, nothing is found that is not right, and the next
// process goes on as if nothing had been.
func TestKilled(t *testing.T) {
	const most = 250 // in one store, which grows
	trials, killed, acknowledged := scale(60, 10_000), 0, 0
	for first := 0; first < trials; first += most {
		k, a := killIn(t, first, min(first+most, trials))
		killed += k
		acknowledged += a
	}
	t.Logf("%d processes, %d of them killed, %d entries acknowledged", trials, killed, acknowledged)
	if killed < trials/2 || acknowledged == 0 {
		t.Error("too few were killed at work: this tests little")
	}
}

// killIn does some of the trials in a store of their own.
func killIn(t *testing.T, first, end int) (killed, acknowledged int) {
	s := openShm(t)
	var all []string
	for trial := first; trial < end; trial++ {
		names, wasKilled := kill(t, s.Dir(), trial)
		if wasKilled {
			killed++
		}
		all = append(all, names...)
		recheck := names
		for range min(20, len(all)) {
			recheck = append(recheck, all[rand.IntN(len(all))])
		}
		if trial == end-1 {
			recheck = all
		}
		for _, name := range recheck {
			if hit, err := check(s, name, false); err != nil || !hit {
				t.Fatalf("trial %d: %s was acknowledged; hit: %v, %v", trial, name, hit, err)
			}
		}
		// What was on its way is there and right, or is not there.
		for n := range 20 {
			if _, err := check(s, victimName(strconv.Itoa(trial), len(names)+n), false); err != nil {
				t.Fatalf("trial %d: %v", trial, err)
			}
		}
	}
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	prune(t, s, cache.PruneOptions{MaxSize: -1})
	for _, dir := range []string{"tmp", "leases", "quarantine"} {
		if left, err := os.ReadDir(filepath.Join(s.Dir(), dir)); err != nil || len(left) > 0 {
			t.Errorf("%s has %d files, %v", dir, len(left), err)
		}
	}
	v, err := s.Verify(t.Context(), cache.VerifyOptions{Jobs: 2})
	if err != nil || len(v.Damaged) > 0 {
		t.Errorf("verify: %+v, %v", v, err)
	}
	os.RemoveAll(s.Dir())
	return killed, len(all)
}

// kill starts a victim, kills it at some moment, and returns what it had
// acknowledged by then.
func kill(t *testing.T, dir string, trial int) (names []string, killed bool) {
	t.Helper()
	killed = cachetest.Kill(t, helper(t, "victim", dir, strconv.Itoa(trial)), 12*time.Millisecond, func(line string) { names = append(names, line) })
	return names, killed
}

func victimName(seed string, n int) string {
	return "v" + strconv.Itoa(n%3) + "." + seed + "." + strconv.Itoa(n)
}

// victimHelper publishes, looks up, puts aside as old, and prunes what is old,
// until it is killed.
func victimHelper(dir, seed string) error {
	cache.Impatient()
	s, err := cache.Open(dir)
	if err != nil {
		return err
	}
	fmt.Println("begun")
	for n := 0; n < 200; n++ {
		name := victimName(seed, n)
		if err := publish(s, name); err != nil {
			return err
		}
		fmt.Println(name)
		if err := publish(s, "old."+name); err != nil {
			return err
		}
		h := recipeOf("old." + name).Key().Hex()
		then := time.Now().Add(-time.Hour)
		err := os.Chtimes(filepath.Join(dir, "entries", h[:2], h), then, then)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if hit, err := check(s, name, true); err != nil || !hit {
			return fmt.Errorf("%s: hit %v, %w", name, hit, err)
		}
		if n%3 != 0 {
			continue
		}
		_, err = s.Prune(context.Background(), cache.PruneOptions{MaxAge: 30 * time.Minute, MaxSize: -1})
		if err != nil && !errors.Is(err, cache.ErrBusy) {
			return err
		}
	}
	return s.Close()
}
