package tasks

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/buildkit"
	"bottlebuild/tasks/registry"
)

// gitServer serves a repository on loopback, as git's own program does.
type gitServer struct {
	url  string // "http://…/repo.git"
	work string // a checkout that is pushed from
}

func newGitServer(t *testing.T) *gitServer {
	t.Helper()
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		missing(t, "git is not installed: %v", err)
	}
	root := t.TempDir()
	s := &gitServer{work: filepath.Join(root, "work")}
	server := httptest.NewServer(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}, Stderr: io.Discard,
	})
	t.Cleanup(server.Close)
	s.url = server.URL + "/repo.git"
	run(t, root, "git", "init", "-q", "--bare", "-b", "main", "repo.git")
	run(t, root, "git", "init", "-q", "-b", "main", "work")
	return s
}

// commit writes files, pushes them, and returns the commit.
func (s *gitServer) commit(t *testing.T, files map[string]string, refs ...string) string {
	t.Helper()
	for name, content := range files {
		must(t, os.MkdirAll(filepath.Join(s.work, filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(filepath.Join(s.work, name), []byte(content), 0o644))
	}
	run(t, s.work, "git", "add", "-A")
	run(t, s.work, "git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "x")
	for _, ref := range refs {
		run(t, s.work, "git", "push", "-q", "-f", "../repo.git", "HEAD:"+ref)
	}
	return strings.TrimSpace(run(t, s.work, "git", "rev-parse", "HEAD"))
}

func run(t *testing.T, dir string, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
	return string(out)
}

// describe returns the key and the recipe of an image.
func describe(t *testing.T, w *Worker, p Image) (cache.Key, *cache.Recipe, error) {
	t.Helper()
	r := cache.NewRecipe(KindImage)
	if err := w.Describe(t.Context(), graph.Spec{Address: "image.x", Params: p, Known: true}, r); err != nil {
		return cache.Key{}, nil, err
	}
	return r.Key(), r, nil
}

// buildFiles describes and builds an image, and returns its key and its files,
// content by path.
func buildFiles(t *testing.T, w *Worker, p Image) (cache.Key, cache.Output, map[string]string) {
	t.Helper()
	key, _, err := describe(t, w, p)
	must(t, err)
	out, err := w.runImage(t.Context(), p, graph.Work{Address: "image.x", Key: key})
	must(t, err)
	return key, out, filesOf(t, w.Store, out)
}

// filesOf returns the files of an image of the store, content by path.
func filesOf(t *testing.T, store *cache.Store, image cache.Output) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, b := range image.Blobs {
		if b.Name != "layer" {
			continue
		}
		f, err := os.Open(store.BlobPath(b.Digest))
		must(t, err)
		tr := tar.NewReader(f)
		if b.MediaType != string(types.OCIUncompressedLayer) {
			z, err := zstd.NewReader(f) // reads ahead, so it is alone with the file
			must(t, err)
			defer z.Close()
			tr = tar.NewReader(z)
		}
		for {
			h, err := tr.Next()
			if err == io.EOF {
				break
			}
			must(t, err)
			if h.Typeflag == tar.TypeReg {
				content, err := io.ReadAll(tr)
				must(t, err)
				files[h.Name] = string(content)
			}
		}
		f.Close()
	}
	return files
}

// TestRemoteSources has Git refs and URLs be resolved before a build, pinned, and
// built as they were planned.
func TestRemoteSources(t *testing.T) {
	b, store, git := startBuilder(t), openStore(t), newGitServer(t)
	first := git.commit(t, map[string]string{"f": "first", "sub/g": "sub"}, "refs/heads/main", "refs/tags/v1")
	second := git.commit(t, map[string]string{"f": "second"}, "refs/heads/main")
	var body atomic.Value
	body.Store("one")
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body.Load().(string)) }))
	defer web.Close()

	p := Image{Context: t.TempDir(), Reproducible: true, DockerfileInline: fmt.Sprintf(
		"FROM scratch\nADD %s#main:sub /sub\nADD %s#v1 /v1\nADD %s/x /x\nCOPY --from=lib f /lib\n", git.url, git.url, web.URL)}
	p.Contexts = map[string]Context{"lib": {Ref: git.url}}
	key, _, files := buildFiles(t, newWorker(b, store), p)
	want := map[string]string{"sub/g": "sub", "v1/f": "first", "v1/sub/g": "sub", "x": "one", "lib": "second"}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	pins := Pins{
		{PinGit, git.url}: second, {PinGit, git.url + "#main"}: second, {PinGit, git.url + "#v1"}: first,
		{PinHTTP, web.URL + "/x"}: cache.DigestOf([]byte("one")).String(),
	}
	locked, undecided, err := newWorker(b, store).Lock(t.Context(), []*graph.Node{imageNode(p)})
	must(t, err)
	if diff := cmp.Diff(pins, locked); diff != "" || len(undecided) > 0 {
		t.Errorf("lock (-want +got):\n%s\nundecided: %q", diff, undecided)
	}

	third := git.commit(t, map[string]string{"f": "third", "sub/g": "new"}, "refs/heads/main")
	body.Store("two")
	moved, _, err := describe(t, newWorker(b, store), p)
	must(t, err)
	if moved == key {
		t.Error("what the names stand for has changed, and the key has not")
	}
	w := newWorker(b, store)
	w.Pins, w.Locked = locked, true
	if again, _, err := describe(t, w, p); err != nil || again != key {
		t.Errorf("with the lock file the key is %v, error %v; it was %v", again, err, key)
	}
	var names []string
	for _, m := range w.Moved(t.Context()) {
		names = append(names, m.Name+" "+m.Now)
	}
	if diff := cmp.Diff([]string{git.url + " " + third, git.url + "#main " + third, web.URL + "/x " + cache.DigestOf([]byte("two")).String()}, names); diff != "" {
		t.Errorf("moved (-want +got):\n%s", diff)
	}
	// The pins reach BuildKit: a Git source is still the old commit, and content
	// that is another is refused.
	w = newWorker(startBuilder(t), openStore(t))
	w.Pins = locked
	if _, err := w.runImage(t.Context(), p, graph.Work{Address: "image.x", Key: key}); err == nil || !strings.Contains(err.Error(), "digest mismatch") {
		t.Errorf("a source with other content than was planned: %v", err)
	}
	body.Store("one")
	if _, _, files = buildFiles(t, w, p); files["lib"] != "second" || files["sub/g"] != "sub" {
		t.Errorf("with the lock file these are built: %v", files)
	}
}

// TestGitContext has the main context be a directory of a repository.
func TestGitContext(t *testing.T) {
	b, store, git := startBuilder(t), openStore(t), newGitServer(t)
	first := git.commit(t, map[string]string{
		"app/Dockerfile": "FROM scratch\nCOPY . /\n", "app/f": "first", "app/.dockerignore": "nothing", "other": "x",
	}, "refs/heads/main")
	p := Image{Remote: git.url + "#main:app", Dockerfile: "Dockerfile", Reproducible: true}
	key, out, files := buildFiles(t, newWorker(b, store), p)
	if diff := cmp.Diff(map[string]string{"Dockerfile": "FROM scratch\nCOPY . /\n", "f": "first", ".dockerignore": "nothing"}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	p.Remote = git.url + "#" + first + ":app"
	if _, same, _ := buildFiles(t, newWorker(b, store), p); same.Digest != out.Digest {
		t.Errorf("by its commit it is %s, not %s", same.Digest, out.Digest)
	}
	p.Remote = git.url + "#main:app"
	locked, _, err := newWorker(b, store).Lock(t.Context(), []*graph.Node{imageNode(p)})
	must(t, err)
	if diff := cmp.Diff(Pins{{PinGit, git.url + "#main"}: first}, locked); diff != "" {
		t.Errorf("lock (-want +got):\n%s", diff)
	}
	git.commit(t, map[string]string{"app/f": "second"}, "refs/heads/main")
	if moved, _, err := describe(t, newWorker(b, store), p); err != nil || moved == key {
		t.Errorf("the branch has moved, and the key is the same: %v", err)
	}
	w := newWorker(b, store)
	w.Pins = locked
	again, same, _ := buildFiles(t, w, p)
	if again != key || same.Digest != out.Digest {
		t.Error("with the lock file another commit is taken")
	}
	if err := CheckLocked(t.Context(), []*graph.Node{imageNode(p)}, nil, "linux/amd64"); err == nil {
		t.Error("a branch that is not pinned is no fault")
	}
	p.Dockerfile = "none"
	if _, _, err := describe(t, newWorker(b, store), p); err == nil || !strings.Contains(err.Error(), "there is no file app/none in commit") {
		t.Errorf("a Dockerfile that is not there: %v", err)
	}
}

// TestArchiveURL has an archive at a URL be unpacked, keyed by its content.
func TestArchiveURL(t *testing.T) {
	b, store := startBuilder(t), openStore(t)
	var content atomic.Value
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		z := gzip.NewWriter(w)
		io.WriteString(z, tarOf(t, []string{"f=" + content.Load().(string)}))
		z.Close()
	}))
	defer web.Close()
	p := Image{Context: t.TempDir(), Reproducible: true, DockerfileInline: "FROM scratch\nADD --unpack=true " + web.URL + "/x.tar.gz /src/\n"}
	keys := map[cache.Key]bool{}
	for _, text := range []string{"one", "two"} {
		content.Store(text)
		key, _, files := buildFiles(t, newWorker(b, store), p)
		if diff := cmp.Diff(map[string]string{"src/f": text}, files); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		keys[key] = true
	}
	if len(keys) != 2 {
		t.Error("another archive has the same key")
	}
}

func imageNode(p Image) *graph.Node {
	return &graph.Node{Address: "image.x", Kind: KindImage, Pos: "bottles.hcl:1", Bind: func(graph.Inputs) (graph.Params, error) { return p, nil }}
}

func TestUnpinned(t *testing.T) {
	p := Image{Context: t.TempDir(), Attest: map[string]string{buildkit.SBOM: ""}, DockerfileInline: "FROM alpine:3 AS a\nFROM busybox@sha256:" + strings.Repeat("1", 64) + "\nADD https://example.com/x /\nADD https://example.com/r.git#main:d /r\nCOPY --from=a / /\n"}
	err := CheckLocked(t.Context(), []*graph.Node{imageNode(p)}, Pins{{PinHTTP, "https://example.com/x"}: cache.Digest{}.String()}, "linux/amd64")
	var unpinned *UnpinnedError
	if !errors.As(err, &unpinned) {
		t.Fatalf("error %v", err)
	}
	want := []Pin{{PinImage, "docker.io/library/alpine:3"}, {PinImage, buildkit.DefaultScanner}, {PinGit, "https://example.com/r.git#main"}}
	if diff := cmp.Diff(want, unpinned.Pins); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(err.Error(), "image.x (bottles.hcl:1): not in the lock file: ") {
		t.Errorf("error %v", err)
	}
}

func TestResolveGit(t *testing.T) {
	git := newGitServer(t)
	branch := git.commit(t, map[string]string{"f": "1"}, "refs/heads/main", "refs/heads/both", "refs/tags/light")
	tag := git.commit(t, map[string]string{"f": "2"}, "refs/tags/both", "refs/heads/other/main")
	run(t, git.work, "git", "-c", "user.name=t", "-c", "user.email=t@example.com", "tag", "-a", "-m", "x", "note")
	run(t, git.work, "git", "push", "-q", "../repo.git", "note")
	w := &Worker{Env: os.Environ()}
	for ref, want := range map[string]string{
		"": branch, "#main": branch, "#both": branch, "#refs/tags/both": tag, "#light": branch, "#note": tag, "#other/main": tag, "#refs/heads/main": branch, "#heads/main": branch,
	} {
		got, err := w.resolveGit(t.Context(), git.url+ref)
		if err != nil || got != want {
			t.Errorf("%q is %s, error %v; want %s", ref, got, err, want)
		}
	}
	if _, err := w.resolveGit(t.Context(), git.url+"#none"); err == nil || errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("a ref that is not there: %v", err)
	}
	if _, err := w.resolveGit(t.Context(), "http://127.0.0.1:1/r.git"); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("a host that is not there: %v", err)
	}
	if _, err := w.resolveGit(t.Context(), "--upload-pack=touch"); err == nil {
		t.Error("an option went through as a URL")
	}
}

// TestAttest has provenance be made beside an image that stays what it is.
func TestAttest(t *testing.T) {
	b, store := startBuilder(t), openStore(t)
	p := Image{Context: t.TempDir(), Reproducible: true, DockerfileInline: "FROM scratch\nCOPY <<x /f\ntext\nx\n"}
	plainKey, plain, _ := buildFiles(t, newWorker(b, store), p)
	p.Attest = map[string]string{buildkit.Provenance: "mode=max"}
	p.NoCache = true
	var last cache.Digest
	for range 2 {
		key, out, files := buildFiles(t, newWorker(b, store), p)
		top, ok := out.Blob(buildkit.Attested)
		if out.Digest != plain.Digest || key == plainKey || !ok || files["f"] != "text\n" {
			t.Errorf("image %s with provenance %v, without %s", out.Digest, ok, plain.Digest)
		}
		if top.Digest == last {
			t.Error("two builds have the same provenance, so that nothing is tested")
		}
		last = top.Digest
		if given := withAttestations(out); given.Digest != top.Digest {
			t.Errorf("%s is pushed, not %s", given.Digest, top.Digest)
		}
		if _, err := registry.ReadImage(store, top); err != nil {
			t.Error(err)
		}
	}
	p.Platforms = []string{"linux/amd64", "linux/arm64"}
	_, out, _ := buildFiles(t, newWorker(b, store), p)
	p.Attest = nil
	_, plain, _ = buildFiles(t, newWorker(b, store), p)
	if out.Digest != plain.Digest || out.Attrs["platform"] != plain.Attrs["platform"] {
		t.Errorf("for two platforms: image %s of %s with provenance, %s of %s without", out.Digest, out.Attrs["platform"], plain.Digest, plain.Attrs["platform"])
	}
}
