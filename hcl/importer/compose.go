package importer

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	bottlefile "bottlebuild/hcl"
)

// compose is a compose file on its way to a bottle file.
type compose struct {
	*file
	base               string
	dir                string   // absolute; paths become relative to it
	root               *os.Root // the same; nil: it cannot be read
	files              int      // that have been read
	raw                map[string]any
	project            *types.Project
	references         []*reference
	messages           map[string]string   // of variables that must be given
	notes              map[string][]string // comments that services' bottles start with
	names, secretNames names
	images             map[string]string // what services are called here
	secrets            map[string]string
}

// Compose translates compose files, which are read as one, as compose reads them:
// services that are built become images, and all of them bottles with machines. dir
// is the directory that their paths are relative to; files of other directories are
// not read. Variables of the environment become variables.
func Compose(_ context.Context, dir string, files ...bottlefile.Source) (Result, error) {
	c := &compose{
		file: newFile(files), base: filepath.Base(files[0].Path), dir: dir,
		messages: map[string]string{}, notes: map[string][]string{}, images: map[string]string{}, secrets: map[string]string{},
	}
	if root, err := os.OpenRoot(dir); err == nil {
		defer root.Close()
		c.root = root
	}
	if err := c.load(files); err != nil {
		return Result{}, err
	}
	c.topLevel()
	var services []types.ServiceConfig
	for _, name := range slices.Sorted(maps.Keys(c.project.Services)) {
		s := c.project.Services[name]
		if s.Build == nil && s.Image == "" {
			c.imageless(s)
			continue
		}
		c.images[name] = c.names.pick(name)
		services = append(services, s)
	}
	for _, s := range services {
		if s.Build != nil {
			c.image(s)
		}
		c.bottle(s)
	}
	c.profiles(services)
	c.declare()
	return c.result(), nil
}

// leave notes what of a service is left out before its bottle is written.
func (c *compose) leave(service, what string) {
	what = c.warn(c.base+": service "+service, "%s", c.plain(what))
	if !slices.Contains(c.notes[service], what) {
		c.notes[service] = append(c.notes[service], what)
	}
}

// left notes what of a service has no counterpart.
func (c *compose) left(b *block, s types.ServiceConfig, what string) {
	b.comment(c.warn(c.base+": service "+s.Name, "%s", c.plain(what)))
}

// relative writes a path relative to the bottle file.
func (c *compose) relative(path string) string {
	if rel, err := filepath.Rel(c.dir, path); err == nil && filepath.IsAbs(path) {
		if rel == "." || filepath.IsLocal(rel) {
			return rel
		}
	}
	return path
}

// imageless tells of a service that nothing can be made of.
func (c *compose) imageless(s types.ServiceConfig) {
	text := "the service " + s.Name + " is left out: it has neither image nor build"
	if unknown := c.unknownKeys(s.Name); len(unknown) > 0 {
		text += "; compose knows no " + strings.Join(unknown, ", ")
	}
	c.note(c.warn(c.base, "%s", text))
	for _, n := range c.notes[s.Name] {
		c.note("  " + n)
	}
}

func (c *compose) bottle(s types.ServiceConfig) {
	b := c.add("bottle " + quote(c.images[s.Name]))
	for _, n := range c.notes[s.Name] {
		b.comment(n)
	}
	if s.Build != nil {
		b.set("image", "image."+c.images[s.Name])
	} else {
		b.set("image", c.text(s.Image))
	}
	if s.Build != nil {
		c.pushes(b, s)
	}
	if platform.MatchString(s.Platform) {
		b.block("pack").set("platform", quote(s.Platform))
	} else if s.Platform != "" {
		c.left(b, s, "platform "+s.Platform+" is left out: it is not OS/ARCHITECTURE")
	}
	c.machine(b.block("machine"), s)
}

// pushes writes in a comment where compose would push an image that it builds.
func (c *compose) pushes(b *block, s types.ServiceConfig) {
	tags := s.Build.Tags
	if s.Image != "" {
		tags = append([]string{s.Image}, tags...)
	}
	if len(tags) == 0 {
		return
	}
	n := &block{header: "bottle " + quote(c.images[s.Name])}
	for _, tag := range tags {
		if strings.Contains(tag, "@") {
			c.left(b, s, "the name "+tag+" of its image is left out: it has a digest")
			continue
		}
		host, repository, name, err := splitTag(c.inner(tag), func(string) bool {
			d, ok := c.byDefault(tag)
			return !ok || looksLikeHost(d)
		})
		if err != nil {
			c.left(b, s, "the name "+tag+" of its image is left out: "+err.Error())
			continue
		}
		p := n.block("push")
		p.set("registry", "registry."+c.registry(host))
		p.set("repository", template(repository))
		p.set("tags", list([]string{template(name)}))
	}
	if len(n.blocks) > 0 {
		b.comment("Where compose push would put its image. To push it, have in this block:\n\n" + written(n.blocks))
	}
}

// profiles writes services that only a profile starts as groups.
func (c *compose) profiles(services []types.ServiceConfig) {
	always := []string{}
	byProfile := map[string][]string{}
	for _, s := range services {
		bottle := "bottle." + c.images[s.Name]
		if len(s.Profiles) == 0 {
			always = append(always, bottle)
		}
		for _, p := range s.Profiles {
			byProfile[p] = append(byProfile[p], bottle)
		}
	}
	if len(byProfile) == 0 {
		return
	}
	groups := names{}
	c.add("group "+quote(groups.pick("default")), "The services without a profile.").set("targets", list(always))
	for _, p := range slices.Sorted(maps.Keys(byProfile)) {
		c.add("group "+quote(groups.pick(p)), "What compose --profile "+p+" starts.").set("targets", list(append(slices.Clone(byProfile[p]), always...)))
	}
}

func (c *compose) object(b *block, name string, pairs []pair) {
	if len(pairs) > 0 {
		b.set(name, object(pairs))
	}
}

func (c *compose) list(b *block, name string, values []string) {
	if len(values) > 0 {
		b.set(name, list(c.texts(values)))
	}
}

func (c *compose) texts(values []string) []string {
	var exprs []string
	for _, v := range values {
		exprs = append(exprs, c.text(v))
	}
	return exprs
}

// size writes bytes in the largest unit that divides them, at least in whole KiB.
func size(n int64) string {
	for _, u := range []struct {
		name string
		n    int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}} {
		if n%u.n == 0 {
			return strconv.FormatInt(n/u.n, 10) + u.name
		}
	}
	return strconv.FormatInt((n+1023)/1024, 10) + "KiB"
}
