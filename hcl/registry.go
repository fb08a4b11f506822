package bottlefile

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/zclconf/go-cty/cty"

	"bottlebuild/tasks"
)

var registrySchema = &BlockSchema{
	Name: "registry", Labels: []string{"name"}, Many: true,
	Doc: "Where images are pushed to, as registry.NAME.",
	Attrs: []*AttrSchema{
		{Name: "embedded", Type: cty.Bool, Early: true, Default: "false", InKey: true, Doc: "A registry inside bottlebuild, on loopback, that serves the cache itself."},
		{Name: "url", Type: cty.String, TypeName: "host and path", Early: true, InKey: true, Doc: "Host, port and path prefix: \"registry.example.com/acme\"."},
		{Name: "insecure", Type: cty.Bool, Early: true, Default: "false", Doc: "Plain http, or a certificate that cannot be checked."},
	},
}

type registry struct{ *block }

// registryCapsule carries a registry inside the object that registry.NAME is.
var registryCapsule = cty.Capsule("registry", reflect.TypeFor[tasks.Registry]())

var registryType = cty.Object(map[string]cty.Type{
	"registry": registryCapsule, "name": cty.String, "url": cty.String, "embedded": cty.Bool, "insecure": cty.Bool,
})

func (ev *evaluator) registryValue(r *registry) cty.Value {
	d := ev.decoder(r.block, cty.NilVal)
	p := d.registry(r)
	ev.diags = append(ev.diags, d.res.diags...)
	return cty.ObjectVal(map[string]cty.Value{
		"registry": cty.CapsuleVal(registryCapsule, &p), "name": cty.StringVal(p.Name), "url": cty.StringVal(p.URL),
		"embedded": cty.BoolVal(p.Embedded), "insecure": cty.BoolVal(p.Insecure),
	})
}

func (d *decoder) registry(r *registry) tasks.Registry {
	p := tasks.Registry{Name: r.label()}
	p.Embedded, _ = d.boolean("embedded", false)
	p.Insecure, _ = d.boolean("insecure", false)
	url, given := d.text("url")
	switch {
	case given && p.Embedded:
		d.fault(url, "Contradictory attributes", "A registry is either embedded or has a url. Remove one of the two.")
	case !given && !p.Embedded && d.b.attrs["url"] == nil && d.b.attrs["embedded"] == nil:
		d.report(errorAt(d.b.defRange, "Registry without a place", "Write embedded = true, or url = \"HOST/PATH\"."))
	case !given && !p.Embedded && d.b.attrs["url"] == nil:
		d.report(errorAt(d.b.attrs["embedded"].Range, "Registry without a place", "A registry that is not embedded needs url = \"HOST/PATH\"."))
	case given:
		p.URL = url.AsString()
		d.checkRegistryURL(url)
	}
	return p
}

func (d *decoder) checkRegistryURL(url value) {
	s := url.AsString()
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		hint := ""
		if scheme == "http" {
			hint = ", and insecure = true for plain http"
		}
		d.fault(url, "Invalid registry URL", "A registry is written without a scheme: url = %q%s.", strings.TrimSuffix(rest, "/"), hint)
		return
	}
	host, _, _ := strings.Cut(s, "/")
	if strings.HasSuffix(s, "/") {
		d.fault(url, "Invalid registry URL", "It ends with a slash: write %q.", strings.TrimRight(s, "/"))
		return
	}
	named, err := reference.ParseNormalizedNamed(s + "/x")
	switch {
	case err != nil || !isPort(host):
		d.fault(url, "Invalid registry URL", "%s is not a host, with a port and a path in lower case if wanted, such as \"registry.example.com/acme\".", url.quote())
	case reference.Domain(named) != host && host != "docker.io" && host != "index.docker.io":
		d.fault(url, "Invalid registry URL", "%s does not start with a host: that has a dot or a port, or is localhost. For Docker Hub write \"docker.io/…\".", url.quote())
	}
}

// isPort tells whether what a host ends with, if that is a port, can be one.
func isPort(host string) bool {
	_, port, ok := strings.Cut(host, ":")
	if !ok {
		return true
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}
