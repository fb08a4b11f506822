package tasks

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/crypto/ssh/agent"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/buildkit"
)

// probeDir is a context with the file probe, a program for build steps.
func probeDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "probe"), "../cmd/bottlebuild/testdata/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// serve has each connection to a listener be handled, and closed.
func serve(t *testing.T, network, address string, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen(network, address)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c)
			c.Close()
		}
	}()
	return l.Addr().String()
}

// TestStepNetwork has a build step reach this machine's loopback with the host's
// network, which it gets only where the image says so.
func TestStepNetwork(t *testing.T) {
	b, store, dir := startBuilder(t), openStore(t), probeDir(t)
	var calls atomic.Int64
	address := serve(t, "tcp", "127.0.0.1:0", func(net.Conn) { calls.Add(1) })
	for name, c := range map[string]struct {
		run          string
		network      string
		entitlements []string
		fails        string // part of the error; empty: it is built
	}{
		"host":                   {"RUN", NetworkHost, nil, ""},
		"none":                   {"RUN", NetworkNone, nil, "exit code: 1"},
		"step, entitled":         {"RUN --network=host", "", []string{"network.host"}, ""},
		"step, without":          {"RUN --network=host", "", nil, "network.host"},
		"step none, though host": {"RUN --network=none", NetworkHost, nil, "exit code: 1"},
	} {
		t.Run(name, func(t *testing.T) {
			before := calls.Load()
			p := Image{Context: dir, Network: c.network, Entitlements: c.entitlements, NoCache: true, DockerfileInline: "FROM scratch\nCOPY probe /\n" + c.run + " [\"/probe\", \"dial\", \"" + address + "\"]\n"}
			_, err := newWorker(b, store).runImage(t.Context(), p, graph.Work{Address: "image.x"})
			if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("error %v, want %q", err, c.fails)
			}
			if got := calls.Load() - before; (got > 0) != (c.fails == "") {
				t.Errorf("%d connections", got)
			}
		})
	}
}

// TestStepSSH has a build step see the keys of an agent.
func TestStepSSH(t *testing.T) {
	b, store, dir := startBuilder(t), openStore(t), probeDir(t)
	socket := func(comment string) string {
		_, key, err := ed25519.GenerateKey(nil)
		must(t, err)
		keys := agent.NewKeyring()
		must(t, keys.Add(agent.AddedKey{PrivateKey: key, Comment: comment}))
		return serve(t, "unix", filepath.Join(t.TempDir(), "s"), func(c net.Conn) { agent.ServeAgent(keys, c) })
	}
	w := newWorker(b, store)
	w.SSHAgent = socket("the user's")
	p := Image{Context: dir, NoCache: true, SSH: map[string][]string{"default": nil, "other": {socket("another")}},
		DockerfileInline: "FROM scratch\nCOPY probe /\nRUN --mount=type=ssh [\"/probe\", \"keys\", \"the user's\"]\nRUN --mount=type=ssh,id=other [\"/probe\", \"keys\", \"another\"]\n"}
	_, err := w.runImage(t.Context(), p, graph.Work{Address: "image.x"})
	must(t, err)
	delete(p.SSH, "other")
	if _, err := w.runImage(t.Context(), p, graph.Work{Address: "image.x"}); err == nil {
		t.Error("a step has seen an agent that the image does not give it")
	}
}

// TestPull has each run ask the registry what a tag stands for, with pull and
// without, and build from that.
func TestPull(t *testing.T) {
	b, store := startBuilder(t), openStore(t)
	var asked atomic.Int64
	handler := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/1") {
			asked.Add(1)
		}
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/base:1")
	must(t, err)
	p := Image{Context: t.TempDir(), DockerfileInline: "FROM " + ref.String() + "\nCOPY <<x /f\ntext\nx\n"}
	for _, content := range []string{"old", "new"} {
		must(t, remote.Write(ref, layoutImage(t, content, runtime.GOARCH)))
		for _, p.Pull = range []bool{true, false, true} {
			before := asked.Load()
			if _, _, files := buildFiles(t, newWorker(b, store), p); files["base"] != content {
				t.Errorf("the base has %q, and the tag stands for %q", files["base"], content)
			}
			if asked.Load() == before {
				t.Error("the registry was not asked")
			}
		}
	}
}

// TestEditedWhileBuilt edits a file of a context at each moment of a build: what
// was built is stored under no key, and the next run builds what is there.
func TestEditedWhileBuilt(t *testing.T) {
	b, dir := startBuilder(t), probeDir(t)
	file := filepath.Join(dir, "f")
	write := func(content string) { must(t, os.WriteFile(file, []byte(content), 0o644)) }
	var during func() // while the step runs
	address := serve(t, "tcp", "127.0.0.1:0", func(net.Conn) { during() })
	p := Image{Context: dir, Network: NetworkHost, Reproducible: true, DockerfileInline: "FROM scratch\nCOPY probe f /\nARG CASE\nRUN [\"/probe\", \"dial\", \"" + address + "\"]\n"}
	for name, c := range map[string]struct {
		sent, run string // content from when the files are sent, and from when the step runs
		stored    bool
	}{
		"not at all":              {"one", "one", true},
		"after the scan":          {"two", "two", false},
		"after the scan and back": {"two", "one", false},
		"while a step runs":       {"one", "two", false},
	} {
		t.Run(name, func(t *testing.T) {
			store, p := openStore(t), p
			p.Args = map[string]string{"CASE": name} // so that the step runs
			run := func(sent, atStep string) (cache.Key, error) {
				w := newWorker(b, store)
				w.Builder = func(context.Context) (*buildkit.Builder, error) { write(sent); return b, nil }
				during = func() { write(atStep) }
				node := imageNode(p)
				r := &graph.Runner{Cache: store, Worker: w, Executor: w, Scope: "test", Jobs: 1}
				plan, err := r.Plan(t.Context(), []*graph.Node{node})
				must(t, err)
				report := r.Run(t.Context(), plan)
				return report.Results[0].Key, report.Err()
			}
			write("one")
			key, err := run(c.sent, c.run)
			_, missed := store.Get(key)
			switch {
			case c.stored:
				must(t, err)
				must(t, missed)
				return
			case err == nil || !errors.Is(missed, cache.ErrMiss):
				t.Fatalf("error %v; what was made of other files is stored: %v", err, missed)
			}
			t.Log(err)
			write(c.run)
			key, err = run(c.run, c.run)
			must(t, err)
			_, _, files := buildFiles(t, newWorker(b, openStore(t)), p)
			entry, err := store.Get(key)
			must(t, err)
			if again, out, _ := buildFiles(t, newWorker(b, store), p); again != key || out.Digest != entry.Output.Digest || files["f"] != c.run {
				t.Errorf("the next run has key %v and image %s; what is there has %v and %s, with %q", key, entry.Output.Digest, again, out.Digest, files["f"])
			}
		})
	}
}
