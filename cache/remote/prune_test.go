package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"bottlebuild/cache"
)

// realRegistries are programs that tests run against: Debian's docker-registry,
// and distribution's, version 3, which make bin/registry-v3 builds.
func realRegistries(t *testing.T) map[string]string {
	t.Helper()
	v3, err := filepath.Abs("../../bin/registry-v3")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for name, program := range map[string]string{"docker-registry": "docker-registry", "distribution v3": v3} {
		if _, err := exec.LookPath(program); err == nil {
			found[name] = program
		} else if os.Getenv("BOTTLEBUILD_REQUIRE") == "1" {
			t.Fatalf("%v, and BOTTLEBUILD_REQUIRE=1 wants everything tested", err)
		}
	}
	if len(found) == 0 {
		t.Skip("there is no registry")
	}
	return found
}

// startRegistry runs a registry for the time of the test and returns its address.
func startRegistry(t *testing.T, program string, deletes bool) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: %v}}\nhttp: {addr: %s}\n", dir, deletes, host)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 200 {
		if res, err := http.Get("http://" + host + "/v2/"); err == nil {
			res.Body.Close()
			return host
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s does not answer", program)
	return ""
}

// madeAgo is an entry that was made some time ago.
func madeAgo(t *testing.T, m *machine, e *cache.Entry, ago time.Duration) *cache.Entry {
	t.Helper()
	e.Created = time.Now().Add(-ago).UTC()
	if err := m.store.Put(e); err != nil {
		t.Fatal(err)
	}
	return e
}

// remains tells which entries a machine that knows nothing finds whole.
func remains(t *testing.T, w *world, entries map[string]*cache.Entry) map[string]bool {
	t.Helper()
	m := w.machine(nil)
	found := map[string]bool{}
	for name, e := range entries {
		got, err := m.Find(t.Context(), e.Key)
		if errors.Is(err, cache.ErrMiss) && !errors.Is(err, cache.ErrUncertain) {
			continue
		}
		if err == nil {
			err = m.fetch(t.Context(), got)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		found[name] = true
	}
	return found
}

func TestPrune(t *testing.T) {
	for name, program := range realRegistries(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testPrune(t, program)
		})
	}
}

func testPrune(t *testing.T, program string) {
	ctx := t.Context()
	w := &world{t: t, host: startRegistry(t, program, true)}
	one := w.machine(nil)
	const day = 24 * time.Hour
	large := strings.Repeat("x", 100_000)
	entries := map[string]*cache.Entry{
		"old":    madeAgo(t, one, one.make(t, "old", large+"old", "shared"), 40*day),
		"older":  madeAgo(t, one, one.make(t, "older", "older", "shared"), 50*day),
		"image":  madeAgo(t, one, one.makeImage(t, "image"), 40*day),
		"tagged": madeAgo(t, one, one.make(t, "tagged", "tagged"), 40*day),
		"new":    madeAgo(t, one, one.make(t, "new", large+"new", "shared"), 2*day),
		"used":   madeAgo(t, one, one.make(t, "used", "used"), 60*day),
	}
	// What an index of today names is in use; the others were, when there was none.
	for name, e := range entries {
		if name != "used" {
			one.Publish(e)
		}
	}
	one.pushing.Wait()
	two := w.machine(nil)
	used := madeAgo(t, two, two.make(t, "used", "used"), 60*day)
	two.publish(ctx, used)
	repo := w.host + "/acme/bb-cache"
	// Something of somebody else, and another name for one of ours.
	if err := crane.Tag(repo+":"+recordTag(entries["tagged"].Key), "keep", crane.Insecure); err != nil {
		t.Fatal(err)
	}
	if err := crane.Copy(repo+"@"+entries["image"].Output.Digest.String(), repo+":mine", crane.Insecure); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(6, len(remains(t, w, entries))); diff != "" {
		t.Fatal(diff)
	}

	pruner := w.machine(nil)
	prune := func(o PruneOptions) PruneReport {
		t.Helper()
		r, err := pruner.Prune(ctx, o)
		if err != nil || len(r) != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
		return r[0]
	}
	want := PruneReport{Repository: repo, Records: 3, Kept: 3, Foreign: 2}
	dry := prune(PruneOptions{MaxAge: 30 * day, MaxSize: -1, DryRun: true})
	if len(remains(t, w, entries)) != 6 {
		t.Fatal("a dry run has removed something")
	}
	got := prune(PruneOptions{MaxAge: 30 * day, MaxSize: -1})
	if diff := cmp.Diff(dry, got); diff != "" {
		t.Errorf("a dry run has said something else:\n%s", diff)
	}
	// The large blob goes, what is shared or tagged stays.
	if got.Freed < 100_000 || got.Freed > 110_000 || got.Size < 100_000 || got.Size > 120_000 {
		t.Errorf("%d bytes freed, %d left", got.Freed, got.Size)
	}
	got.Freed, got.Size = 0, 0
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]bool{"tagged": true, "new": true, "used": true}, remains(t, w, entries)); diff != "" {
		t.Error(diff)
	}
	if img, err := crane.Pull(repo+":mine", crane.Insecure); err != nil {
		t.Errorf("an image that somebody has tagged: %v", err)
	} else if err := validate.Image(img); err != nil {
		t.Errorf("an image that somebody has tagged: %v", err)
	}
	three := w.machine(nil)
	three.publish(ctx, three.make(t, "old", large+"old", "shared"))
	if !remains(t, w, entries)["old"] {
		t.Error("what was pruned could not be stored again")
	}

	// By size, those used least recently first; the youngest are kept.
	if got := prune(PruneOptions{MaxSize: 1000}); got.Records != 1 || got.Kept != 3 || got.Young == 0 {
		t.Errorf("by size: %+v", got)
	}
	if diff := cmp.Diff(map[string]bool{"tagged": true, "old": true, "used": true}, remains(t, w, entries)); diff != "" {
		t.Error(diff)
	}
	if got := prune(PruneOptions{All: true, MaxSize: -1}); got.Records != 2 || got.Kept != 1 {
		t.Errorf("everything: %+v", got)
	}
	if left := remains(t, w, entries); len(left) != 1 || !left["tagged"] {
		t.Errorf("%v is left", left)
	}
}

// TestPruneIsRefused: a registry that deletes nothing is told of, and nothing of
// it has changed.
func TestPruneIsRefused(t *testing.T) {
	for name, program := range realRegistries(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{t: t, host: startRegistry(t, program, false)}
			one := w.machine(nil)
			e := one.make(t, "web", "content")
			one.publish(t.Context(), e)
			if _, err := w.machine(nil).Prune(t.Context(), PruneOptions{All: true, MaxSize: -1}); !errors.Is(err, ErrNoDelete) {
				t.Error(err)
			}
			if left := remains(t, w, map[string]*cache.Entry{"web": e}); len(left) != 1 {
				t.Error("it is gone")
			}
			if r, err := w.machine(func(c *Config) { c.Remotes[0].Prefix += "/empty" }).Prune(context.Background(), PruneOptions{All: true}); err != nil || r[0].Records != 0 {
				t.Errorf("nothing there: %+v, %v", r, err)
			}
		})
	}
}

// TestPruneHeals: a machine that remembers a record that was pruned does not keep
// it from being stored again for ever.
func TestPruneHeals(t *testing.T) {
	ctx := t.Context()
	for name, program := range realRegistries(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{t: t, host: startRegistry(t, program, true)}
			dir := t.TempDir()
			one := w.machineIn(dir, nil)
			e := one.make(t, "web", "content")
			one.publish(ctx, e)
			one.Close()
			if _, err := w.machine(nil).Prune(ctx, PruneOptions{All: true, MaxSize: -1}); err != nil {
				t.Fatal(err)
			}
			other := w.machine(nil)
			other.publish(ctx, other.make(t, "another", "other content")) // an index that lacks it
			for range 2 {
				m := w.machineIn(dir, nil)
				m.publish(ctx, e)
				m.Close()
			}
			if left := remains(t, w, map[string]*cache.Entry{"web": e}); len(left) != 1 {
				t.Error("it was not stored again")
			}
		})
	}
}
