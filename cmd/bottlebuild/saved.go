package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"bottlebuild/cache"
	"bottlebuild/graph"
	bottlefile "bottlebuild/hcl"
)

// A saved plan's file is the line "bottlebuild-plan 1 HEX", HEX being the SHA-256
// of all that follows it, and a savedPlan in JSON. Its mode is 0600. Every version
// starts with the magic.
const (
	savedMagic  = "bottlebuild-plan "
	savedFormat = savedMagic + "1 "
)

// maxSaved bounds a saved plan, in bytes; maxListings what of it lists contexts.
const (
	maxSaved    = 256 << 20
	maxListings = 32 << 20
)

// savedPlan is a plan with what it was made from. It holds no value of a sensitive
// variable and none of a secret.
type savedPlan struct {
	Version string    `json:"version"` // of bottlebuild
	Created time.Time `json:"created"`
	Dir     string    `json:"dir"` // working directory, to which paths are relative
	// The command line.
	Files    []string `json:"files"`
	VarFiles []string `json:"var_files,omitempty"`
	Sets     []string `json:"sets,omitempty"`
	Targets  []string `json:"targets,omitempty"`
	Only     []string `json:"only,omitempty"`
	Until    string   `json:"until,omitempty"`
	Force    []string `json:"force,omitempty"`
	NoCache  bool     `json:"no_cache,omitempty"`
	// Values given for variables, by where they came from, which tells which counts.
	Env  givenValues `json:"env"`
	Vars givenValues `json:"vars"`
	// Inputs are the digests of the files that the bottle file is made of and of
	// those it reads, by path.
	Inputs map[string]cache.Digest `json:"inputs"`

	Plan    planJSON          `json:"plan"`
	Recipes map[string]string `json:"recipes"` // by address
	// Listings tell later which file of a context has changed.
	Listings []string `json:"listings,omitempty"`

	// What the command that carries it out was given.
	nowEnv, nowVars map[string]bottlefile.Var
}

// savedArgument returns the saved plan that the first argument is, or nil.
func (a *app) savedArgument(f *selection, args []string) (*savedPlan, error) {
	if len(args) == 0 || len(f.files) > 0 {
		return nil, nil
	}
	file := openSaved(args[0])
	if file == nil { // whoever reads it as a bottle file will say what is wrong with it
		return nil, nil
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxSaved+1))
	if err != nil {
		return nil, usageError("read saved plan: %w", err)
	}
	p, err := parseSaved(b)
	if err != nil {
		return nil, usageError("the saved plan %s %w; make it again with: bottlebuild plan --out %s", args[0], err, args[0])
	}
	if len(args) > 1 || f.narrowed() || len(f.sets)+len(f.varFiles) > 0 {
		return nil, usageError("%s is a saved plan, which says already what is to be done: give no targets and no other selection with it", args[0])
	}
	return p, nil
}

// openSaved opens the file at path if that starts as a saved plan does; nil: it
// does not, or cannot be read.
func openSaved(path string) *os.File {
	// To open a pipe would block.
	if fi, err := os.Stat(path); err != nil || !fi.Mode().IsRegular() {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	head := make([]byte, len(savedMagic))
	if _, err := file.ReadAt(head, 0); err != nil || string(head) != savedMagic {
		file.Close()
		return nil
	}
	return file
}

// looksSaved tells a saved plan that is not there from a target. A bottle may have
// the name "plan".
func looksSaved(arg string) bool {
	name, ok := strings.CutSuffix(arg, ".plan")
	return ok && !slices.Contains([]string{"bottle", "group", "image"}, name) && !strings.ContainsAny(name, "*?")
}

func parseSaved(b []byte) (*savedPlan, error) {
	rest, known := bytes.CutPrefix(b, []byte(savedFormat))
	sum, body, ok := bytes.Cut(rest, []byte("\n"))
	switch {
	case !known:
		return nil, fmt.Errorf("was made by a version of bottlebuild with another format of plans, and this is %s", version())
	case len(b) > maxSaved:
		return nil, fmt.Errorf("is over %d bytes", maxSaved)
	case !ok || cache.DigestOf(body).Hex() != string(sum):
		return nil, errors.New("is not whole, or was changed")
	}
	p := &savedPlan{}
	if err := json.Unmarshal(body, p); err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	if p.Plan.FormatVersion != planFormat || p.Version != version() {
		return nil, fmt.Errorf("was made by version %s of bottlebuild, and this is %s", p.Version, version())
	}
	return p, nil
}

// selection returns the flags and the arguments with which the plan was made.
// Values of sensitive variables come from given, those of run.
func (p *savedPlan) selection(given *fileFlags) (f selection, args []string, err error) {
	if wd, err := os.Getwd(); err != nil || wd != p.Dir {
		advice := "run it there"
		if _, gone := os.Stat(p.Dir); errors.Is(gone, fs.ErrNotExist) {
			advice = "that is gone, so make it again here with: bottlebuild plan --out FILE"
		}
		return f, nil, errors.Join(err, usageError("the plan was made in %s, to which its paths are relative: %s", p.Dir, advice))
	}
	if p.nowVars, err = given.commandVars(); err != nil {
		return f, nil, err
	}
	for name := range p.nowVars {
		if !slices.Contains(p.Vars.Sensitive, name) && !slices.Contains(p.Env.Sensitive, name) {
			return f, nil, usageError("--var %s: the plan has the values of all variables but those of sensitive ones", name)
		}
	}
	p.nowEnv = environmentVars()
	f = selection{only: p.Only, until: p.Until, force: p.Force, noCache: p.NoCache}
	f.files, f.varFiles, f.sets, f.saved, f.read = p.Files, p.VarFiles, p.Sets, p, &input{}
	return f, p.Targets, nil
}

// changedInputs names the files that are not what they were, and those that
// are new or gone.
func (p *savedPlan) changedInputs(in *input, file *bottlefile.File) ([]string, error) {
	now, err := inputDigests(in, file)
	if err != nil {
		return nil, err
	}
	var changes []string
	for path, d := range p.Inputs {
		switch got, ok := now[path]; {
		case !ok:
			changes = append(changes, shorten(path)+" is not read any more")
		case got != d:
			changes = append(changes, shorten(path)+" changed")
		}
	}
	for path := range now {
		if _, ok := p.Inputs[path]; !ok {
			changes = append(changes, shorten(path)+" is new")
		}
	}
	slices.Sort(changes)
	return changes, nil
}

// verify makes sure that a plan made now is the saved one; the error names what
// has changed since.
func (p *savedPlan) verify(ctx context.Context, s *session, runner *graph.Runner, plan *graph.Plan, in *input, file *bottlefile.File) error {
	changes, err := p.changedInputs(in, file)
	if err != nil {
		return err
	}
	changes = append(changes, p.changedVars(file)...)
	for _, text := range p.Listings {
		if _, err := s.store.PutBytes([]byte(text)); err != nil {
			return err
		}
	}
	const most = 20
	promised := make([]graph.Promise, len(p.Plan.Nodes))
	from := map[string]string{} // where the plan found results, but for those from here
	for i, n := range p.Plan.Nodes {
		from[n.Address] = n.Where
		promised[i] = graph.Promise{Address: n.Address, Decision: n.Decision, Action: n.outcome(), Recipe: p.Recipes[n.Address]}
		if n.Key != nil {
			promised[i].Key = *n.Key
		}
		for _, r := range n.Reasons {
			if r.Cause == graph.SameWork {
				promised[i].SameAs = r.After
			}
		}
	}
	deviations := runner.Deviations(ctx, plan, promised)
	for _, d := range deviations {
		if repo := from[d.Address]; repo != "" && s.shared == nil && d.Text != "" {
			d.Text += " without the shared cache " + repo + ", which the plan was made with: give run the same --cache"
			d.Reasons = nil
		}
		said := []string{d.Address, d.Text, reasonLine(d.Reasons)}
		said = slices.DeleteFunc(said, func(s string) bool { return s == "" })
		changes = append(changes, strings.Join(said, ": "))
	}
	if len(changes) == 0 {
		return nil
	}
	if over := len(changes) - most; over > 0 {
		changes = append(changes[:most], fmt.Sprintf("and %d more", over))
	}
	return usageError("the saved plan is not carried out, since something has changed since it was made on %s:\n  %s%s\nMake it again with: bottlebuild plan --out FILE",
		p.Created.Local().Format(time.DateTime), strings.Join(changes, "\n  "), p.sensitiveAdvice(deviations))
}
