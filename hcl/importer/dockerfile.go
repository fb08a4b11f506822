package importer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	maxDepth       = 3 // of directories below the first
	maxDockerfiles = 20
	maxVisited     = 20_000
	firstPort      = 8080
)

// dockerfile is one that was found, and what it says.
type dockerfile struct {
	path    string // slash-separated, relative to the directory that was searched
	context string
	name    string // of the image
	bases   []string
	stages  []string
	args    []string
	secrets []string
	ssh     []string
	ports   []int
	closed  []string // what it exposes that a machine cannot publish
}

// Dockerfiles writes a commented starter file for the Dockerfiles in a directory
// and up to three levels below it; without one it has an image of its own.
func Dockerfiles(dir string) (Result, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Result{}, fmt.Errorf("look for Dockerfiles: %w", err)
	}
	defer root.Close()
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Result{}, err
	}
	f := &file{head: []string{
		"A bottle file: images, and bottles (isolated machines) made from them.",
		"",
		"  bottlebuild validate   checks it",
		"  bottlebuild plan       says what a run would do, and why",
		"  bottlebuild run        does it",
		"",
		"docs/bottlefile.md in bottlebuild's sources describes every attribute.",
	}}
	found, err := f.search(root)
	if err != nil {
		return Result{}, fmt.Errorf("look for Dockerfiles in %s: %w", dir, err)
	}
	var n names
	for _, d := range found {
		name := path.Base(d.context)
		if d.context == "." {
			name = strings.ToLower(filepath.Base(abs))
		}
		if suffix := variant(path.Base(d.path)); suffix != "" {
			if name += "-" + suffix; d.context == "." {
				name = suffix
			}
		}
		d.name = n.pick(name)
	}
	ports := map[int]bool{}
	for _, d := range found {
		f.image(d, found)
		isBase := slices.ContainsFunc(found, func(o *dockerfile) bool { return o != d && slices.Contains(o.bases, d.name) })
		if !isBase {
			f.bottle(d, ports)
		}
	}
	if len(found) == 0 {
		f.example()
	}
	return f.result(), nil
}

// variant returns what a Dockerfile's name says beyond that it is one.
func variant(name string) string {
	lower := strings.ToLower(name)
	for _, word := range []string{"dockerfile", "containerfile"} {
		if s, ok := strings.CutPrefix(lower, word+"."); ok {
			return s
		}
		if s, ok := strings.CutSuffix(lower, "."+word); ok {
			return s
		}
	}
	return ""
}

func isDockerfile(name string) bool {
	lower := strings.ToLower(name)
	return (lower == "dockerfile" || lower == "containerfile" || variant(name) != "") && !strings.HasSuffix(lower, ".dockerignore")
}

// skipped are directories that have no Dockerfiles of one's own.
var skipped = []string{"node_modules", "vendor", "target", "dist", "build"}

var errEnough = errors.New("enough")

func (f *file) search(root *os.Root) ([]*dockerfile, error) {
	var found []*dockerfile
	visited := 0
	err := fs.WalkDir(root.FS(), ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			if p == "." {
				return err
			}
			return fs.SkipDir // one that cannot be read
		}
		if visited++; visited > maxVisited {
			f.warn(p, "the search ended here, after %d files", maxVisited)
			return errEnough
		}
		if e.IsDir() {
			if p != "." && (strings.HasPrefix(e.Name(), ".") || slices.Contains(skipped, e.Name()) || strings.Count(p, "/") >= maxDepth) {
				return fs.SkipDir
			}
			return nil
		}
		if !e.Type().IsRegular() || !isDockerfile(e.Name()) {
			return nil
		}
		if len(found) == maxDockerfiles {
			f.warn(p, "only the first %d Dockerfiles are taken", maxDockerfiles)
			return errEnough
		}
		d := &dockerfile{path: p, context: path.Dir(p)}
		if err := d.read(root); err != nil {
			f.warn(p, "it is taken as it is: %s", err)
		}
		found = append(found, d)
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return found, err
}

func (f *file) image(d *dockerfile, all []*dockerfile) {
	for _, id := range d.secrets {
		header := "secret " + quote((&names{}).pick(id))
		if slices.ContainsFunc(f.blocks, func(b *block) bool { return b.header == header }) {
			continue
		}
		s := f.add(header, d.path+" asks for it. Its value is read when a build needs it, and kept nowhere.")
		s.set("env", quote(strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(id))))
	}
	b := f.add("image " + quote(d.name))
	b.set("context", quote(d.context))
	if base := path.Base(d.path); base != "Dockerfile" {
		b.set("dockerfile", quote(base))
	}
	if n := len(d.stages); n > 0 {
		b.comment("target = " + quote(d.stages[n-1]) + " # stages: " + strings.Join(d.stages, ", "))
	}
	if len(d.args) > 0 {
		b.comment("args = { " + strings.Join(d.args, ", ") + " } # the Dockerfile's defaults")
	}
	if len(d.secrets) > 0 {
		var pairs []pair
		for _, id := range d.secrets {
			pairs = append(pairs, pair{id, "secret." + (&names{}).pick(id)})
		}
		b.set("secrets", object(pairs))
	}
	if len(d.ssh) > 0 {
		b.set("ssh", list(quotes(d.ssh)))
	}
	var contexts []pair
	for _, base := range d.bases {
		for _, other := range all {
			if other != d && other.name == base && !slices.Contains(d.stages, base) && !slices.ContainsFunc(contexts, func(p pair) bool { return p.key == base }) {
				contexts = append(contexts, pair{base, "image." + base})
			}
		}
	}
	if len(contexts) > 0 {
		b.comment("FROM a name that is another image's: it is built first.")
		b.set("contexts", object(contexts))
	}
}

func (f *file) bottle(d *dockerfile, used map[int]bool) {
	b := f.add("bottle " + quote(d.name))
	b.set("image", "image."+d.name)
	m := b.block("machine")
	if f.explained {
		f.publish(m, d, used)
		return
	}
	f.explained = true
	b.comment("backend = \"container\" # for hosts without KVM: weaker isolation than a microVM's")
	m.comment("cpus   = 2")
	m.comment("memory = \"2GiB\"")
	m.comment("env    = { LANG = \"C.UTF-8\" }")
	m.comment("")
	m.comment("Without a network block the machine reaches nothing.")
	m.comment("network { allow_hosts = [\"api.example.com\"] }")
	f.publish(m, d, used)
}

// publish writes the ports of a machine.
func (f *file) publish(m *block, d *dockerfile, used map[int]bool) {
	for _, guest := range d.ports {
		host := guest
		if host < 1024 {
			host += firstPort - firstPort%1000
		}
		for used[host] {
			host++
		}
		used[host] = true
		p := m.block("port")
		p.set("host", strconv.Itoa(host))
		p.set("guest", strconv.Itoa(guest))
	}
	if len(d.closed) > 0 {
		m.comment(f.warn(d.path, "EXPOSE %s is left out: a machine publishes TCP ports of the host", strings.Join(d.closed, " ")))
	}
	if len(d.ports) > 0 {
		m.block("ready").set("tcp", strconv.Itoa(d.ports[0]))
	}
}

// example is what a directory without Dockerfiles starts with.
func (f *file) example() {
	b := f.add(`image "hello"`, "There is no Dockerfile here yet; this image brings its own. With one, write", "context = \"DIRECTORY\" instead.")
	b.set("dockerfile_inline", "<<-END\n    FROM docker.io/library/alpine:3\n    CMD [\"sleep\", \"infinity\"]\n  END")
	f.bottle(&dockerfile{name: "hello"}, map[int]bool{})
}
