package bottlefile

import (
	"github.com/zclconf/go-cty/cty"

	"bottlebuild/tasks"
)

var pushSchema = &BlockSchema{
	Name: "push", Many: true,
	Doc: "A push of the image to a registry.",
	Attrs: []*AttrSchema{
		{Name: "registry", Type: cty.DynamicPseudoType, TypeName: "registry", Required: true, InKey: true, Doc: "The registry: registry.NAME."},
		{Name: "repository", Type: cty.String, Required: true, InKey: true, Early: true, Doc: "Repository, below the registry's path."},
		{Name: "tags", Type: cty.List(cty.String), InKey: true, Doc: "Tags to set; the push by digest needs none."},
	},
}

func (d *decoder) push(image string) tasks.Push {
	p := tasks.Push{Image: image}
	p.Registry, _ = d.registryRef()
	if v, ok := d.text("repository"); ok {
		p.Repository = v.AsString()
		if !repositoryRE.MatchString(p.Repository) || len(p.Repository) > 255 {
			hint := ""
			if s := repositorySlug(p.Repository); s != p.Repository && repositoryRE.MatchString(s) {
				hint = " Did you mean \"" + s + "\"?"
			}
			d.fault(v, "Invalid repository", "%s is not a repository: lower-case letters and digits, separated by dots, underscores, hyphens and slashes. A tag belongs in tags, a host in the registry's url.%s", v.quote(), hint)
		}
	}
	seen := map[string]bool{}
	for _, v := range d.list("tags") {
		tag := v.AsString()
		switch {
		case !isTag(tag):
			hint := ""
			if s := slug(tag, "-"); isTag(s) && !v.sensitive {
				hint = " Did you mean \"" + s + "\"?"
			}
			d.fault(v, "Invalid tag", "%s is %s: a tag has letters, digits, dots, underscores and hyphens, up to 128, and starts with none of the last two marks.%s", v.name(), v.quote(), hint)
		case seen[tag]:
			d.fault(v, "Duplicate tag", "%s is %s, which is in the list already.", v.name(), v.quote())
		}
		seen[tag] = true
		p.Tags = append(p.Tags, tag)
	}
	return p
}

func repositorySlug(s string) string {
	out := []byte{}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c == ' ':
			c = '-'
		}
		out = append(out, c)
	}
	return string(out)
}

// registryRef reads which registry is meant.
func (d *decoder) registryRef() (tasks.Registry, bool) {
	raw, a, ok := d.object("registry")
	if !ok {
		return tasks.Registry{}, false
	}
	at := value{attr: a}
	u := unmark(raw)
	if u.poisoned {
		d.res.late = true
		return tasks.Registry{}, false
	}
	if u.Type().Equals(registryType) && u.IsKnown() {
		if c := u.GetAttr("registry"); c.IsKnown() && !c.IsNull() {
			return *c.EncapsulatedValue().(*tasks.Registry), true
		}
	}
	switch {
	case !u.IsKnown() || u.Type().Equals(registryType):
		d.fault(at, "Value not known", "Which registry this is must be known before anything runs, and it depends on %s.", afterRun(u.refs))
	case u.Type() == cty.String && d.ev.f.registry(u.AsString()) != nil && !u.sensitive:
		d.fault(at, "Wrong type", "A registry is referred to without quotes. Did you mean registry.%s?", u.AsString())
	case u.Type() == cty.String && !u.sensitive && d.ev.f.quotedReference(u.AsString()) != "":
		d.fault(at, "Reference in quotes", "registry is %q. Did you mean %s, without quotes?", u.AsString(), u.AsString())
	case u.Type() == cty.String:
		d.fault(at, "Wrong type", "registry is a registry of this file. Declare registry \"NAME\" { url = %s }, and write registry.NAME here.", show(u.Value, u.sensitive))
	default:
		d.fault(at, "Wrong type", "registry is a registry, such as registry.prod, not a %s.", friendly(u.Type()))
	}
	return tasks.Registry{}, false
}
