package buildkit

import (
	"runtime/debug"
	"strings"
	"sync"

	dockerfile "github.com/moby/buildkit/frontend/dockerfile/version"
)

const buildkitModule = "github.com/moby/buildkit"

// Version returns the version of the BuildKit and of the Dockerfile frontend
// that are compiled into this binary: "v0.34.2 dockerfile 1.28.0". The frontend
// that translates Dockerfiles is always this one, whatever daemon runs the
// steps, so keys need no other.
func Version() string { return compiledIn().buildkit + " dockerfile " + compiledIn().dockerfile }

type versions struct{ buildkit, dockerfile string }

var compiledIn = sync.OnceValue(func() versions {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return versionsIn(info)
})

// versionsIn reads the versions from what Go noted at build time. Test binaries
// have none, and say "unknown".
func versionsIn(info *debug.BuildInfo) versions {
	// The frontend calls itself a development version where BuildKit's own
	// version was not set by the linker; the module's version stands beside it.
	v := versions{"unknown", strings.TrimSuffix(dockerfile.Version(), "-dev")}
	for _, m := range info.Deps {
		if m.Path != buildkitModule {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		v.buildkit = m.Version
	}
	return v
}
