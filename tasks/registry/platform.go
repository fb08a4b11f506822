package registry

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// parsePlatform reads "os/architecture[/variant]"; empty is Linux on this
// machine's processor, whatever this machine itself runs.
func parsePlatform(platform string) (ocispec.Platform, error) {
	if platform == "" {
		return platforms.Normalize(ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}), nil
	}
	p, err := platforms.Parse(platform)
	if err != nil {
		return p, fmt.Errorf("platform %.100q: %w", platform, err)
	}
	return platforms.Normalize(p), nil
}

// choose returns the best manifest of an index for a platform. One that is not
// said to be of any platform is taken if nothing else fits.
func choose(children []v1.Descriptor, platform string) (v1.Descriptor, error) {
	want, err := parsePlatform(platform)
	if err != nil {
		return v1.Descriptor{}, err
	}
	match := platforms.Only(want)
	var best, unlabelled *v1.Descriptor
	var bestPlatform ocispec.Platform
	var have []string
	for i := range children {
		d := &children[i]
		if d.Platform == nil {
			if unlabelled == nil && (d.MediaType.IsIndex() || d.MediaType.IsImage()) {
				unlabelled = d
			}
			continue
		}
		p := platforms.Normalize(ocispec.Platform{
			OS: d.Platform.OS, Architecture: d.Platform.Architecture, Variant: d.Platform.Variant,
			OSVersion: d.Platform.OSVersion, OSFeatures: d.Platform.OSFeatures,
		})
		if d.Platform.OS != "unknown" { // an attestation, not an image
			have = append(have, platforms.Format(p))
		}
		if match.Match(p) && (best == nil || match.Less(p, bestPlatform)) {
			best, bestPlatform = d, p
		}
	}
	switch {
	case best != nil:
		return *best, nil
	case unlabelled != nil:
		return *unlabelled, nil
	}
	return v1.Descriptor{}, fmt.Errorf("there is no image for %s, only for: %s", platforms.Format(want), strings.Join(have, ", "))
}

// checkPlatform reports an image that is known to be of another platform.
func checkPlatform(have, platform string) error {
	if have == "" {
		return nil
	}
	want, err := parsePlatform(platform)
	if err != nil {
		return err
	}
	p, err := platforms.Parse(have)
	if err != nil || platforms.Only(want).Match(p) {
		return nil
	}
	return fmt.Errorf("the image is for %s, not for %s", have, platforms.Format(want))
}
