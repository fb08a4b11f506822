package tasks

import (
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/tonistiigi/fsutil"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/buildcontext"
	"bottlebuild/tasks/buildkit"
	"bottlebuild/tasks/progress"
	"bottlebuild/tasks/registry"
)

// stressEnv makes tests that draw a sample take everything.
const stressEnv = "BOTTLEBUILD_STRESS"

// sample is how many edits of each case are built without stressEnv.
const sample = 2

// TestKeyOracle compares keys with what BuildKit's own client and frontend make
// of the same directory: for each Dockerfile of a corpus and each change of a
// single file, another image, or an image where there was an error, has another
// key. Edits that leave the key alone are what could refute that, so a sample is
// drawn from those. With all of them it counts how often the key changes and the
// image does not.
func TestKeyOracle(t *testing.T) {
	o := newOracle(t)
	files, err := filepath.Glob("testdata/oracle/*.txtar")
	must(t, err)
	t.Run("case", func(t *testing.T) {
		for _, name := range files {
			c := readCase(t, name)
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				o.run(t, c, os.Getenv(stressEnv) != "")
			})
		}
	})
	o.report(t)
}

func (o *oracle) run(t *testing.T, c *oracleCase, all bool) {
	repository := o.registry + "/" + c.name
	if c.base != "" {
		c.args["BASE"] = repository
		o.pushBase(t, repository, c.base, "base")
	}
	first := o.open(t, c, c.tree)
	base := first.build(t)
	first.compare(t, base)
	if key := o.open(t, c, c.tree).key; key != base.key {
		t.Errorf("in another directory, with other times, the key is %v, not %v", key, base.key)
	}
	list := edits(c.tree, o.xattrs)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	left := sample
	for _, e := range list {
		edited := c.tree.clone()
		e.make(edited)
		a := o.open(t, c, edited)
		if !all && (a.key != base.key || left == 0) {
			o.tell(e, a.key != base.key)
			continue
		}
		left--
		o.judge(t, e, base, a.build(t))
	}
	if c.base != "" {
		o.pushBase(t, repository, c.base, "another")
		o.judge(t, edit{what: "base image"}, base, o.open(t, c, c.tree).build(t))
	}
}

type oracle struct {
	builder *buildkit.Builder
	client  *client.Client
	store   *cache.Store
	tools   string
	dir     string // of the attempts' directories
	xattrs  bool   // whether they can have extended attributes

	registry string // address
	count    atomic.Int64

	mu      sync.Mutex
	tallies map[string]*tally
	// failed counts builds that did not find something, told those of which the
	// plan said it.
	failed, told int
}

// tally counts edits of one sort.
type tally struct{ edits, keys, built, images, needless int }

func openStore(t *testing.T) *cache.Store {
	s, err := cache.Open(filepath.Join(memoryDir(t), "cache"))
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func newOracle(t *testing.T) *oracle {
	o := &oracle{builder: startBuilder(t), dir: t.TempDir(), tools: t.TempDir(), tallies: map[string]*tally{}}
	c, err := client.New(t.Context(), o.builder.Address)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	o.client = c
	o.store = openStore(t)
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", filepath.Join(o.tools, "tree"), "./testdata/tree")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	o.registry = strings.TrimPrefix(server.URL, "http://")
	o.xattrs = takesXattrs(t, o.dir)
	return o
}

// pushBase puts an image with a file /base into a repository.
func (o *oracle) pushBase(t *testing.T, repository, kind, content string) {
	t.Helper()
	layer := static.NewLayer([]byte(tarOf(t, []string{"base=" + content})), types.OCIUncompressedLayer)
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer)
	must(t, err)
	f, err := img.ConfigFile()
	must(t, err)
	f = f.DeepCopy()
	f.OS, f.Architecture = "linux", strings.TrimPrefix(o.builder.Platforms[0], "linux/")
	f.Config = v1.Config{Env: []string{"FROM_BASE=from-base"}}
	if kind == "onbuild" {
		f.Config.OnBuild = []string{"COPY triggered/a /triggered", "ENV TRIGGERED=1"}
	}
	img, err = mutate.ConfigFile(img, f)
	must(t, err)
	ref, err := name.ParseReference(repository)
	must(t, err)
	must(t, remote.Write(ref, img))
}

// attempt is a case's directory as it is in one of its states.
type attempt struct {
	*oracle
	c      *oracleCase
	id     int64
	params Image
	worker *Worker
	key    cache.Key // zero if there is none
	err    error     // why there is no key
}

// outcome is what BuildKit makes of a directory, and the key that it has.
type outcome struct {
	key   cache.Key
	image string // digest; "none" if there is none
	err   error  // why there is no image
}

// open writes a tree to a directory of its own and takes its key.
func (o *oracle) open(t *testing.T, c *oracleCase, files tree) *attempt {
	t.Helper()
	a := &attempt{oracle: o, c: c, id: o.count.Add(1)}
	dir := filepath.Join(o.dir, fmt.Sprint(a.id))
	must(t, os.Mkdir(dir, 0o755))
	files.write(t, dir, time.Unix(1_500_000_000+a.id*1000, 0))
	a.params = Image{
		Context: dir, Dockerfile: filepath.Join(dir, c.dockerfile), Target: c.target,
		Args: c.args, Contexts: map[string]Context{}, Reproducible: true,
	}
	for name, sub := range c.contexts {
		a.params.Contexts[name] = Context{Dir: filepath.Join(dir, sub)}
	}
	if c.tools {
		a.params.Contexts["tools"] = Context{Dir: o.tools}
	}
	a.worker = newWorker(o.builder, o.store)
	r := cache.NewRecipe(KindImage)
	if a.err = a.worker.Describe(t.Context(), graph.Spec{Params: a.params, Known: true}, r); a.err == nil {
		a.key = r.Key()
	}
	return a
}

// newWorker returns a worker that knows nothing of earlier ones.
func newWorker(b *buildkit.Builder, store *cache.Store) *Worker {
	return &Worker{
		Store: store, Scanner: buildcontext.New(nil, 2), Platform: b.Platforms[0], Env: os.Environ(),
		Registry: &registry.Client{Keychain: authn.DefaultKeychain, Store: store},
		Builder:  func(context.Context) (*buildkit.Builder, error) { return b, nil },
		Progress: func(string) progress.Sink { return progress.Discard{} },
	}
}

// build builds the image as any client of BuildKit does, or in cases with "own"
// our way.
func (a *attempt) build(t *testing.T) outcome {
	t.Helper()
	build := a.theirs
	if a.c.own {
		build = a.ours
	}
	image, err := build(t)
	if err != nil {
		image = "none"
	}
	a.foretold(t, err)
	return outcome{a.key, image, err}
}

// foretold holds what a plan says of files that are missing against how the build
// went. It need not know of all.
func (a *attempt) foretold(t *testing.T, err error) {
	t.Helper()
	if a.err != nil {
		return
	}
	missing := a.worker.checkImage(a.params, graph.Spec{Known: true}, nil).Notes
	if len(missing) > 0 && err == nil {
		t.Errorf("%s is built, and it was said: %v", a.params.Context, missing)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil && strings.Contains(err.Error(), "not found") {
		a.failed++
		if len(missing) > 0 {
			a.told++
		}
	}
}

// compare has the image that we make be the one that BuildKit made.
func (a *attempt) compare(t *testing.T, theirs outcome) {
	t.Helper()
	image, err := a.ours(t)
	if err != nil {
		image = "none"
	}
	if image != theirs.image {
		t.Errorf("BuildKit makes %s of %s (error: %v); here it is %s (error: %v)", theirs.image, a.params.Context, theirs.err, image, err)
	}
}

func (a *attempt) ours(t *testing.T) (string, error) {
	if a.err != nil {
		return "", a.err
	}
	out, err := a.worker.runImage(t.Context(), a.params, graph.Work{Address: a.c.name, Key: a.key})
	return out.Digest.String(), err
}

func (a *attempt) theirs(t *testing.T) (string, error) {
	p := &a.params
	attrs := map[string]string{
		"filename": filepath.Base(p.Dockerfile), "target": p.Target, "build-arg:SOURCE_DATE_EPOCH": "0",
		"cmdline": "builtin", // not what "# syntax=" names: there is no network
	}
	for k, v := range p.Args {
		attrs["build-arg:"+k] = v
	}
	dirs := map[string]string{"context": p.Context, "dockerfile": filepath.Dir(p.Dockerfile)}
	for n, c := range p.Contexts {
		attrs["context:"+n] = "local:named-" + n
		dirs["named-"+n] = c.Dir
	}
	mounts := map[string]fsutil.FS{}
	for mount, dir := range dirs {
		f, err := fsutil.NewFS(dir)
		if err != nil {
			return "", err
		}
		mounts[mount] = f
	}
	res, err := a.client.Solve(t.Context(), nil, client.SolveOpt{
		Frontend: "dockerfile.v0", FrontendAttrs: attrs, LocalMounts: mounts,
		// BuildKit compares no content: it must take nothing from earlier directories.
		SharedKey: fmt.Sprint(a.id),
		Exports: []client.ExportEntry{{Type: client.ExporterImage, Attrs: map[string]string{
			"store": "false", "oci-mediatypes": "true", "compression": "zstd", "source-date-epoch": "0", "rewrite-timestamp": "true",
		}}},
	}, nil)
	if err != nil {
		return "", err
	}
	return res.ExporterResponse[exptypes.ExporterImageDigestKey], nil
}

func (o *oracle) tally(e edit) *tally {
	n := o.tallies[e.what]
	if n == nil {
		n = &tally{}
		o.tallies[e.what] = n
	}
	n.edits++
	return n
}

// tell counts an edit that was not built.
func (o *oracle) tell(e edit, key bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.tally(e)
	if key {
		n.keys++
	}
}

// judge compares an edit's outcome with that of the base.
func (o *oracle) judge(t *testing.T, e edit, base, got outcome) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.tally(e)
	n.built++
	image, key := got.image != base.image, got.key != base.key
	if image {
		n.images++
	}
	if key {
		n.keys++
	}
	if key && !image {
		n.needless++
	}
	if image && !key {
		t.Errorf("%s %s: the key stays, but the image becomes %s (error: %v)", e.what, e.name, got.image, got.err)
	}
}

func (o *oracle) report(t *testing.T) {
	all := &tally{}
	line := func(what string, n *tally) {
		t.Logf("%-14s %4d edits: %4d change the key; %4d were built: %4d change the image, %4d the key alone", what, n.edits, n.keys, n.built, n.images, n.needless)
	}
	for _, what := range slices.Sorted(maps.Keys(o.tallies)) {
		n := o.tallies[what]
		line(what, n)
		all.edits, all.keys, all.built = all.edits+n.edits, all.keys+n.keys, all.built+n.built
		all.images, all.needless = all.images+n.images, all.needless+n.needless
	}
	line("all", all)
	t.Logf("%d builds did not find something, %d of which were foretold", o.failed, o.told)
}
