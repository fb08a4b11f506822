package smolvm

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/backendtest"
	"bottlebuild/tasks/registry"
	"bottlebuild/tasks/selftest"
)

// underTest packs an image and returns it with a machine that was asked for.
func (r *rig) underTest(t *testing.T, extra string) (cache.Output, backend.Spec, selftest.Machine) {
	t.Helper()
	layer := backendtest.NewTar(t).File("opt/app/version", 0o644, extra)
	image := backendtest.Image(t, r.store, backendtest.ImageConfig{Layers: [][]byte{layer.Bytes()}})
	manifest, _ := image.Blob("manifest")
	img, err := registry.Image(r.store, manifest)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := selftest.Sample(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	pack, err := r.Pack(t.Context(), backend.PackRequest{Image: image, Platform: backendtest.Platform})
	if err != nil {
		t.Fatal(err)
	}
	spec := backend.Spec{Name: "m", Env: map[string]string{"A": "b=c", "EMPTY": ""}}
	return pack, spec, selftest.Machine{
		Name: "m", Arch: runtime.GOARCH, Env: spec.Env, SecretEnv: map[string]string{"S": "s3cret"}, User: "node", Workdir: "/home/node", Samples: samples,
	}
}

// TestSelfTestPasses is for the oldest version, which needs the guest's tools,
// and the newest.
func TestSelfTestPasses(t *testing.T) {
	for _, v := range []string{versions[0], newest} {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, settings{version: v})
			pack, spec, m := r.underTest(t, "1")
			r.mustCreate(t, spec, pack)
			if err := r.Start(t.Context(), "m"); err != nil {
				t.Fatal(err)
			}
			if n, err := selftest.Run(t.Context(), r, m); err != nil || n < 15 {
				t.Errorf("%d checks passed, %v", n, err)
			}
			for _, c := range r.calls(t, "machine") {
				if strings.Contains(strings.Join(c.Args, " "), "s3cret") {
					t.Errorf("the secret stands in %q", c.Args)
				}
			}
		})
	}
}

// TestSelfTestFindsLies has smolvm say that all is well.
func TestSelfTestFindsLies(t *testing.T) {
	for fault, want := range map[string]string{
		"start:leak":       "reaches what its network block does not allow: this host's loopback, 127.0.0.1 (TCP)",
		"exec:lostenv":     "the environment variable A reaches commands not at all",
		"exec:otheruser":   "commands run as user 0, not as node (1000)",
		"exec:otherdir":    "commands run in /, not in /home/node",
		"pack:rootowned":   "files in /home/node do not belong to node: /home/node (of user 0)",
		"create:otherpack": "the machine's files are not those of its pack: /opt/app/version",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, settings{})
			if fault == "create:otherpack" {
				other, spec, _ := r.underTest(t, "2")
				spec.Name = "a"
				r.mustCreate(t, spec, other)
			}
			r = r.with(t, fault)
			pack, spec, m := r.underTest(t, "1")
			r.mustCreate(t, spec, pack)
			if err := r.Start(t.Context(), "m"); err != nil {
				t.Fatal(err)
			}
			// The host's own addresses are tried too, and lead no further here.
			_, err := selftest.Run(t.Context(), r, m)
			var failed *selftest.Error
			if !errors.As(err, &failed) || !strings.Contains(err.Error(), want) {
				t.Errorf("error = %v, want one that says %q", err, want)
			}
		})
	}
}

// TestSelfTestImpossible has an image without anything in it, and a smolvm that
// would need something.
func TestSelfTestImpossible(t *testing.T) {
	for v, possible := range map[string]bool{"1.8.1": false, "1.9.3": false, newest: true} {
		r := newRig(t, settings{version: v})
		r.mustCreate(t, backend.Spec{Name: "m"}, r.smallPack(t))
		if err := r.Start(t.Context(), "m"); err != nil {
			t.Fatal(err)
		}
		_, err := selftest.Run(t.Context(), r, selftest.Machine{Name: "m", Arch: runtime.GOARCH, User: "0", Workdir: "/"}) // the image's own is not there
		if possible && err != nil || !possible && !errors.Is(err, selftest.ErrImpossible) {
			t.Errorf("%s: %v", v, err)
		}
	}
}
