package buildkit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/tonistiigi/fsutil"

	"bottlebuild/cache"
	"bottlebuild/tasks/registry"
)

// dockerfile is a Definition of that text.
func dockerfileOf(text string) Definition {
	return Definition{File: "Dockerfile", Dockerfile: []byte(text), Reproducible: true}
}

func build(t testing.TB, b *Builder, req BuildRequest) cache.Output {
	t.Helper()
	out, err := b.Build(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// fileIn returns the content of a file of a built image of one platform.
func fileIn(t testing.TB, store *cache.Store, out cache.Output, path string) string {
	t.Helper()
	img, err := registry.Image(store, out.Blobs[0])
	if err != nil {
		t.Fatal(err)
	}
	return readTar(t, mutate.Extract(img), path)
}

// withProgram is a directory with the test program as "thing" and files.
func withProgram(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := writeFiles(t, files)
	if err := os.WriteFile(filepath.Join(dir, "thing"), program(t), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestBuildReproducible builds the same on two daemons without anything cached,
// from directories with other times, on both ways into a store.
func TestBuildReproducible(t *testing.T) {
	def := dockerfileOf("FROM scratch\nCOPY thing /thing\nCOPY a.txt /\nRUN [\"/thing\",\"write\",\"/made\"]\nENTRYPOINT [\"/thing\"]\n")
	dir := withProgram(t, map[string]string{"a.txt": "hello"})
	first := embedded(t)
	store := openStore(t)
	want := build(t, first, BuildRequest{Definition: def, Store: store, Dirs: dirs(t, dir), SharedKey: "k"})

	names := []string{}
	for _, b := range want.Blobs {
		names = append(names, b.Name)
	}
	if diff := cmp.Diff([]string{"manifest", "config", "layer", "layer", "layer"}, names); diff != "" {
		t.Errorf("blobs (-want +got):\n%s", diff)
	}
	if want.Digest != want.Blobs[0].Digest || want.Attrs["config"] != want.Blobs[1].Digest.String() || want.Attrs["platform"] == "" {
		t.Errorf("output is %+v", want)
	}
	if got := fileIn(t, store, want, "made"); got != "made in a step" {
		t.Errorf("made is %q", got)
	}
	for _, b := range want.Blobs {
		if err := store.VerifyBlob(b.Digest); err != nil {
			t.Error(err)
		}
		if b.Name == "layer" && !strings.HasSuffix(b.MediaType, "+zstd") {
			t.Errorf("layer has media type %s", b.MediaType)
		}
	}

	old := time.Unix(1e9, 0)
	if err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(p, old, old))
	}); err != nil {
		t.Fatal(err)
	}
	for name, req := range map[string]BuildRequest{
		"session, cached": {NoPush: true},
		"push, uncached":  {NoCache: true},
	} {
		b, s := first, openStore(t)
		if req.NoCache {
			b = embedded(t)
		}
		req.Definition, req.Store, req.Dirs, req.SharedKey = def, s, dirs(t, dir), "other"
		got := build(t, b, req)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		for _, b := range got.Blobs {
			if err := s.VerifyBlob(b.Digest); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestBuild(t *testing.T) {
	b := embedded(t)
	if !b.SameHost || b.Name != "embedded" || len(b.Platforms) == 0 {
		t.Errorf("builder is %+v", b)
	}
	t.Run("content decides", func(t *testing.T) { testContentDecides(t, b) })
	t.Run("failing step", func(t *testing.T) { testFailingStep(t, b) })
	t.Run("linked image", func(t *testing.T) { testLinkedImage(t, b) })
	t.Run("platforms", func(t *testing.T) { testPlatforms(t, b) })
	t.Run("named directory", func(t *testing.T) { testNamedDirectory(t, b) })
	t.Run("pins", func(t *testing.T) { testPins(t, b) })
	t.Run("secret", func(t *testing.T) { testSecret(t, b) })
	t.Run("mistake", func(t *testing.T) { testMistake(t, b) })
	t.Run("warning", func(t *testing.T) { testWarning(t, b) })
	t.Run("cancel", func(t *testing.T) { testCancel(t, b) })
	t.Run("two stores", func(t *testing.T) { testTwoStores(t, b) })
}

// testContentDecides edits a file without changing its size and time, which
// BuildKit by itself takes for no change, also across two directories.
func testContentDecides(t *testing.T, b *Builder) {
	store := openStore(t)
	def := dockerfileOf("FROM scratch\nCOPY f /\n")
	at := time.Unix(1e9, 0)
	for _, content := range []string{"one", "two", "one", "six"} {
		dir := writeFiles(t, map[string]string{"f": content})
		if err := os.Chtimes(filepath.Join(dir, "f"), at, at); err != nil {
			t.Fatal(err)
		}
		out := build(t, b, BuildRequest{Definition: def, Store: store, Dirs: dirs(t, dir), SharedKey: "same"})
		if got := fileIn(t, store, out, "f"); got != content {
			t.Errorf("f is %q, want %q", got, content)
		}
	}
}

func testFailingStep(t *testing.T, b *Builder) {
	dir := withProgram(t, nil)
	sink := &logSink{}
	_, err := b.Build(t.Context(), BuildRequest{
		Definition: dockerfileOf("FROM scratch\nCOPY thing /\n\nRUN [\"/thing\",\"exit\",\"7\"]\n"),
		Store:      openStore(t), Dirs: dirs(t, dir), SharedKey: "fail", Progress: sink,
	})
	var got *DockerfileError
	if !errors.As(err, &got) {
		t.Fatalf("error %v is no DockerfileError", err)
	}
	if got.Line != 4 || got.ExitCode != 7 || !strings.HasPrefix(got.Source, "RUN [") || !strings.Contains(err.Error(), "/thing exit 7") {
		t.Errorf("line %d, exit code %d, source %q: %v", got.Line, got.ExitCode, got.Source, err)
	}
	if !strings.Contains(sink.logs.String(), "about to fail") {
		t.Errorf("log is %q", sink.logs.String())
	}
}

// testLinkedImage builds on an image that is nowhere but in the store, and takes
// files from it.
func testLinkedImage(t *testing.T, b *Builder) {
	store := openStore(t)
	dir := writeFiles(t, map[string]string{"f": "from base", "g": "own"})
	base := build(t, b, BuildRequest{
		Definition: dockerfileOf("FROM scratch\nCOPY f /\nENV WHERE=/from-env\n"), Store: store, Dirs: dirs(t, dir), SharedKey: "base",
	})
	def := dockerfileOf("FROM base AS named\nFROM base\nCOPY g $WHERE\nCOPY --from=base /f /copy\n")
	def.Contexts = map[string]Context{"base": {Image: &base}}
	a, err := Analyze(t.Context(), AnalyzeRequest{Definition: def, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]Dir{MainContext: {Paths: []string{"g"}}}, a.Dirs); diff != "" || len(a.Images) != 0 {
		t.Errorf("analysis has images %v and directories (-want +got):\n%s", a.Images, diff)
	}
	out := build(t, b, BuildRequest{Definition: def, Store: store, Dirs: dirs(t, dir), SharedKey: "dependent"})
	for path, want := range map[string]string{"f": "from base", "copy": "from base", "from-env": "own"} {
		if got := fileIn(t, store, out, path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if out.Blobs[2] != base.Blobs[2] {
		t.Errorf("first layer is %v, want the base's %v", out.Blobs[2], base.Blobs[2])
	}
	base.Digest = cache.DigestOf([]byte("nothing"))
	if _, err := Analyze(t.Context(), AnalyzeRequest{Definition: def, Store: store}); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("analysis over a missing image: %v", err)
	}
}

func testPlatforms(t *testing.T, b *Builder) {
	store := openStore(t)
	dir := writeFiles(t, map[string]string{"f-amd64": "A", "f-arm64": "B"})
	def := dockerfileOf("FROM scratch\nARG TARGETARCH\nCOPY f-$TARGETARCH /f\n")
	def.Platforms = []string{"linux/amd64", "linux/arm64"}
	base := build(t, b, BuildRequest{Definition: def, Store: store, Dirs: dirs(t, dir), SharedKey: "p"})
	if base.Attrs["platform"] != "linux/amd64,linux/arm64" || base.Blobs[0].Name != "index" || len(base.Blobs) != 7 {
		t.Errorf("output is %+v", base)
	}
	// Whoever links it gets the platform that is asked for.
	def = dockerfileOf("FROM base\n")
	def.Platforms, def.Contexts = []string{"linux/arm64"}, map[string]Context{"base": {Image: &base}}
	out := build(t, b, BuildRequest{Definition: def, Store: store, SharedKey: "q"})
	if got := fileIn(t, store, out, "f"); got != "B" || out.Attrs["platform"] != "linux/arm64" {
		t.Errorf("f is %q, attributes %v", got, out.Attrs)
	}
}

func testNamedDirectory(t *testing.T, b *Builder) {
	store := openStore(t)
	def := dockerfileOf("FROM scratch\nCOPY --from=example.com/lib:1 f /lib\nCOPY f /main\n")
	def.Contexts = map[string]Context{"example.com/lib:1": {Dir: true}}
	req := BuildRequest{Definition: def, Store: store, SharedKey: "n", Dirs: map[string]fsutil.FS{
		MainContext:         contentFS(t, writeFiles(t, map[string]string{"f": "main"})),
		"example.com/lib:1": contentFS(t, writeFiles(t, map[string]string{"f": "lib"})),
	}}
	out := build(t, b, req)
	for _, name := range []string{"lib", "main"} {
		if got := fileIn(t, store, out, name); got != name {
			t.Errorf("%s is %q", name, got)
		}
	}
	def.Contexts["unused"] = Context{Dir: true} // so nobody need give it
	if diff := cmp.Diff(out, build(t, b, req)); diff != "" {
		t.Error(diff)
	}
	delete(req.Dirs, "example.com/lib:1")
	if _, err := b.Build(t.Context(), req); err == nil || !strings.Contains(err.Error(), "no directory was given") {
		t.Errorf("without the directory: %v", err)
	}
}

// testPins moves a tag between analysis and build: what is built is what was
// analysed.
func testPins(t *testing.T, b *Builder) {
	elsewhere := openStore(t)
	server, err := registry.Serve(t.Context(), elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	ref := server.Addr() + "/" + server.Repository() + "/base:1"
	publish := func(content string) cache.Output {
		dir := writeFiles(t, map[string]string{"f": content})
		out := build(t, b, BuildRequest{Definition: dockerfileOf("FROM scratch\nCOPY f /\n"), Store: elsewhere, Dirs: dirs(t, dir), SharedKey: content})
		if _, err := server.Publish("base", out.Blobs[0], "1"); err != nil {
			t.Fatal(err)
		}
		return out
	}
	pinned := publish("old")
	publish("new")
	store := openStore(t)
	for name, def := range map[string]Definition{
		"FROM":      dockerfileOf("FROM " + ref + "\nLABEL a=b\n"),
		"COPY":      dockerfileOf("FROM scratch\nCOPY --from=" + ref + " /f /f\n"),
		"a context": {File: "Dockerfile", Dockerfile: []byte("FROM base\nLABEL a=b"), Contexts: map[string]Context{"base": {Ref: ref}}},
	} {
		req := BuildRequest{Definition: def, Store: store, SharedKey: "pin"}
		if _, err := b.Build(t.Context(), req); err == nil || !strings.Contains(err.Error(), "no digest") {
			t.Errorf("%s without a pin: %v", name, err)
		}
		req.Pins = map[string]string{ref: pinned.Digest.String()}
		if got := fileIn(t, store, build(t, b, req), "f"); got != "old" {
			t.Errorf("%s: f is %q", name, got)
		}
	}
}

func testSecret(t *testing.T, b *Builder) {
	store := openStore(t)
	dir := withProgram(t, nil)
	def := dockerfileOf("FROM scratch\nCOPY thing /\nRUN --mount=type=secret,id=tok,required=true [\"/thing\",\"write\",\"/made\"]\n")
	req := BuildRequest{Definition: def, Store: store, Dirs: dirs(t, dir), SharedKey: "s"}
	if _, err := b.Build(t.Context(), req); err == nil || !strings.Contains(err.Error(), "tok") {
		t.Errorf("without the secret: %v", err)
	}
	req.Secrets = map[string][]byte{"tok": []byte("hush")}
	build(t, b, req)
}

func testMistake(t *testing.T, b *Builder) {
	_, err := b.Build(t.Context(), BuildRequest{
		Definition: dockerfileOf("FROM scratch\nCOPY missing /\n"), Store: openStore(t), Dirs: dirs(t, t.TempDir()), SharedKey: "m",
	})
	var got *DockerfileError
	if !errors.As(err, &got) || got.Line != 2 || got.ExitCode != 0 || !strings.Contains(err.Error(), "missing") {
		t.Errorf("error is %+v", err)
	}
}

// testWarning has the linter's findings reach the display.
func testWarning(t *testing.T, b *Builder) {
	sink := &logSink{}
	build(t, b, BuildRequest{
		Definition: dockerfileOf("FROM scratch as x\nLABEL a=b\n"), Store: openStore(t), SharedKey: "w", Progress: sink,
	})
	if got := strings.Join(sink.warnings, "\n"); !strings.Contains(got, "FromAsCasing") || !strings.Contains(got, "(line 1)") {
		t.Errorf("warnings are %q", got)
	}
}

func testCancel(t *testing.T, b *Builder) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("called off")
	sink := sinkFunc(func(names []string) {
		if slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, "sleep") }) {
			cancel(stop)
		}
	})
	dir := withProgram(t, nil)
	_, err := b.Build(ctx, BuildRequest{
		Definition: dockerfileOf("FROM scratch\nCOPY thing /\nRUN [\"/thing\",\"sleep\"]\n"),
		Store:      openStore(t), Dirs: dirs(t, dir), SharedKey: "c", Progress: sink,
	})
	if !errors.Is(err, stop) {
		t.Errorf("error is %v", err)
	}
}

// testTwoStores builds the same into two stores at once.
func testTwoStores(t *testing.T, b *Builder) {
	dir := writeFiles(t, map[string]string{"f": "x"})
	outs := make(chan cache.Output, 2)
	for range 2 {
		go func() {
			store, err := cache.Open(filepath.Join(t.TempDir(), "cache"))
			if err != nil {
				t.Error(err)
			}
			defer store.Close()
			out, err := b.Build(t.Context(), BuildRequest{Definition: dockerfileOf("FROM scratch\nCOPY f /\n"), Store: store, Dirs: dirs(t, dir), SharedKey: "2"})
			if err != nil {
				t.Error(err)
			}
			outs <- out
		}()
	}
	if diff := cmp.Diff(<-outs, <-outs); diff != "" {
		t.Error(diff)
	}
}

// TestBuildOutlivesDaemon loses the daemon between two builds.
func TestBuildOutlivesDaemon(t *testing.T) {
	root := filepath.Join(t.TempDir(), "state")
	b := connect(t, spawnConfig(t, root, time.Hour))
	store := openStore(t)
	req := BuildRequest{
		Definition: dockerfileOf("FROM scratch\nCOPY f /\n"), Store: store,
		Dirs: dirs(t, writeFiles(t, map[string]string{"f": "x"})), SharedKey: "o",
	}
	want := build(t, b, req)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		endDaemon(t, root, sig)
		if diff := cmp.Diff(want, build(t, b, req)); diff != "" {
			t.Errorf("after %v (-want +got):\n%s", sig, diff)
		}
	}
}
