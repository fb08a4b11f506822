package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"bottlebuild/cache"
	"bottlebuild/cache/cachetest"
)

// victimVariable makes the test binary a process that transfers until it is killed.
const victimVariable = "BOTTLEBUILD_REMOTE_TEST_VICTIM"

// killEntries is how many entries a store has when all have been transferred.
const killEntries = 40

// killContent is a blob of the entry n: some are larger than what is sent at once.
func killContent(n int) []byte {
	return bytes.Repeat(fmt.Append(nil, "content of ", n, "\n"), 1+n%5*4000)
}

func killRecipe(n int) *cache.Recipe {
	r := cache.NewRecipe("pack")
	r.Add("n", strconv.Itoa(n))
	return r
}

// killEntry puts the entry n into a store.
func killEntry(s *cache.Store, n int) (*cache.Entry, error) {
	r := killRecipe(n)
	e := &cache.Entry{Key: r.Key(), Kind: "pack", Address: fmt.Sprint("bottle.", n), Recipe: r.Text(), Created: time.Now().UTC()}
	for i, content := range [][]byte{killContent(n), []byte("shared by all")} {
		d, err := s.PutBytes(content)
		if err != nil {
			return nil, err
		}
		e.Output.Blobs = append(e.Output.Blobs, cache.Blob{Name: fmt.Sprint("part", i), Digest: d, Size: int64(len(content))})
	}
	e.Output.Digest = e.Output.Blobs[0].Digest
	return e, s.Put(e)
}

func killConfig(host, dir string, s *cache.Store) Config {
	return Config{
		Store: s, Dir: filepath.Join(dir, "remote"), Project: "test", Platform: "linux/amd64",
		Remotes: []Remote{{Prefix: host, Mode: Mode{Read: true, Write: true}, Scope: Trusted}},
		Notice:  func(text string) { fmt.Fprintln(os.Stderr, text) },
	}
}

// victim fetches or publishes all entries and says of each when it is done.
func victim(args []string) error {
	what, host, dir := args[0], args[1], args[2]
	ctx := context.Background()
	if what == "limits" {
		return limitsVictim(ctx, host, dir)
	}
	s, err := cache.Open(filepath.Join(dir, "cache"))
	if err != nil {
		return err
	}
	defer s.Close()
	release, err := s.Hold()
	if err != nil {
		return err
	}
	defer release()
	c, err := New(killConfig(host, dir, s))
	if err != nil {
		return err
	}
	fmt.Println("begun")
	for n := range killEntries {
		key := killRecipe(n).Key()
		switch what {
		case "fetch":
			if e, err := s.Get(key); err == nil && e.From != "" {
				continue // of an earlier victim
			}
			e, err := c.Find(ctx, key)
			if err == nil {
				err = c.Fetch(ctx, e.Output.Blobs, func(string) Step { return silent{} })
			}
			if err != nil {
				return err
			}
		case "publish":
			e, err := killEntry(s, n)
			if err != nil {
				return err
			}
			c.Publish(e)
			if c.pushing.Wait(); !c.Stored(key) {
				return fmt.Errorf("entry %d was not stored", n)
			}
		}
		fmt.Println(n)
	}
	c.Flush(ctx)
	return c.Close()
}

// TestKilled kills processes while they fetch and publish. What they had said to
// be there is there and right; everything else is as well, or is a miss; and the
// next process goes on from there.
func TestKilled(t *testing.T) {
	trials, killed, done := 40, 0, 0
	if os.Getenv("BOTTLEBUILD_STRESS") != "" {
		trials = 10_000
	}
	source := newWorld(t)
	full := source.machine(nil)
	for n := range killEntries {
		e, err := killEntry(full.store, n)
		if err != nil {
			t.Fatal(err)
		}
		full.Publish(e)
	}
	full.Flush(t.Context())
	var fetching, publishing *killable
	for trial := range trials {
		at := &fetching
		if trial%2 == 1 {
			at = &publishing
		}
		if *at == nil || len((*at).said) == killEntries {
			what, w := "fetch", source
			if trial%2 == 1 {
				what, w = "publish", newWorld(t)
			}
			*at = &killable{what: what, world: w, dir: cachetest.MemoryDir(t), said: map[int]bool{}}
		}
		if (*at).kill(t) {
			killed++
		}
		(*at).check(t)
		if len((*at).said) == killEntries {
			done++
			os.RemoveAll((*at).dir)
			if (*at).world != source {
				(*at).world.handler = nil // and all that it holds
			}
		}
	}
	t.Logf("%d processes, %d of them killed; %d times everything was transferred", trials, killed, done)
	if killed < trials/2 {
		t.Error("too few were killed at work: this tests little")
	}
}

// killable is a machine whose processes are killed.
type killable struct {
	what  string
	world *world
	dir   string
	said  map[int]bool // entries that were said to be done
}

// victimCommand is a process of this binary that calls victim.
func victimCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return cachetest.Command(t, victimVariable, "1", args...)
}

func (k *killable) kill(t *testing.T) (killed bool) {
	t.Helper()
	cmd := victimCommand(t, k.what, k.world.host+"/acme", k.dir)
	return cachetest.Kill(t, cmd, 20*time.Millisecond, func(line string) {
		n, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		k.said[n] = true
	})
}

// check looks at what the process has left.
func (k *killable) check(t *testing.T) {
	t.Helper()
	s, err := cache.Open(filepath.Join(k.dir, "cache"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for n := range killEntries {
		e, err := s.Get(killRecipe(n).Key())
		switch {
		case err == nil:
			for _, b := range e.Output.Blobs {
				if err := s.VerifyBlob(b.Digest); err != nil {
					t.Fatalf("%s: entry %d is there: %v", k.what, n, err)
				}
			}
		case !errors.Is(err, cache.ErrMiss) || errors.Is(err, cache.ErrDamaged) || k.said[n]:
			t.Fatalf("%s: entry %d, said to be there: %v: %v", k.what, n, k.said[n], err)
		}
	}
	if k.what == "publish" {
		k.checkRegistry(t)
	}
}

// checkRegistry looks into the registry as another machine does.
func (k *killable) checkRegistry(t *testing.T) {
	t.Helper()
	dir := cachetest.MemoryDir(t)
	defer os.RemoveAll(dir)
	s, err := cache.Open(filepath.Join(dir, "cache"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := New(killConfig(k.world.host+"/acme", dir, s))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for n := range killEntries {
		e, err := c.Find(t.Context(), killRecipe(n).Key())
		if err == nil {
			if err = c.Fetch(t.Context(), e.Output.Blobs, func(string) Step { return silent{} }); err != nil {
				t.Fatalf("the record of %d is there, and what it promises is not: %v", n, err)
			}
			continue
		}
		if !errors.Is(err, cache.ErrMiss) || errors.Is(err, cache.ErrUncertain) || k.said[n] {
			t.Fatalf("entry %d, said to be stored: %v: %v", n, k.said[n], err)
		}
	}
}
