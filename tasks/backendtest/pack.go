package backendtest

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
)

var packTests = []testCase{
	{"Preflight", nil, testPreflight},
	{"PackIsInTheStore", nil, testPackIsInTheStore},
	{"PackIsDeterministic", func(h Harness) bool { return !h.DeterministicPack }, testPackDeterministic},
	{"PackOfAnotherImageDiffers", nil, testPackDiffers},
	{"PackOfImageNotInStore", nil, testPackMissingImage},
	{"PackOfDamagedLayer", nil, testPackDamagedLayer},
	{"PackOfOtherPlatform", nil, testPackOtherPlatform},
	{"PackAtOnce", nil, testPackAtOnce},
	{"CheckPackOfAnotherBackend", nil, testCheckForeignPack},
	{"CheckPackAfterEviction", nil, testCheckPackEvicted},
	{"CreateFromEvictedPack", nil, testCreateFromEvictedPack},
}

func testPreflight(t *testing.T, f *fixture) {
	info, err := f.b.Preflight(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Name == "" || info.Version == "" {
		t.Errorf("Preflight = %+v, want a name and a version", info)
	}
	again, err := f.b.Preflight(t.Context())
	if err != nil || again != info {
		t.Errorf("second Preflight = %+v, %v; want %+v", again, err, info)
	}
	if n := f.b.Name(); n != "smolvm" && n != "container" {
		t.Errorf("Name = %q", n)
	}
}

func testPackIsInTheStore(t *testing.T, f *fixture) {
	if f.pack.Digest.IsZero() || len(f.pack.Blobs) == 0 {
		t.Fatalf("Pack = %+v, want a digest and blobs", f.pack)
	}
	artifact := false
	for _, b := range f.pack.Blobs {
		if err := f.store.HasBlob(b.Digest, b.Size); err != nil {
			t.Error(err)
		}
		if err := f.store.VerifyBlob(b.Digest); err != nil {
			t.Error(err)
		}
		artifact = artifact || b.Digest == f.pack.Digest
	}
	if !artifact {
		t.Errorf("none of the pack's blobs is the artifact %s", f.pack.Digest)
	}
	if err := f.b.CheckPack(t.Context(), f.pack); err != nil {
		t.Errorf("CheckPack: %v", err)
	}
}

func testPackDeterministic(t *testing.T, f *fixture) {
	if diff := cmp.Diff(f.pack, f.packImage(t, f.image)); diff != "" {
		t.Errorf("second pack differs (-first +second):\n%s", diff)
	}
	other := *f
	other.store = newStore(t)
	other.b = f.h.New(t, other.store, t.TempDir())
	again := other.packImage(t, Image(t, other.store, f.imageConfig()))
	if diff := cmp.Diff(f.pack, again); diff != "" {
		t.Errorf("pack in another store differs (-first +second):\n%s", diff)
	}
}

func testPackDiffers(t *testing.T, f *fixture) {
	c := f.imageConfig()
	c.Layers = [][]byte{NewTar(t).File("more", 0o644, "more").Bytes()}
	if p := f.packImage(t, Image(t, f.store, c)); p.Digest == f.pack.Digest {
		t.Errorf("packs of two images have one digest %s", p.Digest)
	}
}

// alone returns a fixture with store and backend of its own, and its image not
// yet packed.
func alone(t *testing.T, f *fixture) *fixture {
	t.Helper()
	other := &fixture{h: f.h, store: newStore(t), state: t.TempDir(), port: f.port}
	other.b = f.h.New(t, other.store, other.state)
	other.image = Image(t, other.store, other.imageConfig())
	return other
}

func wantPackFails(t *testing.T, f *fixture, platform string) error {
	t.Helper()
	out, err := f.b.Pack(t.Context(), backend.PackRequest{Image: f.image, Platform: platform, Log: t.Output()})
	if err == nil {
		t.Fatalf("Pack = %+v, want an error", out)
	}
	return err
}

func testPackMissingImage(t *testing.T, f *fixture) {
	f = alone(t, f)
	layer, _ := f.image.Blob("layer")
	if err := os.Remove(f.store.BlobPath(layer.Digest)); err != nil {
		t.Fatal(err)
	}
	if err := wantPackFails(t, f, Platform); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("error = %v, want one that wraps cache.ErrMiss", err)
	}
}

func testPackDamagedLayer(t *testing.T, f *fixture) {
	f = alone(t, f)
	layer, _ := f.image.Blob("layer")
	path := f.store.BlobPath(layer.Digest)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Log(wantPackFails(t, f, Platform))
	if list, err := f.b.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List = %v, %v; want none", list, err)
	}
}

func testPackOtherPlatform(t *testing.T, f *fixture) {
	arch := "arm64"
	if runtime.GOARCH == arch {
		arch = "amd64"
	}
	t.Log(wantPackFails(t, alone(t, f), "linux/"+arch))
}

func testCheckPackEvicted(t *testing.T, f *fixture) {
	f = alone(t, f)
	pack := f.packImage(t, f.image)
	if err := os.Remove(f.store.BlobPath(pack.Digest)); err != nil {
		t.Fatal(err)
	}
	if err := f.b.CheckPack(t.Context(), pack); err == nil {
		t.Error("CheckPack = nil though the artifact is gone")
	}
	pack = f.packImage(t, f.image)
	if err := f.b.CheckPack(t.Context(), pack); err != nil {
		t.Errorf("CheckPack after a second Pack: %v", err)
	}
}

func testCreateFromEvictedPack(t *testing.T, f *fixture) {
	f = alone(t, f)
	pack := f.packImage(t, f.image)
	for _, b := range pack.Blobs {
		if err := os.Remove(f.store.BlobPath(b.Digest)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	spec := f.spec(t)
	if err := f.b.Create(t.Context(), spec, pack); err == nil {
		t.Fatal("Create from a pack that is gone = nil")
	}
	if _, err := f.b.Status(t.Context(), spec.Name); !errors.Is(err, backend.ErrNotFound) {
		t.Errorf("Status after failed Create: %v, want ErrNotFound", err)
	}
}

func (f *fixture) imageConfig() ImageConfig {
	return ImageConfig{Entrypoint: []string{"/bin/guest", "serve", fmt.Sprint(f.port)}}
}

func testPackAtOnce(t *testing.T, f *fixture) {
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			pack, err := f.b.Pack(t.Context(), backend.PackRequest{Image: f.image, Platform: Platform})
			if err == nil {
				err = f.b.CheckPack(t.Context(), pack)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// testCheckForeignPack has what is no pack of this backend.
func testCheckForeignPack(t *testing.T, f *fixture) {
	d, err := f.store.PutBytes([]byte("something else"))
	if err != nil {
		t.Fatal(err)
	}
	pack := cache.Output{Digest: d, Blobs: []cache.Blob{{Name: "other", Digest: d, Size: 14}}}
	if err := f.b.CheckPack(t.Context(), pack); err == nil {
		t.Error("CheckPack = nil")
	}
	spec := f.spec(t)
	if err := f.b.Create(t.Context(), spec, pack); err == nil {
		t.Error("Create = nil")
	}
}
