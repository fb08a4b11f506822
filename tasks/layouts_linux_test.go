package tasks

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/crane"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"bottlebuild/cache"
	"bottlebuild/graph"
)

// layoutImage is an image with the file /base and the variable WHAT.
func layoutImage(t *testing.T, content, architecture string) v1.Image {
	t.Helper()
	layer := static.NewLayer([]byte(tarOf(t, []string{"base=" + content})), types.OCIUncompressedLayer)
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer)
	must(t, err)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS: "linux", Architecture: architecture, Config: v1.Config{Env: []string{"WHAT=" + content}}, RootFS: v1.RootFS{Type: "layers", DiffIDs: diffIDs(t, img)},
	})
	must(t, err)
	return img
}

func diffIDs(t *testing.T, img v1.Image) []v1.Hash {
	t.Helper()
	config, err := img.ConfigFile()
	must(t, err)
	return config.RootFS.DiffIDs
}

// tagged puts an image into a layout under a tag, in place of what has it.
func tagged(t *testing.T, dir layout.Path, img v1.Image, tag string) v1.Hash {
	t.Helper()
	must(t, dir.ReplaceImage(img, func(d v1.Descriptor) bool { return d.Annotations[ocispecs.AnnotationRefName] == tag },
		layout.WithAnnotations(map[string]string{ocispecs.AnnotationRefName: tag})))
	d, err := img.Digest()
	must(t, err)
	return d
}

// TestLayoutContext builds from images in a local OCI layout.
func TestLayoutContext(t *testing.T) {
	b, store, arch := startBuilder(t), openStore(t), runtime.GOARCH
	dir, err := layout.Write(filepath.Join(t.TempDir(), "layout"), empty.Index)
	must(t, err)
	old := tagged(t, dir, layoutImage(t, "old", arch), "latest")
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: layoutImage(t, "this", arch), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}},
		mutate.IndexAddendum{Add: layoutImage(t, "other", "riscv64"), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "riscv64"}}})
	must(t, dir.AppendIndex(index, layout.WithAnnotations(map[string]string{ocispecs.AnnotationRefName: "multi"})))

	image := func(base, multi string) Image {
		return Image{
			Context: t.TempDir(), Reproducible: true,
			DockerfileInline: "FROM base\nCOPY --from=multi /base /copied\nCOPY <<x /what\n$WHAT\nx\n",
			Contexts: map[string]Context{
				"base": {Layout: &LayoutImage{Dir: string(dir), Tag: base}}, "multi": {Layout: &LayoutImage{Dir: string(dir), Tag: multi}},
			},
		}
	}
	key, out, files := buildFiles(t, newWorker(b, store), image("", "multi"))
	if diff := cmp.Diff(map[string]string{"base": "old", "copied": "this", "what": "old\n"}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	tagged(t, dir, layoutImage(t, "new", arch), "latest")
	moved, _, files := buildFiles(t, newWorker(b, store), image("", "multi"))
	if moved == key || files["what"] != "new\n" || files["base"] != "new" {
		t.Errorf("the tag has moved: another key %v, files %v", moved != key, files)
	}
	// By its digest it is the image that it was, in another builder and store too.
	again, same, _ := buildFiles(t, newWorker(b, store), image(old.String(), "multi"))
	if again != key || same.Digest != out.Digest {
		t.Errorf("by its digest: equal keys %v, images %s and %s", again == key, same.Digest, out.Digest)
	}
	if locked, undecided, err := newWorker(b, store).Lock(t.Context(), []*graph.Node{imageNode(image("", "multi"))}); err != nil || len(locked)+len(undecided) > 0 {
		t.Errorf("lock: %v, undecided %q, error %v", locked, undecided, err)
	}
	must(t, CheckLocked(t.Context(), []*graph.Node{imageNode(image("", "multi"))}, nil, b.Platforms[0]))

	// What a layout has lost, and nothing else has, ends the build.
	other := tagged(t, dir, layoutImage(t, "other layers", arch), "lost")
	img, err := dir.Image(other)
	must(t, err)
	layers, err := img.Layers()
	must(t, err)
	layer, err := layers[0].Digest()
	must(t, err)
	path := filepath.Join(string(dir), "blobs", "sha256", layer.Hex)
	whole, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, make([]byte, len(whole)), 0o644))
	if _, err := newWorker(b, store).runImage(t.Context(), image("lost", "multi"), graph.Work{Address: "image.x"}); err == nil || !strings.Contains(err.Error(), layer.Hex) {
		t.Errorf("a damaged layer: %v", err)
	}
	must(t, os.Truncate(path, 1))
	if _, _, err := describe(t, newWorker(b, store), image("lost", "multi")); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a layer that was cut off: %v", err)
	}
	must(t, os.Remove(path))
	if _, _, err := describe(t, newWorker(b, store), image("lost", "multi")); err == nil || !strings.Contains(err.Error(), layer.Hex) {
		t.Errorf("a layer that is not there: %v", err)
	}
	config, err := img.ConfigName()
	must(t, err)
	must(t, os.Remove(filepath.Join(string(dir), "blobs", "sha256", config.Hex)))
	if _, _, err := describe(t, newWorker(b, openStore(t)), image("lost", "multi")); err == nil || !strings.Contains(err.Error(), "config of manifest") {
		t.Errorf("a config that is not there: %v", err)
	}
}

// TestImageAsContext reads from images what COPY and ADD name no other source for.
func TestImageAsContext(t *testing.T) {
	b, store, arch := startBuilder(t), openStore(t), runtime.GOARCH
	dir, err := layout.Write(filepath.Join(t.TempDir(), "layout"), empty.Index)
	must(t, err)
	tagged(t, dir, layoutImage(t, "old", arch), "v1")
	main := func(c Context) Image {
		return Image{
			Reproducible: true, DockerfileInline: "FROM scratch\nCOPY base /copied\nADD --chmod=600 ba* /added/\n",
			Contexts: map[string]Context{"context": c},
		}
	}
	local := main(Context{Layout: &LayoutImage{Dir: string(dir), Tag: "v1"}})
	key, old, files := buildFiles(t, newWorker(b, store), local)
	if diff := cmp.Diff(map[string]string{"copied": "old", "added/base": "old"}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	tagged(t, dir, layoutImage(t, "new", arch), "v1")
	if moved, _, files := buildFiles(t, newWorker(b, store), local); moved == key || files["copied"] != "new" {
		t.Errorf("the tag has moved: another key %v, files %v", moved != key, files)
	}

	// An image of the store, and the same one in a registry.
	w := newWorker(b, store)
	linked := main(Context{Image: "image.first"})
	linked.DockerfileInline = "FROM scratch\nCOPY copied /again\n"
	inputs := graph.Inputs{"image.first": old}
	recipe := cache.NewRecipe(KindImage)
	must(t, w.Describe(t.Context(), graph.Spec{Address: "image.x", Params: linked, Inputs: inputs, Known: true}, recipe))
	if text := recipe.Text(); !strings.Contains(text, old.Digest.String()) {
		t.Errorf("the recipe has no digest of the context:\n%s", text)
	}
	out, err := w.runImage(t.Context(), linked, graph.Work{Address: "image.x", Key: recipe.Key(), Inputs: inputs})
	must(t, err)
	if again := filesOf(t, store, out); again["again"] != "old" {
		t.Errorf("from an image of the store: %v", again)
	}
	reg := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(reg.Close)
	ref := strings.TrimPrefix(reg.URL, "http://") + "/files:v1"
	must(t, crane.Push(layoutImage(t, "remote", arch), ref))
	remote, _, files := buildFiles(t, newWorker(b, store), main(Context{Ref: "docker-image://" + ref}))
	if files["copied"] != "remote" {
		t.Errorf("from a registry: %v", files)
	}
	must(t, crane.Push(layoutImage(t, "moved", arch), ref))
	if moved, _, files := buildFiles(t, newWorker(b, store), main(Context{Ref: "docker-image://" + ref})); moved == remote || files["copied"] != "moved" {
		t.Errorf("the tag has moved in the registry: another key %v, files %v", moved != remote, files)
	}
	if locked, undecided, err := newWorker(b, store).Lock(t.Context(), []*graph.Node{imageNode(main(Context{Ref: "docker-image://" + ref}))}); err != nil || len(locked) != 1 || len(undecided) > 0 {
		t.Errorf("lock: %v, undecided %q, error %v", locked, undecided, err)
	}
}
