package bottlefile

import (
	"strings"

	"github.com/zclconf/go-cty/cty"

	"bottlebuild/tasks"
	"bottlebuild/tasks/buildkit"
)

// mainContext reads what COPY and ADD read from. It returns false if what it is
// cannot be told, so that no Dockerfile can be looked for in it.
func (d *decoder) mainContext(p *tasks.Image) bool {
	raw, a, ok := d.object("context")
	if !ok {
		p.Context = d.ev.f.opts.Dir
		return a == nil || d.unset("context")
	}
	main := func(c tasks.Context) {
		if p.Contexts == nil {
			p.Contexts = map[string]tasks.Context{}
		}
		p.Contexts[buildkit.MainContext] = c
	}
	if address, isImage := d.imageAddress(raw, value{attr: a}); isImage {
		d.res.dependOn(address)
		main(tasks.Context{Image: address})
		return address != ""
	}
	v, ok := d.resolve(raw, a, cty.String, "")
	if !ok {
		return false
	}
	s := v.AsString()
	if d.ev.f.quotedReference(s) != "" {
		d.fault(v, "Reference in quotes", "context is %s. Did you mean %s, without quotes?", v.quote(), s)
		return false
	}
	if isImageURL(s) {
		c, ok := d.contextURL(v)
		main(c)
		return ok
	}
	switch _, git, err := buildkit.ParseGit(s); {
	case s == "":
		d.fault(v, "Empty value", "context is empty. Leave the attribute out instead, or set it to null.")
		return false
	case git && err != nil:
		d.fault(v, "Invalid Git URL", "%s is %s: %s.", v.name(), v.quote(), err)
		return false
	case git:
		p.Remote = s
		return true
	case !CanBeContext(s):
		d.fault(v, "Invalid context", "%s is a URL of no Git repository. The context is a directory, an image, or a Git URL, which ends in .git before its \"#REF:DIRECTORY\"; an archive is unpacked by the Dockerfile: ADD --unpack=true URL /src/.", v.quote())
		return false
	}
	p.Context, ok = d.directory(v)
	return ok
}

// CanBeContext tells whether a text is the path of a directory, a Git URL or the
// URL of an image, of which one is the context of an image.
func CanBeContext(s string) bool {
	_, git, _ := buildkit.ParseGit(s)
	return git || isImageURL(s) || !strings.Contains(s, "://") && !strings.HasPrefix(s, "git@") && !strings.HasPrefix(s, "target:")
}

func isImageURL(s string) bool {
	return strings.HasPrefix(s, layoutScheme) || strings.HasPrefix(s, dockerScheme)
}
