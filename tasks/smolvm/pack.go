package smolvm

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/smolvm/sidecar"
)

// The names of a pack's attributes.
const (
	attrConfig    = "config"    // digest of the config of the image that was packed
	attrUser      = "user"      // the image's user, which a sidecar does not tell
	attrVersion   = "smolvm"    // version of smolvm that packed
	attrFlattened = "flattened" // digest of the manifest made of one layer, if one was made
)

// sidecarBlob is the name of a pack's only blob.
const sidecarBlob = "sidecar"

// Pack offers the image on a registry of its own on loopback, the only place
// from which any smolvm takes one, has smolvm pack it, checks the sidecar that
// comes out, and puts that into the store. smolvm boots a virtual machine for
// this; if it was too slow, once more.
//
// The output has one blob, "sidecar", and its digest.
func (b *Backend) Pack(ctx context.Context, req backend.PackRequest) (cache.Output, error) {
	out, err := b.pack(ctx, req)
	if err != nil {
		return cache.Output{}, fmt.Errorf("pack image %s: %w", req.Image.Digest, err)
	}
	return out, nil
}

func (b *Backend) pack(ctx context.Context, req backend.PackRequest) (cache.Output, error) {
	if _, err := b.Preflight(ctx); err != nil {
		return cache.Output{}, err
	}
	p, err := b.program(ctx)
	if err != nil {
		return cache.Output{}, err
	}
	img, err := choose(b.cfg.Store, req.Image, req.Platform)
	if err != nil {
		return cache.Output{}, err
	}
	attrs := map[string]string{attrVersion: p.version.String()}
	if img.layers > 1 && p.version.before(stacksLayers) {
		if img, err = flatten(ctx, b.cfg.Store, img); err != nil {
			return cache.Output{}, err
		}
		attrs[attrFlattened] = img.manifest.Digest.String()
	}
	attrs[attrConfig], attrs[attrUser] = img.config.String(), img.user

	server, err := b.cfg.Serve(ctx)
	if err != nil {
		return cache.Output{}, err
	}
	defer server.Close()
	ref, err := server.Publish("image", img.manifest)
	if err != nil {
		return cache.Output{}, err
	}
	blob, err := b.packCreate(ctx, p, ref, img, req)
	if isSlowBoot(err) {
		note(req.Log, "smolvm was too slow to boot; trying once more")
		blob, err = b.packCreate(ctx, p, ref, img, req)
	}
	if err != nil {
		return cache.Output{}, err
	}
	return cache.Output{Digest: blob.Digest, Blobs: []cache.Blob{blob}, Attrs: attrs}, nil
}

// packCreate runs smolvm in a directory of its own and publishes the sidecar.
func (b *Backend) packCreate(ctx context.Context, p *program, ref string, img image, req backend.PackRequest) (cache.Blob, error) {
	flags, err := b.flagsOf(ctx, "pack", "create")
	if err != nil {
		return cache.Blob{}, err
	}
	packing, err := b.beginPack()
	if err != nil {
		return cache.Blob{}, err
	}
	defer packing.end()
	dir := packing.dir
	// smolvm assembles in TMPDIR, which by default may be a file system in memory.
	work, staging := filepath.Join(dir, "work"), filepath.Join(dir, "staging")
	for _, d := range []string{work, staging} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return cache.Blob{}, err
		}
	}
	result := filepath.Join(dir, "out")
	args := []string{"pack", "create", "--image", ref, "-o", result}
	if flags["--oci-platform"] && req.Platform != "" {
		args = append(args, "--oci-platform", req.Platform)
	}
	if flags["--staging-dir"] {
		args = append(args, "--staging-dir", staging)
	}
	env := []string{"TMPDIR=" + work, packVariable + "=" + dir}
	if !p.version.before(guardsLoopback) {
		env = append(env, "SMOLVM_ALLOW_HOST_LOOPBACK=1")
	}
	show := &lines{to: io.Discard}
	if req.Log != nil {
		show.to = req.Log
	}
	code, stderr, err := b.run(ctx, p, command{args: args, dir: work, env: env, stdout: show, stderr: show, started: packing.started})
	show.Close()
	if err != nil {
		return cache.Blob{}, fmt.Errorf("smolvm pack create: %w", err)
	}
	if code != 0 {
		return cache.Blob{}, &commandError{what: "pack create", code: code, message: message(stderr)}
	}
	return b.publish(result+".smolmachine", img, req.Platform)
}

// publish checks a sidecar and copies it into the store.
func (b *Backend) publish(path string, img image, platform string) (cache.Blob, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openNoFollow, 0)
	if err != nil {
		return cache.Blob{}, fmt.Errorf("smolvm pack create succeeded but left no sidecar: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return cache.Blob{}, fmt.Errorf("look at sidecar: %w", err)
	}
	s, err := sidecar.Open(f, fi.Size())
	if err != nil {
		return cache.Blob{}, fmt.Errorf("check sidecar: %w", err)
	}
	if err := checkManifest(s.Manifest, img.config, platform); err != nil {
		return cache.Blob{}, fmt.Errorf("check sidecar: %w", err)
	}
	w, err := b.cfg.Store.NewBlob()
	if err != nil {
		return cache.Blob{}, err
	}
	defer w.Close()
	if err := s.Copy(w); err != nil {
		return cache.Blob{}, fmt.Errorf("check sidecar: %w", err)
	}
	d, err := w.Commit(cache.Digest{})
	if err != nil {
		return cache.Blob{}, err
	}
	return cache.Blob{Name: sidecarBlob, MediaType: sidecar.MediaType, Digest: d, Size: w.Size()}, nil
}

// checkManifest reports in what a pack is not the one that was asked for.
func checkManifest(m sidecar.Manifest, config cache.Digest, platform string) error {
	switch {
	case m.Digest != config.String():
		return fmt.Errorf("%w: it was made from image ID %.80q, not from %s", sidecar.ErrInvalid, m.Digest, config)
	case platform != "" && !samePlatform(m.Platform, platform):
		return fmt.Errorf("%w: it is for platform %.80q, not for %s", sidecar.ErrInvalid, m.Platform, platform)
	}
	return checkClosed(m)
}

// checkClosed refuses a pack that opens the network of every machine made from it.
func checkClosed(m sidecar.Manifest) error {
	if m.Network {
		return fmt.Errorf("%w: it says \"network\": true, which no machine made from it could turn off", sidecar.ErrInvalid)
	}
	return nil
}

func samePlatform(a, b string) bool {
	norm := func(s string) string {
		if p, ok := strings.CutSuffix(s, "/v8"); ok && strings.HasSuffix(p, "/arm64") {
			return p
		}
		return s
	}
	return norm(a) == norm(b)
}

// CheckPack reads the footer and the manifest of a pack, not its assets: these
// are verified when a machine is made from it.
func (b *Backend) CheckPack(ctx context.Context, pack cache.Output) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	blob, ok := pack.Blob(sidecarBlob)
	if !ok || blob.Digest != pack.Digest {
		return fmt.Errorf("pack %s: it is not one of smolvm's", pack.Digest)
	}
	if err := b.cfg.Store.HasBlob(blob.Digest, blob.Size); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	m, err := readManifest(b.cfg.Store.BlobPath(blob.Digest))
	if err != nil {
		return fmt.Errorf("pack %s: %w", pack.Digest, err)
	}
	if err := checkClosed(m); err != nil {
		return fmt.Errorf("pack %s: %w", pack.Digest, err)
	}
	return nil
}

// readManifest reads the manifest of the sidecar at path.
func readManifest(path string) (sidecar.Manifest, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openNoFollow, 0)
	if err != nil {
		return sidecar.Manifest{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return sidecar.Manifest{}, err
	}
	s, err := sidecar.Open(f, fi.Size())
	if err != nil {
		return sidecar.Manifest{}, err
	}
	return s.Manifest, nil
}

func note(w io.Writer, line string) {
	if w != nil {
		io.WriteString(w, line+"\n")
	}
}
