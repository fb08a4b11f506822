package bottlefile

import (
	"strings"

	"github.com/zclconf/go-cty/cty"

	"bottlebuild/cache/remote"
)

var cacheSchema = &BlockSchema{
	Name: "cache", Labels: []string{"name"}, Many: true,
	Doc: "A shared cache: a registry that has results of other machines. Several are asked in the order in which they are written; docs/cache.md says more.",
	Attrs: []*AttrSchema{
		{Name: "url", Type: cty.String, TypeName: "host and path", Early: true, Required: true, Doc: "Host, port and path prefix: \"registry.example.com/acme\". The repositories bb-cache and bb-cache-pr are below it."},
		{Name: "mode", Type: cty.String, Early: true, Default: "\"r\"", Doc: "What is done with it: \"r\" reads, \"w\" writes, \"rw\" does both."},
		{Name: "scope", Type: cty.String, Early: true, Default: "\"trusted\"", Doc: "Whose results: \"trusted\", or \"pr\" for builds of what anybody proposes, which are read by nobody else."},
		{Name: "trust", Type: cty.List(cty.String), Early: true, Doc: "Public keys, as bottlebuild cache keygen prints them. With any, results that none of them has signed are not used."},
		{Name: "ca", Type: cty.String, TypeName: "file", Early: true, Doc: "File with the certificate authority of the registry."},
		{Name: "cert", Type: cty.String, TypeName: "file", Early: true, Doc: "File with the client certificate for the registry."},
		{Name: "key", Type: cty.String, TypeName: "file", Early: true, Doc: "File with the key of the client certificate."},
		{Name: "insecure", Type: cty.Bool, Early: true, Default: "false", Doc: "Plain http, or a certificate that cannot be checked."},
	},
}

// Cache is a shared cache that the file declares.
type Cache struct {
	Name          string
	URL           string
	Mode          remote.Mode
	Scope         remote.Scope
	Trust         []remote.PublicKey
	CA, Cert, Key string // absolute paths; or empty
	Insecure      bool
}

// Caches returns the shared caches that the file declares, in its order.
func (f *File) Caches() []Cache { return f.caches }

// declareCaches reads the cache blocks. Nothing else in a file refers to them.
func (ev *evaluator) declareCaches(blocks []*block) (caches []Cache) {
	for _, b := range blocks {
		d := ev.decoder(b, cty.NilVal)
		caches = append(caches, d.cache())
		ev.diags = append(ev.diags, d.res.diags...)
	}
	return caches
}

func (d *decoder) cache() Cache {
	c := Cache{Name: d.b.label()}
	if c.Name == remote.Local || strings.ContainsAny(c.Name, ".:,/") {
		d.report(errorAt(d.b.labelRange(), "Invalid name", "A cache goes by its name in --cache NAME:rw, so it has no dot, colon, comma or slash, and is not %q.", remote.Local))
	}
	if v, ok := d.text("url"); ok {
		c.URL = v.AsString()
		d.checkRegistryURL(v)
	}
	var err error
	if c.Mode, err = remote.ParseMode(d.word("mode", "r", []string{"r", "w", "rw"})); err != nil {
		c.Mode = remote.Mode{}
	}
	c.Scope = remote.Scope(d.word("scope", string(remote.Trusted), []string{string(remote.Trusted), string(remote.Untrusted)}))
	for _, v := range d.list("trust") {
		key, err := remote.ParsePublicKey(v.AsString())
		if err != nil && strings.Contains(v.AsString(), "PRIVATE KEY") {
			d.fault(v, "Invalid public key", "%s is a private key, which only those who sign should have. Write the public one, that keygen wrote to FILE.pub.", v.name())
			continue
		}
		if err != nil {
			d.fault(v, "Invalid public key", "%s is not a public key. Write one as bottlebuild cache keygen prints it: \"ed25519:…\"; that of a file is file(\"ci.key.pub\").", v.quote())
			continue
		}
		c.Trust = append(c.Trust, key)
	}
	for name, to := range map[string]*string{"ca": &c.CA, "cert": &c.Cert, "key": &c.Key} {
		if v, ok := d.text(name); ok {
			*to, _ = d.hostPath(v)
		}
	}
	if d.unset("cert") != d.unset("key") {
		d.report(errorAt(d.b.defRange, "Incomplete client certificate", "cert and key belong together: write both, or neither."))
	}
	c.Insecure, _ = d.boolean("insecure", false)
	return c
}
