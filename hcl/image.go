package bottlefile

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"bottlebuild/tasks"
)

var imageSchema = &BlockSchema{
	Name: "image", Labels: []string{"name"}, Many: true,
	Doc: "An image that BuildKit builds, as image.NAME.",
	Attrs: append([]*AttrSchema{
		forEachAttr,
		{Name: "context", Type: cty.DynamicPseudoType, TypeName: "directory, URL or image", Default: `"."`, InKey: true, Early: true, Doc: "What COPY and ADD read from: a directory, relative to the bottle file; a Git URL, \"https://example.com/r.git#REF:DIRECTORY\"; or an image: image.NAME, \"docker-image://REFERENCE\", \"oci-layout://DIRECTORY:TAG\"."},
		{Name: "dockerfile", Type: cty.String, TypeName: "file", Default: `"Dockerfile"`, InKey: true, Early: true, Doc: "The Dockerfile, relative to context; where that is an image, to the bottle file."},
		{Name: "dockerfile_inline", Type: cty.String, InKey: true, Doc: "Content of the Dockerfile, instead of a file."},
		{Name: "target", Type: cty.String, InKey: true, Early: true, Doc: "Stage to build; the last one if unset."},
		{Name: "args", Type: cty.Map(cty.String), InKey: true, Doc: "Build arguments; null leaves one unset."},
		{Name: "labels", Type: cty.Map(cty.String), InKey: true, Doc: "Labels of the image; null leaves one out."},
		{Name: "contexts", Type: cty.DynamicPseudoType, TypeName: "map of images and strings", InKey: true, Doc: "Named contexts: an image, a directory (\"./lib\"), an image in an OCI layout (\"oci-layout://DIRECTORY:TAG\") or a URL (\"docker-image://…\")."},
		{Name: "secrets", Type: cty.DynamicPseudoType, TypeName: "map of secrets", InKey: true, Doc: "Secrets for RUN --mount=type=secret by id: { token = secret.token }. Names and versions enter the key, values never."},
		{Name: "platforms", Type: cty.List(cty.String), InKey: true, Early: true, Doc: "Platforms to build for: \"linux/amd64\"; the builder's own if unset."},
		{Name: "no_cache", Type: cty.Bool, Default: "false", Doc: "Builds every step again."},
		{Name: "reproducible", Type: cty.Bool, Default: "true", InKey: true, Doc: "Makes equal inputs yield equal bytes: timestamps are fixed."},
	}, imageOptions...),
}

// image reads the parameters of a build.
func (d *decoder) image() tasks.Image {
	p := tasks.Image{
		Args:      d.dict("args", argName),
		Labels:    d.dict("labels", labelName),
		Secrets:   d.secrets(secretID),
		Platforms: d.platforms("platforms"),
	}
	p.NoCache, _ = d.boolean("no_cache", false)
	p.Reproducible, _ = d.boolean("reproducible", true)
	d.options(&p)
	if v, ok := d.text("target"); ok {
		p.Target = v.AsString()
	}
	p.Contexts = d.contexts()
	if !d.mainContext(&p) {
		return p
	}
	inline, isInline := d.text("dockerfile_inline")
	switch {
	case d.b.attrs["dockerfile_inline"] != nil && d.b.attrs["dockerfile"] != nil:
		d.report(errorAt(d.b.attrs["dockerfile_inline"].NameRange, "Contradictory attributes", "An image has either dockerfile or dockerfile_inline. Remove one of the two."))
	case isInline:
		p.DockerfileInline = inline.AsString()
	case p.Remote != "":
		p.Dockerfile = d.remoteDockerfile()
	case d.unset("dockerfile_inline"):
		p.Dockerfile = d.dockerfile(cmp.Or(p.Context, d.ev.f.opts.Dir))
	}
	return p
}

// remoteDockerfile returns the path of a Dockerfile in a Git repository.
func (d *decoder) remoteDockerfile() string {
	v, ok := d.text("dockerfile")
	switch {
	case !ok:
		return "Dockerfile"
	case !filepath.IsLocal(v.AsString()):
		d.fault(v, "Invalid path", "%s is %s; where the context is a Git repository it is a path in it.", v.name(), v.quote())
	}
	return v.AsString()
}

// directory returns the absolute path of a directory that is there.
func (d *decoder) directory(v value) (string, bool) {
	path, ok := d.hostPath(v)
	if !ok {
		return "", false
	}
	switch fi, err := d.ev.f.files.stat(path); {
	case err != nil:
		d.fault(v, "No such directory", "There is no directory %s: %s. Paths are relative to the bottle file.%s", path, reason(err), sibling(path))
		return "", false
	case !fi.IsDir():
		d.fault(v, "Not a directory", "%s is a file; %s is a directory.", path, v.name())
		return "", false
	}
	return path, true
}

// hostPath makes a path of this machine absolute.
func (d *decoder) hostPath(v value) (string, bool) {
	s := v.AsString()
	switch {
	case s == "~" || strings.HasPrefix(s, "~/"):
		d.fault(v, "Invalid path", "%s: ~ is not expanded in a bottle file. Write an absolute path, or one relative to the bottle file.", v.quote())
		return "", false
	case strings.ContainsRune(s, 0):
		d.fault(v, "Invalid path", "%s has a zero byte.", v.name())
		return "", false
	case filepath.IsAbs(s):
		return filepath.Clean(s), true
	}
	return filepath.Join(d.ev.f.opts.Dir, s), true
}

func (d *decoder) dockerfile(context string) string {
	path, a := filepath.Join(context, "Dockerfile"), d.b.attrs["context"]
	v, given := d.text("dockerfile")
	switch {
	case given && filepath.IsAbs(v.AsString()):
		path, a = filepath.Clean(v.AsString()), v.attr
	case given:
		path, a = filepath.Join(context, v.AsString()), v.attr
	case !d.unset("dockerfile"):
		return ""
	}
	at := d.b.defRange
	if a != nil {
		at = a.Expr.Range()
	}
	fi, err := d.ev.f.files.stat(path)
	switch {
	case err != nil:
		d.report(errorAt(at, "No such Dockerfile", "There is no file %s: %s. Name another with dockerfile, relative to the context, or write it here with dockerfile_inline.%s", path, reason(err), sibling(path)))
	case fi.IsDir():
		d.report(errorAt(at, "Not a file", "%s is a directory; dockerfile names a file in the context.", path))
	}
	return path
}

// imageAddress returns the address of the image that a value stands for, and
// whether it is an image at all. The address is empty if which image it is
// depends on what is known only later.
func (d *decoder) imageAddress(raw cty.Value, at value) (string, bool) {
	v, marks := raw.Unmark()
	if !v.Type().IsObjectType() || !v.Type().HasAttribute("image") || v.Type().AttributeType("image") != imageCapsule || v.IsNull() {
		return "", false
	}
	if v.IsKnown() {
		if c, _ := v.GetAttr("image").Unmark(); c.IsKnown() && !c.IsNull() {
			return c.EncapsulatedValue().(*imageRef).address, true
		}
	}
	if _, bad := marks[poisonMark{}]; !bad {
		d.fault(at, "Value not known", "Which image %s is must be known before anything runs, and this depends on %s.", at.name(), afterRun(unmark(raw).refs))
	}
	return "", true
}

func friendly(ty cty.Type) string {
	if ty.Equals(imageType) {
		return "single image"
	}
	return ty.FriendlyName()
}

func (d *decoder) platforms(name string) []string {
	var ps []string
	for _, v := range d.list(name) {
		switch {
		case slices.Contains(ps, v.AsString()):
			d.fault(v, "Duplicate platform", "%s stands twice in %s.", v.quote(), name)
		case d.checkPlatform(v):
			ps = append(ps, v.AsString())
		}
	}
	return ps
}

func argName(key string) string {
	if key == "" || strings.ContainsAny(key, "= \t\n\x00") {
		return "a build argument's name has no spaces and no equals sign"
	}
	return ""
}

func labelName(key string) string {
	if key == "" || strings.ContainsAny(key, "=\n\x00") {
		return "a label's name is not empty and has no equals sign"
	}
	return ""
}

// reason is what the system says of a file, without the path.
func reason(err error) string {
	if os.IsNotExist(err) {
		return "it does not exist"
	}
	return withoutPath(err)
}

// sibling suggests a file beside a path that is not there.
func sibling(path string) string {
	f, err := os.Open(filepath.Dir(path))
	if err != nil {
		return ""
	}
	defer f.Close()
	names, err := f.Readdirnames(1000)
	if err != nil {
		return ""
	}
	if m := suggest(filepath.Base(path), names); m != "" {
		return fmt.Sprintf(" Did you mean %q?", m)
	}
	return ""
}
