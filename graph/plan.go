package graph

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bottlebuild/cache"
)

// Runner plans graphs and runs plans.
type Runner struct {
	Cache    Cache
	Worker   Worker
	Executor Executor
	// Shared is a cache that other machines fill too, or nil; Shares tells of
	// which kinds of nodes it has entries.
	Shared Shared
	Shares func(kind string) bool
	// Scope tells this project's nodes from those of others that share the cache.
	Scope string
	// Jobs is how many slots there are for work; at least 1.
	Jobs int
	// MemoryMiB is how much memory there is for work that needs much of it; 0 is
	// no bound.
	MemoryMiB int
	// Cost is what a node's work takes while it is done; nil means one slot each.
	// A spec whose inputs are not known may have no parameters.
	Cost func(Spec) Cost
	// KeepGoing goes on with what does not depend on a node that failed.
	KeepGoing bool
	// Timeout bounds one try of a node's work; 0 is no bound.
	Timeout time.Duration
	// Retries is how often work that failed is tried again, RetryPause later, and
	// twice as long after each further failure.
	Retries    int
	RetryPause time.Duration
	// Force tells of a node whose work is to be done whatever the cache has; or nil.
	Force func(*Node) bool
	// Alike returns the actions that take as long as one, that one first; nil: no
	// other does.
	Alike func(action string) []string
	// Past returns what is known beside the cache of what a node's work takes that
	// amounts to the first of actions, as of [Verdict], of which something is known; or
	// nil. Zero is not known.
	Past func(n *Node, actions ...string) Estimate
	// Notify receives each result when it is there, one at a time; or nil.
	Notify func(*Result)
}

// Cost is what work takes while it is done.
type Cost struct {
	Slots     int // of the runner's jobs; less than 1 counts as 1
	MemoryMiB int
}

// Plan is what a run would do, in an order in which it could be done.
type Plan struct {
	Steps []*Step
}

// Step is the plan for one node.
type Step struct {
	Node     *Node
	Decision Decision
	Action   string    // as of [Verdict]
	Actions  []string  // as of [Verdict]
	Key      cache.Key // zero if it is not known before a dependency has run
	Reasons  []Reason
	// Compared is the key of the earlier work from which Reasons say what differs;
	// zero if they say something else.
	Compared cache.Key
	// SameAs is an earlier step that does this step's work; the decision is then Hit.
	SameAs *Step
	// Where is where the entry of a Hit came from; empty: from work done here.
	Where    string
	Estimate Estimate

	spec     Spec
	recipe   *cache.Recipe
	output   cache.Output // of a Hit without SameAs
	notes    []Reason
	ofWorld  bool
	saved    time.Duration
	bytes    int64
	err      error
	identity string // equal for steps that are known to be the same work
}

// Outcome is the step's action, or what may become of it.
func (s *Step) Outcome() string { return Outcome(s.Action, s.Actions) }

// Outcome is action, or else those of which one will be taken: "start or replace".
func Outcome(action string, actions []string) string {
	return cmp.Or(action, strings.Join(actions, " or "))
}

// Work counts the steps that a run would or might do.
func (p *Plan) Work() (run, maybe int) {
	for _, s := range p.Steps {
		switch s.Decision {
		case Run:
			run++
		case Maybe:
			maybe++
		}
	}
	return run, maybe
}

// Plan decides about each of nodes and of what they depend on. It has no side
// effects. The error joins a [NodeError] for each node that cannot be described.
func (r *Runner) Plan(ctx context.Context, nodes []*Node) (*Plan, error) {
	order, err := Sort(nodes)
	if err != nil {
		return nil, err
	}
	p := &Plan{Steps: make([]*Step, len(order))}
	steps := make(map[*Node]*Step, len(order))
	for i, n := range order {
		p.Steps[i] = &Step{Node: n}
		steps[n] = p.Steps[i]
	}
	seen := &lookups{by: make(map[lookup]*found, len(order))}
	p.each(steps, r.planners(), func(s *Step) {
		deps := make([]*Step, len(s.Node.Deps))
		for i, d := range s.Node.Deps {
			deps[i] = steps[d]
		}
		s.err = r.plan(ctx, s, deps, seen)
	})
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	p.share(steps)
	var errs []error
	for _, s := range p.Steps {
		if s.err != nil && !errors.Is(s.err, errDependency) {
			errs = append(errs, &NodeError{s.Node, s.err})
		}
	}
	return p, errors.Join(errs...)
}

var errDependency = errors.New("a dependency cannot be planned")

// plan decides about one step whose dependencies have been decided about.
func (r *Runner) plan(ctx context.Context, s *Step, deps []*Step, seen *lookups) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	inputs := make(Inputs, len(deps))
	var waits []*Step
	for _, d := range deps {
		switch {
		case d.err != nil:
			return errDependency
		case d.Decision == Hit:
			inputs[d.Node.Address] = d.output
		default:
			waits = append(waits, d)
		}
	}
	if len(waits) > 0 {
		return r.planUnknown(ctx, s, inputs, waits)
	}
	if err := r.bind(ctx, s, inputs); err != nil {
		return err
	}
	forced := r.forced(s)
	known := seen.find(ctx, r, s.Node.Kind, lookup{s.Key, forced})
	if known.err != nil {
		return known.err
	}
	entry := known.entry
	if forced {
		entry = nil
	}
	if err := known.judge(ctx, r, s, entry); err != nil {
		return err
	}
	if forced && s.Decision == Hit {
		s.Decision = Run
	}
	if s.Decision == Hit {
		if entry != nil {
			s.Where = entry.From
			s.saved = time.Duration(entry.Seconds * float64(time.Second))
			s.bytes = entry.Bytes
		}
		return nil
	}
	r.explain(ctx, s, forced, known.miss)
	s.uncertain(known.miss)
	return nil
}

// planUnknown decides about a step some of whose inputs will be known only when
// a dependency has run. Its work must run if no work like it, whatever those
// inputs were, has ever been done.
func (r *Runner) planUnknown(ctx context.Context, s *Step, inputs Inputs, waits []*Step) error {
	s.spec = Spec{Address: s.Node.Address, Kind: s.Node.Kind, Inputs: inputs}
	s.Decision = Maybe
	params, err := s.Node.Bind(inputs)
	if errors.Is(err, ErrUnknown) {
		if r.forced(s) {
			s.Decision = Run
		}
		r.explainUnknown(ctx, s, waits)
		return nil
	}
	if err != nil {
		return err
	}
	s.spec.Params = params
	if s.recipe, err = r.describe(ctx, s.spec); err != nil {
		return err
	}
	partial := s.recipe.Key()
	if len(inputs) > 0 {
		if partial, err = r.partial(ctx, s.spec); err != nil {
			return err
		}
	}
	if _, err := r.judge(ctx, s, nil); err != nil {
		return err
	}
	if s.Decision == Hit {
		return nil
	}
	if s.Decision == Maybe && (r.forced(s) || !s.ofWorld && !r.marked(ctx, s.Node.Kind, partial)) {
		s.Decision = Run
	}
	r.explainUnknown(ctx, s, waits)
	return nil
}

func (r *Runner) forced(s *Step) bool { return r.Force != nil && r.Force(s.Node) }

// bind fills in the step's parameters, recipe and key.
func (r *Runner) bind(ctx context.Context, s *Step, inputs Inputs) error {
	params, err := s.Node.Bind(inputs)
	if err != nil {
		return err
	}
	s.spec = Spec{Address: s.Node.Address, Kind: s.Node.Kind, Params: params, Inputs: inputs, Known: true}
	s.recipe, err = r.describe(ctx, s.spec)
	if err != nil {
		return err
	}
	s.Key = s.recipe.Key()
	s.spec.Key = s.Key
	return nil
}

func (r *Runner) describe(ctx context.Context, spec Spec) (*cache.Recipe, error) {
	recipe := cache.NewRecipe(spec.Kind)
	err := r.Worker.Describe(ctx, spec, recipe)
	return recipe, err
}

// partial returns the key of the recipe less all that depends on inputs.
func (r *Runner) partial(ctx context.Context, spec Spec) (cache.Key, error) {
	spec.Inputs, spec.Known, spec.Key = nil, false, cache.Key{}
	recipe, err := r.describe(ctx, spec)
	if err != nil {
		return cache.Key{}, err
	}
	return recipe.Key(), nil
}

// get returns the entry of k, or why there is none.
func (r *Runner) get(k cache.Key) (entry *cache.Entry, miss, err error) {
	entry, err = r.Cache.Get(k)
	if errors.Is(err, cache.ErrMiss) {
		return nil, err, nil
	}
	return entry, nil, err
}

// judge takes over the worker's verdict.
func (r *Runner) judge(ctx context.Context, s *Step, entry *cache.Entry) (Verdict, error) {
	v, err := r.Worker.Check(ctx, s.spec, entry)
	if err != nil {
		return v, err
	}
	s.take(v)
	return v, nil
}

func (s *Step) take(v Verdict) {
	s.Decision, s.Action, s.Actions = v.Decision, v.Action, v.Actions
	s.Reasons, s.notes, s.ofWorld, s.output = slices.Clone(v.Reasons), v.Notes, v.OfWorld, v.Output
}

// String is the decision with its address, for messages of tests.
func (s *Step) String() string { return fmt.Sprintf("%s %s", s.Decision, s.Node.Address) }
