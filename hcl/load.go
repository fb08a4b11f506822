package bottlefile

import (
	"cmp"
	"context"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty/function"

	"bottlebuild/tasks"
)

// Options is what [Load] needs: Dir, and either Files or Path and Source.
type Options struct {
	Path   string   // the file's name in messages and node positions
	Source []byte   // its content, see [ReadFile]
	Files  []Source // in place of Path and Source: files that are read as one
	Dir    string   // absolute; paths in the files are relative to it
	// Project is the scope of machines: those of one project that no file
	// declares any more are orphans. Empty: Dir and the base name of Path.
	Project string
	// Values given for variables: those of Env give way to those of VarFiles,
	// which are attributes in HCL's own syntax or one JSON object and of which
	// later ones beat earlier ones, and these give way to those of Vars.
	Env      map[string]Var
	VarFiles []Source
	Vars     map[string]Var
	Sets     []string // "PATH=VALUE": attributes that beat those of the files
	Lock     *Source  // the lock file; nil: there is none
	Version  string   // of bottlebuild, for required_version; empty: not checked

	maxIterations int64 // 0: the constant of that name, which takes too long to reach in a test
}

// Var is a value given for a variable.
type Var struct {
	Value  string // a string, or for other types an HCL or JSON expression
	Origin string // where it comes from, for messages: "--var", "BOTTLE_VAR_node"
}

// File is a loaded bottle file. It is safe for concurrent use.
type File struct {
	opts    Options
	sources map[string]*hcl.File

	settings  *block
	variables []*variable
	given     map[string]given
	// undeclarable are names of variables whose declarations are faulty.
	undeclarable map[string]bool
	locals       map[string]*attr
	localNames   []string // in the order of the file
	registries   []*registry
	cacheBlocks  []*block
	caches       []Cache
	secrets      []*block
	decls        []*decl // images and bottles, in the order of the file
	groups       []*group
	outputs      []*output

	instanceSets map[*block][]*instanceSetting // by the block of a declaration

	pins       tasks.Pins
	files      *fileReader
	functions  map[string]function.Function
	iterations iterations
	eval       *evaluator // what was found while compiling; read-only afterwards
	units      []*unit
	valid      bool
}

// Load parses and compiles a bottle file. It reports every fault it can find.
// The file that it returns is never nil; one with errors has no nodes, and
// serves [WriteDiagnostics] only. A cancelled ctx ends it early with an error
// diagnostic.
func Load(ctx context.Context, o Options) (*File, hcl.Diagnostics) {
	if len(o.Files) == 0 {
		o.Files = []Source{{Path: o.Path, Bytes: o.Source}}
	}
	if o.Project == "" {
		o.Project = filepath.Join(o.Dir, filepath.Base(o.Files[0].Path))
	}
	f := &File{
		opts:    o,
		sources: map[string]*hcl.File{},
		locals:  map[string]*attr{},

		instanceSets: map[*block][]*instanceSetting{},
		files:        &fileReader{dir: o.Dir, seen: map[string]fileContent{}},
	}
	lock := f.readLock()
	bodies, diags := f.parse()
	diags = append(diags, lock...)
	if diags.HasErrors() {
		return f, tidy(diags)
	}
	f.iterations.limit = cmp.Or(o.maxIterations, maxIterations)
	f.functions = f.allFunctions()
	top, d := f.combine(bodies)
	diags = append(diags, d...)
	diags = append(diags, f.collectGiven()...)
	for _, s := range f.opts.Sets {
		diags = append(diags, f.applySet(top, s)...)
	}
	diags = append(diags, top.checkRequired()...)
	diags = append(diags, f.declare(top)...)
	diags = append(diags, f.compile(ctx)...)
	f.hideVarFiles()
	f.iterations.done.Store(true)
	f.valid = !diags.HasErrors()
	return f, tidy(diags)
}

// declare reads the blocks at the top level and gives each its name.
func (f *File) declare(top *block) hcl.Diagnostics {
	var diags hcl.Diagnostics
	if b := top.one(settingsSchema.Name); b != nil {
		f.settings = b
		diags = append(diags, f.checkVersion()...)
	}
	diags = append(diags, f.declareVariables(top.blocks[variableSchema.Name])...)
	diags = append(diags, f.declareLocals(top.blocks[localsSchema.Name])...)
	names := nameTable{}
	for _, b := range top.blocks[registrySchema.Name] {
		diags = append(diags, names.add(b)...)
		f.registries = append(f.registries, &registry{block: b})
	}
	for _, b := range top.blocks[cacheSchema.Name] {
		diags = append(diags, names.add(b)...)
	}
	f.cacheBlocks = top.blocks[cacheSchema.Name]
	f.secrets = top.blocks[secretSchema.Name]
	for _, kind := range []*BlockSchema{imageSchema, bottleSchema} {
		for _, b := range top.blocks[kind.Name] {
			diags = append(diags, names.add(b)...)
			f.decls = append(f.decls, newDecl(b))
		}
	}
	f.sortDecls()
	for _, b := range top.blocks[groupSchema.Name] {
		diags = append(diags, names.add(b)...)
		f.groups = append(f.groups, &group{block: b})
	}
	for _, b := range top.blocks[outputSchema.Name] {
		diags = append(diags, names.add(b)...)
		f.outputs = append(f.outputs, &output{block: b})
	}
	return diags
}
