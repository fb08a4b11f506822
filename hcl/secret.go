package bottlefile

import (
	"path/filepath"
	"reflect"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"bottlebuild/tasks"
)

var secretSchema = &BlockSchema{
	Name: "secret", Labels: []string{"name"}, Many: true,
	Doc: "A reference to a value that is read when a build or a machine needs it and kept nowhere, as secret.NAME: exactly one of env, file and command.",
	Attrs: []*AttrSchema{
		{Name: "env", Type: cty.String, Early: true, Doc: "Environment variable that has the value."},
		{Name: "file", Type: cty.String, TypeName: "file", Early: true, Doc: "File that has the value, relative to the bottle file."},
		{Name: "command", Type: cty.List(cty.String), Early: true, Doc: "Command that prints the value, and its arguments; no shell is involved, and one line break at the end is dropped."},
		{Name: "version", Type: cty.String, InKey: true, Early: true, Doc: "Changing it does the work again that uses the secret; a change of the value does not."},
	},
}

// secretCapsule is the type of secret.NAME. It converts to nothing: a secret is
// passed on as it is, or not at all.
var secretCapsule = cty.Capsule("secret", reflect.TypeFor[tasks.SecretRef]())

// secretAdvice explains why a secret is not accepted.
const secretAdvice = "A secret is a reference and no text: its value is not known while the file is read, and is kept out of keys, plans, logs and images. Pass it on as it is, in the secrets of an image: secrets = { token = secret.NAME }, and read it with RUN --mount=type=secret,id=token; or in those of a machine, as an environment variable: secrets = { TOKEN = secret.NAME }."

// hasSecret tells whether there is a secret in values of a type.
func hasSecret(ty cty.Type) bool {
	switch {
	case ty.Equals(secretCapsule):
		return true
	case ty.IsCollectionType():
		return hasSecret(ty.ElementType())
	case ty.IsTupleType():
		for _, e := range ty.TupleElementTypes() {
			if hasSecret(e) {
				return true
			}
		}
	case ty.IsObjectType():
		for _, e := range ty.AttributeTypes() {
			if hasSecret(e) {
				return true
			}
		}
	}
	return false
}

// declareSecrets gives each secret its name.
func (ev *evaluator) declareSecrets(blocks []*block) {
	names := nameTable{}
	for _, b := range blocks {
		ev.diags = append(ev.diags, names.add(b)...)
		ev.secrets = append(ev.secrets, b)
	}
}

// secret returns the block of a secret, nil if there is none.
func (ev *evaluator) secret(name string) *block {
	if ev.base != nil {
		return ev.base.secret(name)
	}
	for _, b := range ev.secrets {
		if b.label() == name {
			return b
		}
	}
	return nil
}

func (ev *evaluator) secretValue(b *block) cty.Value {
	d := ev.decoder(b, cty.NilVal)
	ref := d.secretRef()
	ev.diags = append(ev.diags, d.res.diags...)
	return cty.CapsuleVal(secretCapsule, &ref)
}

// secretRef reads where a secret's value is to be had.
func (d *decoder) secretRef() tasks.SecretRef {
	ref := tasks.SecretRef{Name: d.b.label()}
	var sources []string
	for _, name := range []string{"env", "file", "command"} {
		if !d.unset(name) {
			sources = append(sources, name)
		}
	}
	switch {
	case len(sources) == 0:
		d.report(errorAt(d.b.defRange, "Secret without a source", "Write one of env = \"VARIABLE\", file = \"PATH\" and command = [\"PROGRAM\", \"ARGUMENT\"]."))
	case len(sources) > 1:
		d.report(errorAt(d.b.attrs[sources[1]].NameRange, "Contradictory attributes", "A secret has one source, and this one has %s. Remove all but one.", strings.Join(sources, " and ")))
	}
	if v, ok := d.text("env"); ok {
		ref.Env = v.AsString()
		if why := envName(ref.Env); why != "" {
			d.fault(v, "Invalid name", "env is the name of an environment variable, such as \"AGENT_TOKEN\", not %s: %s.", v.quote(), why)
		}
	}
	if v, ok := d.text("file"); ok {
		ref.File, _ = d.hostPath(v)
	}
	if v, ok := d.text("version"); ok {
		ref.Version = v.AsString()
	}
	args := d.list("command")
	for _, v := range args {
		ref.Command = append(ref.Command, v.AsString())
	}
	switch v, ok := d.get("command"); {
	case ok && (len(args) == 0 || ref.Command[0] == ""):
		d.fault(v, "Empty value", "command names no program.")
	case ok && strings.Contains(ref.Command[0], "/") && !filepath.IsAbs(ref.Command[0]):
		ref.Command[0], _ = d.hostPath(args[0])
	}
	return ref
}

// secretID says what is wrong with the id of a secret of a build.
func secretID(id string) string {
	if id == "" || strings.ContainsAny(id, ", \t\n\x00") {
		return "the id of a secret has no spaces and no commas"
	}
	return ""
}

// secrets reads the secrets of an image or a machine by their names in it, of
// which check says what is wrong.
func (d *decoder) secrets(check func(name string) string) map[string]tasks.SecretRef {
	raw, a, ok := d.object("secrets")
	if !ok {
		return nil
	}
	at := value{attr: a}
	u := unmark(raw)
	ty := u.Type()
	switch {
	case u.poisoned:
		d.res.late = true
		return nil
	case !u.IsWhollyKnown():
		d.fault(at, "Value not known", "Which secrets these are must be known before anything runs, and it depends on %s.", afterRun(u.refs))
		return nil
	case !ty.IsMapType() && !ty.IsObjectType():
		d.fault(at, "Wrong type", "secrets is a map from names to secrets, { token = secret.token }, not a %s.", ty.FriendlyName())
		return nil
	}
	refs := map[string]tasks.SecretRef{}
	for it := u.ElementIterator(); it.Next(); {
		k, e := it.Element()
		id := k.AsString()
		v := value{Value: e, attr: a, key: id, sensitive: u.sensitive}
		switch {
		case raw.HasMark(sensitiveMark{}):
			d.fault(at, "Sensitive value", "The names of secrets are printed in plans, so they may not be sensitive. A secret needs no mark: its value is never shown.")
			return nil
		case check(id) != "":
			d.fault(at, "Invalid name in secrets", "%q: %s.", id, check(id))
		case e.IsNull(): // left out
		case e.Type().Equals(secretCapsule):
			refs[id] = *e.EncapsulatedValue().(*tasks.SecretRef)
		case e.Type() == cty.String && d.ev.secret(e.AsString()) != nil && !u.sensitive:
			d.fault(v, "Wrong type", "A secret is referred to without quotes. Did you mean secret.%s?", e.AsString())
		default:
			d.fault(v, "Wrong type", "%s is a secret, such as secret.token, not a %s. Declare secret \"NAME\" { env = \"VARIABLE\" }, and write secret.NAME here.", v.name(), e.Type().FriendlyName())
		}
	}
	if len(refs) == 0 {
		return nil
	}
	return refs
}
