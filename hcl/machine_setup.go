package bottlefile

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"bottlebuild/internal/lazyregexp"
	"bottlebuild/tasks"
)

// What is done to a machine once, when it is created.
var (
	fileSchema = &BlockSchema{
		Name: "file", Labels: []string{"path"}, Many: true, Doc: "A file written into the machine before it is provisioned.",
		Attrs: []*AttrSchema{
			{Name: "content", Type: cty.String, InKey: true, Doc: "What is in it."},
			{Name: "source", Type: cty.String, TypeName: "file", InKey: true, Early: true, Doc: "A file below the bottle file's directory that it is a copy of, instead of content: any bytes, at most 4 MiB."},
			{Name: "mode", Type: cty.DynamicPseudoType, TypeName: "octal string", Default: `"0644"`, InKey: true, Doc: "Permission bits."},
			{Name: "owner", Type: cty.String, Default: `"root"`, InKey: true, Doc: "User, or user:group."},
		},
	}
	provisionSchema = &BlockSchema{
		Name: "provision", Many: true, Doc: "A command that is run once per created machine, in order.",
		Attrs: []*AttrSchema{
			{Name: "exec", Type: cty.List(cty.String), Required: true, InKey: true, Doc: "The command and its arguments; no shell is involved."},
			{Name: "user", Type: cty.String, Default: `"root"`, InKey: true, Doc: "Who runs it."},
			{Name: "env", Type: cty.Map(cty.String), InKey: true, Doc: "Environment on top of the machine's; null leaves a variable out."},
			{Name: "timeout", Type: cty.DynamicPseudoType, TypeName: "duration", Default: "none", Doc: "How long one attempt may take."},
			{Name: "retries", Type: cty.Number, Default: "0", Doc: "How often it is tried again when it fails."},
			{Name: "continue_on_error", Type: cty.Bool, Default: "false", InKey: true, Doc: "Goes on with the next step when the last attempt has failed."},
		},
	}
)

var userRE = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\$?$`)

const (
	defaultMode = 0o644
	maxRetries  = 1000
)

// notOnDisk are directories that the machine's kernel fills.
var notOnDisk = []string{"/proc", "/sys", "/dev"}

func (d *decoder) files(p *tasks.Machine) {
	seen := map[string]hcl.Range{}
	for _, b := range d.b.blocks[fileSchema.Name] {
		n := d.in(b)
		f := tasks.File{Mode: n.mode("mode", defaultMode)}
		label := value{Value: cty.StringVal(b.label()), attr: &attr{Attribute: &hcl.Attribute{Name: "the path", Expr: hcl.StaticExpr(cty.NilVal, b.labelRange())}}}
		f.Path = n.guestPath(label)
		for _, dir := range notOnDisk {
			if f.Path == dir || strings.HasPrefix(f.Path, dir+"/") {
				n.fault(label, "Invalid path", "%s is not on the machine's disk, and is made anew at each start. Choose another directory, or write the file when the machine starts.", dir)
			}
		}
		d.unique(seen, f.Path, b.labelRange(), "file", "is written")
		f.Content = n.fileContent()
		if v, ok := n.text("owner"); ok {
			f.Owner = v.AsString()
			n.checkUser(v)
		}
		p.Files = append(p.Files, f)
	}
}

// fileContent reads what is in a file of the machine; d is of the file block.
func (d *decoder) fileContent() []byte {
	hasContent, hasSource := !d.unset("content"), !d.unset("source")
	switch {
	case hasContent && hasSource:
		d.report(errorAt(d.b.attrs["source"].NameRange, "Contradictory attributes", "A file has either content or source. Remove one of the two."))
	case !hasContent && !hasSource:
		if at := d.b.defRange; d.b.attrs["content"] == nil || d.b.attrs["source"] == nil {
			d.report(errorAt(at, "File without content", "Write content = \"…\", or source = \"PATH\" to copy a file that is below the bottle file's directory. An empty file is content = \"\"."))
		}
	case hasContent:
		if v, ok := d.get("content"); ok {
			return []byte(v.AsString())
		}
	default:
		v, ok := d.text("source")
		if !ok {
			return nil
		}
		b, err := d.ev.f.files.read(v.AsString())
		if err != nil {
			hint := ""
			if !errors.Is(err, errOutside) {
				hint = sibling(filepath.Join(d.ev.f.opts.Dir, v.AsString()))
			}
			d.fault(v, "Cannot read file", "The file %s of source cannot be read: %s.%s", v.quote(), err, hint)
		}
		return b
	}
	return nil
}

func (d *decoder) provision() tasks.Provision {
	p := tasks.Provision{Exec: d.command("exec"), Env: d.dict("env", envName), Timeout: d.duration("timeout", 0)}
	p.Retries = d.retries()
	p.ContinueOnError, _ = d.boolean("continue_on_error", false)
	if v, ok := d.text("user"); ok {
		p.User = v.AsString()
		d.checkUser(v)
	}
	return p
}

// retries is how often something is tried again.
func (d *decoder) retries() int {
	n, _ := d.whole("retries", 0, maxRetries)
	return n
}

// command returns the arguments of a command, of which the first is not empty.
func (d *decoder) command(name string) []string {
	a := d.b.attrs[name]
	if a == nil {
		return nil
	}
	before := len(d.res.diags)
	args := d.texts(name)
	if len(d.res.diags) > before || d.res.late || d.scope.bad[a.Expr] {
		return args
	}
	if len(args) == 0 || args[0] == "" {
		d.report(errorAt(a.Expr.Range(), "Empty command", "%s is a program and its arguments, such as [\"test\", \"-w\", \"/home\"].", name))
	}
	return args
}
