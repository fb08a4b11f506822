package bottlefile

import (
	"strings"

	"github.com/zclconf/go-cty/cty"

	"bottlebuild/cache"
	"bottlebuild/tasks"
	"bottlebuild/tasks/buildkit"
	"bottlebuild/tasks/layout"
)

// contexts reads the named contexts, each an image or a string.
func (d *decoder) contexts() map[string]tasks.Context {
	raw, a, ok := d.object("contexts")
	if !ok {
		return nil
	}
	v, _ := raw.Unmark()
	whole := value{Value: v, attr: a}
	if ty := v.Type(); !v.IsKnown() || !ty.IsMapType() && !ty.IsObjectType() || ty.Equals(imageType) {
		if u := unmark(raw); u.poisoned || !v.IsKnown() {
			d.resolve(raw, a, cty.Map(cty.String), "")
			return nil
		}
		d.fault(whole, "Wrong type", "contexts is a map from names to images or strings, { base = image.base }, not a %s.", friendly(v.Type()))
		return nil
	}
	contexts := map[string]tasks.Context{}
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		name := k.AsString()
		if name == "" {
			d.fault(whole, "Invalid name in contexts", "The name of a context is empty.")
			continue
		}
		if strings.EqualFold(name, buildkit.MainContext) || strings.EqualFold(name, "scratch") {
			d.fault(value{Value: v, attr: a, key: name}, "Invalid name in contexts", "%q means something of its own in Dockerfiles. Give the context another name; what COPY and ADD read from is the attribute context.", name)
			continue
		}
		if c, ok := d.namedContext(e, a, name); ok {
			contexts[name] = c
		}
	}
	if len(contexts) == 0 {
		return nil
	}
	return contexts
}

func (d *decoder) namedContext(e cty.Value, a *attr, name string) (tasks.Context, bool) {
	if address, isImage := d.imageAddress(e, value{attr: a, key: name}); isImage {
		d.res.dependOn(address)
		return tasks.Context{Image: address}, address != ""
	}
	v, ok := d.resolve(e, a, cty.String, name)
	if !ok || v.IsNull() {
		return tasks.Context{}, false
	}
	if v.sensitive {
		d.fault(v, "Sensitive value", "%s is printed by builders and in errors, so it may not be sensitive.", v.name())
		return tasks.Context{}, false
	}
	s := v.AsString()
	switch {
	case strings.HasPrefix(s, "target:"):
		d.fault(v, "Invalid context", "%s: an image of this file is referred to without quotes, as image.%s.", v.name(), strings.TrimPrefix(s, "target:"))
		return tasks.Context{}, false
	case strings.Contains(s, "://") || strings.HasPrefix(s, "git@"):
		return d.contextURL(v)
	case d.ev.f.quotedReference(s) != "":
		d.fault(v, "Reference in quotes", "%s is %s. Did you mean %s, without quotes?", v.name(), v.quote(), s)
		return tasks.Context{}, false
	case s == "":
		d.fault(v, "Empty value", "%s is empty. It is an image, a directory or a URL.", v.name())
		return tasks.Context{}, false
	}
	dir, ok := d.directory(v)
	return tasks.Context{Dir: dir}, ok
}

// What the URLs of images begin with, as BuildKit has them.
const (
	layoutScheme = "oci-layout://"
	dockerScheme = "docker-image://"
)

// contextURL reads the URL of an image, or one that BuildKit reads.
func (d *decoder) contextURL(v value) (tasks.Context, bool) {
	s := v.AsString()
	if name, ok := strings.CutPrefix(s, layoutScheme); ok {
		image, ok := d.layoutImage(v, name)
		return tasks.Context{Layout: image}, ok
	}
	if ref, ok := strings.CutPrefix(s, dockerScheme); ok {
		if why := referenceFault(ref); why != "" {
			d.fault(v, "Invalid image reference", "%s: %s in %s.", v.name(), why, v.quote())
			return tasks.Context{}, false
		}
	}
	return tasks.Context{Ref: s}, true
}

// layoutImage reads PATH[:TAG][@DIGEST], an image that is there.
func (d *decoder) layoutImage(v value, name string) (*tasks.LayoutImage, bool) {
	path, digest, hasDigest := strings.Cut(name, "@")
	tag := ""
	if i := strings.LastIndex(path, ":"); i > strings.LastIndex(path, "/") {
		path, tag = path[:i], path[i+1:]
		if tag == "" {
			d.fault(v, "Invalid image reference", "%s: the tag of %s is empty.", v.name(), v.quote())
			return nil, false
		}
	}
	if hasDigest {
		if _, err := cache.ParseDigest(digest); err != nil {
			d.fault(v, "Invalid image reference", "%s: the digest of %s is not sha256: and 64 hexadecimal digits.", v.name(), v.quote())
			return nil, false
		}
		tag = digest
	}
	if path == "" {
		d.fault(v, "Invalid path", "%s is %s, without a directory: it is %sPATH, relative to the bottle file.", v.name(), v.quote(), layoutScheme)
		return nil, false
	}
	dir, ok := d.hostPath(value{Value: cty.StringVal(path), attr: v.attr, key: v.key, sensitive: v.sensitive})
	if !ok {
		return nil, false
	}
	l, err := layout.Open(dir)
	if err == nil {
		defer l.Close()
		_, err = l.Resolve(tag)
	}
	if err != nil {
		hint := ""
		if _, missing := d.ev.f.files.stat(dir); missing != nil {
			hint = sibling(dir)
		}
		d.fault(v, "No such image", "%s: there is no image %s: %s. An OCI layout is a directory such as an export with format = \"oci-dir\" writes; a tag or digest of it follows as in %sPATH:TAG.%s",
			v.name(), v.quote(), err, layoutScheme, hint)
		return nil, false
	}
	return &tasks.LayoutImage{Dir: dir, Tag: tag}, true
}
