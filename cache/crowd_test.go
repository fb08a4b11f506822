package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bottlebuild/cache"
)

// How many processes there are at a time, how many pieces of work all of them
// have among them, and how many each wants.
var crowdSize, crowdKeys, crowdWants = scale(16, 64), 1000, 20

func crowdName(n int) string { return fmt.Sprintf("work%d.%d", n%40, n) }

// TestCrowd has 16 processes, or under make stress 64, at a time work on one store,
// while it is pruned again and again: nothing is found that is not right, nothing
// goes that a process has found or written, and of those that want the same work at
// once one does it. A prune begins each second, or when the one before has ended.
func TestCrowd(t *testing.T) {
	cache.Impatient()
	s := openShm(t)
	log := filepath.Join(t.TempDir(), "built")
	t.Setenv("CROWD_LOG", log)
	end := time.Now().Add(time.Duration(scale(0, 180)) * time.Second)
	var wg sync.WaitGroup
	var processes, evicted int
	var mu sync.Mutex
	for worker := range crowdSize {
		wg.Go(func() {
			for round := 0; round < 5 || time.Now().Before(end); round++ {
				if err := helper(t, "crowd", s.Dir(), fmt.Sprint(worker, round)).Run(); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				processes++
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	gc := reopen(t, s)
	var prunes, slices int
	var longest, interval time.Duration
	next := time.NewTicker(time.Duration(scale(50, 1000)) * time.Millisecond)
	defer next.Stop()
	began := time.Now()
	// The last prune comes when nobody is left, so that something goes in any case.
	for running, last := true, false; running || !last; {
		last = !running
		interval, began = max(interval, time.Since(began)), time.Now()
		// All that is not in use, or the least recently used half.
		o := cache.PruneOptions{MaxSize: int64(rand.IntN(2)) * 600_000}
		r, err := gc.Prune(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		prunes++
		slices += r.Slices
		evicted += r.Entries
		longest = max(longest, r.LongestSlice)
		select {
		case <-done:
			running = false
		case <-next.C:
		}
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	built := strings.Count(string(b), "\n")
	present := 0
	for n := range crowdKeys {
		hit, err := check(s, crowdName(n), false)
		if err != nil {
			t.Error(err)
		}
		if hit {
			present++
		}
	}
	t.Logf("%d processes; %d built, %d evicted in %d prunes of %d slices, begun at most %s apart, %d there; longest slice %s",
		processes, built, evicted, prunes, slices, interval.Round(time.Millisecond), present, longest)
	if built != evicted+present {
		t.Errorf("built %d times, but %d were evicted and %d are there", built, evicted, present)
	}
	if evicted == 0 {
		t.Error("nothing was evicted: this tests nothing")
	}
	if v, err := s.Verify(t.Context(), cache.VerifyOptions{Jobs: 2}); err != nil || len(v.Damaged) > 0 {
		t.Errorf("verify: %+v, %v", v, err)
	}
}

// crowdHelper is one process of the crowd: a run that needs some of the keys.
func crowdHelper(dir, _ string) error {
	cache.Impatient()
	s, err := cache.Open(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	release, err := s.Hold()
	if err != nil {
		return err
	}
	defer release()
	log, err := os.OpenFile(os.Getenv("CROWD_LOG"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	var mine []string
	for range crowdWants {
		name := crowdName(rand.IntN(crowdKeys))
		if err := crowdWork(s, log, name); err != nil {
			return err
		}
		mine = append(mine, name)
	}
	for _, name := range mine { // all of it is still there
		hit, err := check(s, name, true)
		if err == nil && !hit {
			err = errors.New(name + ": what a lease holds is gone")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func crowdWork(s *cache.Store, log *os.File, name string) error {
	unlock, err := s.Lock(context.Background(), recipeOf(name).Key())
	if err != nil {
		return err
	}
	defer unlock()
	if hit, err := check(s, name, true); hit || err != nil {
		return err
	}
	if _, err := log.WriteString(strconv.Quote(name) + "\n"); err != nil {
		return err
	}
	if err := publish(s, name); err != nil {
		return err
	}
	hit, err := check(s, name, true)
	if err == nil && !hit {
		err = errors.New(name + ": what was put is gone")
	}
	return err
}
