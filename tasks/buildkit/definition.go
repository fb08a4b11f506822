package buildkit

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"bottlebuild/cache"
)

// MainContext is the name of the build context that COPY and ADD read from, in
// maps where named contexts stand beside it. As a named context it is an image in
// the store or a registry that COPY and ADD read from.
const MainContext = "context"

// Definition is a Dockerfile with all that decides how it is translated. The
// frontend is the compiled-in one: a "# syntax=" line that names a version of
// docker/dockerfile has no effect, and one that names another frontend is an error.
type Definition struct {
	File       string // name of the Dockerfile, for messages
	Dockerfile []byte
	Target     string // stage; empty: the last
	Args       map[string]string
	Labels     map[string]string
	Platforms  []string // "linux/arm64"; empty: that of the builder
	Contexts   map[string]Context
	// Main is the main context in a Git repository, as a URL; empty: Contexts has
	// it by the name [MainContext], or it is a directory of this machine.
	Main string `json:",omitempty"`
	// What steps that run a program find around them.
	Network  string            // "sandbox", "none" or "host"; empty: the builder's default
	ShmSize  int64             // size of /dev/shm in bytes; 0: the builder's default
	Ulimits  []string          // "nofile=1024:2048", as docker's --ulimit takes them
	AddHosts map[string]string // addresses by name, for /etc/hosts
	// Reproducible makes builds of equal inputs yield equal bytes: the build
	// argument SOURCE_DATE_EPOCH is 0 unless Args has it, and layers' times are
	// rewritten to it.
	Reproducible bool
}

// Context is a named build context; exactly one field is set.
type Context struct {
	Dir   bool          // a directory of this machine
	Image *cache.Output // an image in the store
	Ref   string        // an image reference, or a Git or HTTP URL
}

// epochArg is the build argument of https://reproducible-builds.org/specs/source-date-epoch/.
const epochArg = "SOURCE_DATE_EPOCH"

// storeID is the name under which a daemon asks us for blobs of the store.
const storeID = "bottlebuild"

// check reports what BuildKit would ignore or misread.
func (d *Definition) check() error {
	for _, p := range d.Platforms {
		if _, err := platforms.Parse(p); err != nil {
			return fmt.Errorf("platform %q: %w", p, err)
		}
	}
	for name, c := range d.Contexts {
		set := 0
		for _, is := range []bool{c.Dir, c.Image != nil, c.Ref != ""} {
			if is {
				set++
			}
		}
		if set != 1 {
			return fmt.Errorf("context %q: it must be one of a directory, an image and a reference, and is %d of them", name, set)
		}
		main := name == MainContext && !c.Dir
		if strings.EqualFold(name, MainContext) && !main || strings.EqualFold(name, "scratch") {
			return fmt.Errorf("context %q: this name is taken by Dockerfiles themselves", name)
		}
	}
	if len(d.Dockerfile) == 0 {
		return &DockerfileError{File: d.File, Err: errors.New("it is empty")}
	}
	return d.checkSyntax()
}

// frontends are the repositories of the frontend that is compiled in.
var frontends = []string{"docker.io/docker/dockerfile", "docker.io/docker/dockerfile-upstream"}

// checkSyntax refuses a Dockerfile that is in another frontend's language.
func (d *Definition) checkSyntax() error {
	syntax, _, place, ok := parser.DetectSyntax(d.Dockerfile)
	if arg := d.Args["BUILDKIT_SYNTAX"]; arg != "" {
		syntax, place, ok = arg, nil, true
	}
	if !ok {
		return nil
	}
	if named, err := reference.ParseNormalizedNamed(syntax); err == nil && slices.Contains(frontends, named.Name()) {
		return nil
	}
	e := &DockerfileError{File: d.File, Err: fmt.Errorf("the syntax is that of %.200q, and only that of docker/dockerfile is understood: version %s of it is built in", syntax, compiledIn().dockerfile)}
	e.place(pbRanges(place))
	return e
}

// epoch returns the value of SOURCE_DATE_EPOCH, empty if there is none.
func (d *Definition) epoch() string {
	if v := d.Args[epochArg]; v != "" || !d.Reproducible {
		return v
	}
	return "0"
}

// frontendOpts are the attributes of the Dockerfile frontend, described in
// BuildKit's docs/reference/buildctl.md and, for contexts, in dockerui.
func (d *Definition) frontendOpts() (map[string]string, error) {
	opts := map[string]string{
		"filename": path.Base(d.File),
	}
	if d.Main != "" {
		opts["context"] = d.Main
	}
	if d.Target != "" {
		opts["target"] = d.Target
	}
	for k, v := range d.Args {
		opts["build-arg:"+k] = v
	}
	if e := d.epoch(); e != "" {
		opts["build-arg:"+epochArg] = e
	}
	for k, v := range d.Labels {
		opts["label:"+k] = v
	}
	if len(d.Platforms) > 0 {
		opts["platform"] = strings.Join(d.Platforms, ",")
	}
	d.stepOpts(opts)
	for name, c := range d.Contexts {
		spec, err := c.spec(name)
		if err != nil {
			return nil, fmt.Errorf("context %q: %w", name, err)
		}
		opts["context:"+name] = spec
	}
	return opts, nil
}

func (c Context) spec(name string) (string, error) {
	switch {
	case c.Dir:
		return "local:" + mountOf(name), nil
	case c.Image != nil:
		return "oci-layout://" + storeID + "@" + c.Image.Digest.String(), nil
	case strings.HasPrefix(c.Ref, "git@"):
		return c.Ref, nil
	}
	scheme, _, ok := strings.Cut(c.Ref, "://")
	switch {
	case !ok:
		return "docker-image://" + c.Ref, nil
	case slices.Contains([]string{"docker-image", "git", "http", "https"}, scheme):
		return c.Ref, nil
	}
	return "", fmt.Errorf("%q: %s:// is not among docker-image, git, http and https", c.Ref, scheme)
}

// mountOf returns what a directory is called towards a daemon. The name of a
// context may be an image reference, with characters that no mount name has.
func mountOf(context string) string {
	if context == MainContext {
		return MainContext
	}
	return "named-" + cache.DigestOf([]byte(context)).Hex()[:16]
}

// dirs returns the names of the contexts that are directories by their mounts,
// the main one included.
func (d *Definition) dirs() map[string]string {
	m := map[string]string{}
	if d.Main == "" && !d.mainIsImage() {
		m[MainContext] = MainContext
	}
	for _, name := range slices.Sorted(maps.Keys(d.Contexts)) {
		if d.Contexts[name].Dir {
			m[mountOf(name)] = name
		}
	}
	return m
}

// mainIsImage tells whether the main context is an image.
func (d *Definition) mainIsImage() bool {
	_, ok := d.Contexts[MainContext]
	return ok
}
