package bottlefile

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"bottlebuild/internal/lazyregexp"
	"bottlebuild/tasks"
)

// LockPath returns the path of the lock file of a bottle file or of a directory
// of them: bottles.lock.hcl beside bottles.hcl, and in a directory.
func LockPath(path string, isDir bool) string {
	if isDir {
		return filepath.Join(path, "bottles.lock.hcl")
	}
	s, _ := stem(path)
	return filepath.Join(filepath.Dir(path), s+".lock.hcl")
}

// lockHeader starts every lock file.
const lockHeader = `# What image tags, Git refs and URLs stand for. Made by "bottlebuild lock"; keep it
# with the bottle file. "bottlebuild lock --upgrade [NAME]" takes what they stand
# for now.
`

func lockBlock(kind tasks.PinKind, attr, doc string) *BlockSchema {
	return &BlockSchema{
		Name: string(kind), Labels: []string{"name"}, Many: true, Doc: doc,
		Attrs: []*AttrSchema{{Name: attr, Type: cty.String, Required: true, Static: true, Doc: "What it stands for."}},
	}
}

// lockSchema is the language of lock files.
var lockSchema = &BlockSchema{
	Name: "lock file",
	Blocks: []*BlockSchema{
		lockBlock(tasks.PinImage, "digest", "An image reference with a tag."),
		lockBlock(tasks.PinGit, "commit", "A Git URL with a ref."),
		lockBlock(tasks.PinHTTP, "digest", "A URL."),
	},
}

var (
	digestRE = lazyregexp.New(`^sha256:[0-9a-f]{64}$`)
	commitRE = lazyregexp.New(`^(?:[0-9a-f]{40}|[0-9a-f]{64})$`)
)

// readLock reads o.Lock.
func (f *File) readLock() hcl.Diagnostics {
	if f.opts.Lock == nil {
		return nil
	}
	f.pins = tasks.Pins{}
	body, diags := f.parseSource(*f.opts.Lock)
	if diags.HasErrors() {
		return diags
	}
	top, d := readBody(body, lockSchema, hcl.Range{Filename: f.opts.Lock.Path, Start: hcl.InitialPos, End: hcl.InitialPos}, nil)
	diags = append(append(diags, d...), top.checkRequired()...)
	first := map[tasks.Pin]*block{}
	for _, s := range lockSchema.Blocks {
		attr, form, what := s.Attrs[0].Name, digestRE, `a digest, "sha256:" and 64 hexadecimal digits`
		if attr == "commit" {
			form, what = commitRE, "a commit, 40 or 64 hexadecimal digits"
		}
		for _, b := range top.blocks[s.Name] {
			p := tasks.Pin{Kind: tasks.PinKind(s.Name), Name: b.label()}
			if old := first[p]; old != nil {
				diags = append(diags, errorAt(b.labelRange(), "Duplicate name in lock file", "%s is pinned at %s already. After a merge, keep one of the two, or make the file anew: delete it and run bottlebuild lock.", p.Name, place(old.defRange)))
				continue
			}
			first[p] = b
			a := b.attrs[attr]
			if a == nil {
				continue // it has been reported
			}
			v, vd := a.Expr.Value(nil)
			if vd.HasErrors() || v.Type() != cty.String || v.IsNull() || !form.MatchString(v.AsString()) {
				diags = append(diags, errorAt(a.Expr.Range(), "Invalid "+attr, "The %s of %s is %s. Take it anew with: bottlebuild lock --upgrade '%s'", attr, p.Name, what, p.Name))
				continue
			}
			f.pins[p] = v.AsString()
		}
	}
	return diags
}

// Pins returns what the lock file pins; nil if there is none.
func (f *File) Pins() tasks.Pins { return f.pins }

// FormatLock returns the text of a lock file: one block for each pin, in order of
// kind and name, so that versions of it can be merged line by line.
func FormatLock(pins tasks.Pins) []byte {
	file := hclwrite.NewEmptyFile()
	for _, p := range slices.SortedFunc(maps.Keys(pins), tasks.Pin.Compare) {
		file.Body().AppendNewline()
		for _, s := range lockSchema.Blocks {
			if s.Name == string(p.Kind) {
				file.Body().AppendNewBlock(s.Name, []string{p.Name}).Body().SetAttributeValue(s.Attrs[0].Name, cty.StringVal(pins[p]))
			}
		}
	}
	var b strings.Builder
	fmt.Fprint(&b, lockHeader)
	b.Write(file.Bytes())
	return []byte(b.String())
}
