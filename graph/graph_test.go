package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bottlebuild/cache"
	"bottlebuild/graph"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// job is the parameters of the tests' nodes: the output is a hash of Source
// with Erase removed from it, so that some edits of the source leave it as it was.
type job struct {
	Source string
	Deps   []string
}

// world does the work of jobs and watches the runner.
type world struct {
	mu      sync.Mutex
	ran     []string
	broken  map[string]bool
	lost    map[cache.Key]bool // results that the world outside the cache has lost
	running atomic.Int32
	limit   int32
	ofKey   bool // verdicts say that they are of the key, which they are
	checks  int
	onRun   func(address string)
	problem error
}

func (w *world) Describe(_ context.Context, s graph.Spec, r *cache.Recipe) error {
	j := s.Params.(job)
	r.Add("source", j.Source)
	for i, d := range j.Deps {
		if in, ok := s.Inputs[d]; ok {
			r.AddDigest(fmt.Sprintf("dep%d", i), in.Digest)
		}
	}
	return nil
}

func (w *world) Check(_ context.Context, s graph.Spec, e *cache.Entry) (graph.Verdict, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checks++
	v := graph.Default(s, e)
	if w.lost[s.Key] {
		v = graph.Verdict{Decision: graph.Run, Reasons: []graph.Reason{{Component: "world", Text: "lost"}}}
	}
	v.OfKey = w.ofKey && s.Known
	return v, nil
}

func (w *world) Execute(ctx context.Context, work graph.Work) (cache.Output, error) {
	if n := w.running.Add(1); n > w.limit {
		w.fail(fmt.Errorf("%d nodes at once, the limit is %d", n, w.limit))
	}
	defer w.running.Add(-1)
	var j job
	if err := json.Unmarshal(work.Params, &j); err != nil {
		return cache.Output{}, err
	}
	w.mu.Lock()
	for _, d := range j.Deps {
		if _, ok := work.Inputs[d]; !ok {
			w.problem = fmt.Errorf("%s runs without its input %s", work.Address, d)
		}
	}
	w.ran = append(w.ran, work.Address)
	delete(w.lost, work.Key)
	broken := w.broken[work.Address]
	w.mu.Unlock()
	if w.onRun != nil {
		w.onRun(work.Address)
	}
	if ctx.Err() != nil {
		return cache.Output{}, ctx.Err()
	}
	if broken {
		return cache.Output{}, fmt.Errorf("broken %s", work.Address)
	}
	// A space in the source does not reach the output.
	text := strings.ReplaceAll(j.Source, " ", "")
	for _, d := range j.Deps {
		text += work.Inputs[d].Digest.String()
	}
	return cache.Output{Digest: cache.DigestOf([]byte(text))}, nil
}

func (w *world) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problem = err
}

func node(address, source string, deps ...*graph.Node) *graph.Node {
	j := job{Source: source}
	for _, d := range deps {
		j.Deps = append(j.Deps, d.Address)
	}
	return &graph.Node{Address: address, Kind: "job", Pos: "f:1", Deps: deps,
		Bind: func(graph.Inputs) (graph.Params, error) { return j, nil }}
}

func newRunner(w *world) *graph.Runner {
	w.limit = max(w.limit, 1)
	return &graph.Runner{Cache: newMemory(), Worker: w, Executor: w, Scope: "test", Jobs: int(w.limit)}
}

// dag draws a graph; sources are few, so that some nodes are the same work.
func dag(t *rapid.T) (build func(edit map[int]string) []*graph.Node, n int) {
	n = rapid.IntRange(1, 25).Draw(t, "nodes")
	sources := make([]string, n)
	deps := make([][]int, n)
	for i := range n {
		sources[i] = rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "source")
		for j := range i {
			if rapid.IntRange(0, 4).Draw(t, "edge") == 0 {
				deps[i] = append(deps[i], j)
			}
		}
	}
	return func(edit map[int]string) []*graph.Node {
		nodes := make([]*graph.Node, n)
		for i := range n {
			src := sources[i]
			if e, ok := edit[i]; ok {
				src = e
			}
			var d []*graph.Node
			for _, j := range deps[i] {
				d = append(d, nodes[j])
			}
			nodes[i] = node(fmt.Sprintf("n%d", i), src, d...)
		}
		return nodes
	}, n
}

// promise checks that a run did what the plan made before it said.
func promise(t *rapid.T, p *graph.Plan, rep *graph.Report) {
	for i, s := range p.Steps {
		res := rep.Results[i]
		switch {
		case s.SameAs == nil && s.Decision == graph.Run && res.Status != graph.Ran,
			s.Decision == graph.Hit && res.Status != graph.Cached,
			res.Status != graph.Ran && res.Status != graph.Cached:
			t.Fatalf("plan said %v, run did %s (%v)", s, res.Status, res.Err)
		}
		wellFounded(t, res)
	}
}

// wellFounded checks that work has reasons and that they are no forecast.
func wellFounded(t *rapid.T, res *graph.Result) {
	if tried := res.Status == graph.Ran || res.Status == graph.Failed; tried != (len(res.Reasons) > 0) {
		t.Fatalf("%s %s because of %v", res.Node.Address, res.Status, res.Reasons)
	}
	for _, r := range res.Reasons {
		if r.Cause == graph.Dependency {
			t.Fatalf("%s %s because %s", res.Node.Address, res.Status, r.Text)
		}
	}
}

// snapshot takes over the decisions, which a run refines as it goes.
func snapshot(p *graph.Plan) *graph.Plan {
	c := &graph.Plan{}
	for _, s := range p.Steps {
		d := *s
		c.Steps = append(c.Steps, &d)
	}
	return c
}

func TestRunDoesWhatThePlanSays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{
			limit: int32(rapid.IntRange(1, 4).Draw(rt, "jobs")), lost: map[cache.Key]bool{},
			ofKey: rapid.Bool().Draw(rt, "verdicts of keys"),
		}
		r := newRunner(w)
		build, n := dag(rt)
		edit := map[int]string{}
		var said *graph.Plan
		for range rapid.IntRange(1, 6).Draw(rt, "rounds") {
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0: // an edit that reaches the output
				edit[rapid.IntRange(0, n-1).Draw(rt, "node")] = rapid.SampledFrom([]string{"a", "b", "x", "y"}).Draw(rt, "to")
			case 1: // one that does not
				edit[rapid.IntRange(0, n-1).Draw(rt, "node")] = rapid.SampledFrom([]string{"a ", " a", "b "}).Draw(rt, "to")
			case 2:
				if said == nil {
					continue
				}
				if k := said.Steps[rapid.IntRange(0, n-1).Draw(rt, "node")].Key; !k.IsZero() {
					w.lost[k] = true
				}
			}
			nodes := build(edit)
			p, err := r.Plan(t.Context(), nodes)
			if err != nil {
				rt.Fatal(err)
			}
			said = snapshot(p)
			rep := r.Run(t.Context(), p)
			if err := errors.Join(rep.Err(), w.problem); err != nil {
				rt.Fatal(err)
			}
			promise(rt, said, rep)

			w.ran = nil
			p, err = r.Plan(t.Context(), build(edit))
			if err != nil {
				rt.Fatal(err)
			}
			if run, maybe := p.Work(); run+maybe > 0 {
				rt.Fatalf("a second plan has work: %v", p.Steps)
			}
			if r.Run(t.Context(), p); len(w.ran) > 0 {
				rt.Fatalf("a second run did %v", w.ran)
			}
		}
	})
}

func TestFailuresSkipDependentsAndAreAllReported(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{limit: 3, broken: map[string]bool{}}
		r := newRunner(w)
		r.KeepGoing = true
		build, n := dag(rt)
		edit := map[int]string{} // all different, so that no node does another's work
		for i := range n {
			edit[i] = fmt.Sprintf("only%d", i)
			if rapid.IntRange(0, 5).Draw(rt, "breaks") == 0 {
				w.broken[fmt.Sprintf("n%d", i)] = true
			}
		}
		p, err := r.Plan(t.Context(), build(edit))
		if err != nil {
			rt.Fatal(err)
		}
		rep := r.Run(t.Context(), p)
		bad := map[string]bool{}
		for _, res := range rep.Results {
			a := res.Node.Address
			depends := slices.ContainsFunc(res.Node.Deps, func(d *graph.Node) bool { return bad[d.Address] })
			want := graph.Ran
			switch {
			case depends:
				want = graph.Skipped
			case w.broken[a]:
				want = graph.Failed
			}
			if res.Status != want {
				rt.Fatalf("%s: %s (%v), want %s", a, res.Status, res.Err, want)
			}
			bad[a] = want != graph.Ran
			if want == graph.Failed && !strings.Contains(rep.Err().Error(), a+" (f:1): broken "+a) {
				rt.Fatalf("the error does not name %s: %v", a, rep.Err())
			}
		}
	})
}

func TestCancelStopsStarting(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{limit: 2}
		r := newRunner(w)
		build, n := dag(rt)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		at := fmt.Sprintf("n%d", rapid.IntRange(0, n-1).Draw(rt, "cancel at"))
		w.onRun = func(a string) {
			if a == at {
				cancel()
			}
		}
		p, err := r.Plan(ctx, build(nil))
		if err != nil {
			rt.Fatal(err)
		}
		rep := r.Run(ctx, p)
		for _, res := range rep.Results {
			if res.Status == graph.Skipped && res.Err == nil {
				rt.Fatalf("%s was skipped without a reason", res.Node.Address)
			}
		}
		// What a cancelled run has done stays done, and a new run ends.
		w.onRun = nil
		p, err = r.Plan(t.Context(), build(nil))
		if err != nil {
			rt.Fatal(err)
		}
		if rep := r.Run(t.Context(), p); rep.Err() != nil || w.problem != nil {
			rt.Fatal(rep.Err(), w.problem)
		}
	})
}

func TestWithoutKeepGoingNothingStartsAfterAFailure(t *testing.T) {
	w := &world{broken: map[string]bool{"a": true, "b": true}}
	r := newRunner(w)
	p, err := r.Plan(t.Context(), []*graph.Node{node("a", "1"), node("b", "2")})
	if err != nil {
		t.Fatal(err)
	}
	status := map[graph.Status]int{}
	for _, res := range r.Run(t.Context(), p).Results {
		status[res.Status]++
	}
	if status[graph.Failed] != 1 || status[graph.Skipped] != 1 || len(w.ran) != 1 {
		t.Errorf("results %v, ran %v", status, w.ran)
	}
}

func TestSortNamesTheMembersOfACircle(t *testing.T) {
	a, b, c := node("a", "1"), node("b", "2"), node("c", "3")
	a.Deps, b.Deps, c.Deps = []*graph.Node{b}, []*graph.Node{c}, []*graph.Node{a}
	_, err := graph.Sort([]*graph.Node{a})
	if err == nil || !strings.HasSuffix(err.Error(), "a -> b -> c -> a") {
		t.Errorf("error is %v", err)
	}
	if _, err := graph.Sort([]*graph.Node{node("x", "1"), node("x", "2")}); err == nil {
		t.Error("two nodes of one address are accepted")
	}
}

func TestInputsThatChangeMeanwhileAreNotStored(t *testing.T) {
	w := &world{}
	r := newRunner(w)
	source := "before"
	n := node("n", "")
	n.Bind = func(graph.Inputs) (graph.Params, error) { return job{Source: "x"}, nil }
	r.Worker = describeFunc{w, func(rec *cache.Recipe) { rec.Add("file", source) }}
	w.onRun = func(string) { source = "after" }
	p, err := r.Plan(t.Context(), []*graph.Node{n})
	if err != nil {
		t.Fatal(err)
	}
	if rep := r.Run(t.Context(), p); !errors.Is(rep.Err(), graph.ErrInputsChanged) {
		t.Errorf("error is %v", rep.Err())
	}
	if _, err := r.Cache.Get(p.Steps[0].Key); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("the result was stored: %v", err)
	}
}

// describeFunc is a world with more in its recipes.
type describeFunc struct {
	*world
	more func(*cache.Recipe)
}

func (d describeFunc) Describe(ctx context.Context, s graph.Spec, r *cache.Recipe) error {
	d.more(r)
	return d.world.Describe(ctx, s, r)
}

func TestReasons(t *testing.T) {
	w := &world{lost: map[cache.Key]bool{}}
	r := newRunner(w)
	plan := func(source string) *graph.Step {
		t.Helper()
		p, err := r.Plan(t.Context(), []*graph.Node{node("n", source)})
		if err != nil {
			t.Fatal(err)
		}
		s := *p.Steps[0]
		if err := r.Run(t.Context(), p).Err(); err != nil {
			t.Fatal(err)
		}
		return &s
	}
	if s := plan("a"); s.Reasons[0].Text != "never built here" {
		t.Errorf("first: %+v", s.Reasons)
	}
	if s := plan("b"); s.Reasons[0] != (graph.Reason{Cause: graph.Changed, Component: "source", Before: "a", After: "b", Text: "source changed"}) {
		t.Errorf("edit: %+v", s.Reasons)
	}
	p, err := r.Plan(t.Context(), []*graph.Node{node("n", "b")})
	if err != nil {
		t.Fatal(err)
	}
	w.lost[p.Steps[0].Key] = true
	if s := plan("b"); s.Decision != graph.Run || s.Reasons[0].Text != "lost" {
		t.Errorf("lost: %+v", s.Reasons)
	}
	r.Force = func(*graph.Node) bool { return true }
	if s := plan("b"); s.Decision != graph.Run || s.Reasons[0].Text != "forced" {
		t.Errorf("forced: %v %+v", s, s.Reasons)
	}
}

func TestTimeoutAndRetries(t *testing.T) {
	w := &world{}
	r := newRunner(w)
	tries := 0
	r.Executor = executorFunc(func(ctx context.Context, _ graph.Work) (cache.Output, error) {
		if tries++; tries == 1 {
			<-ctx.Done()
			return cache.Output{}, ctx.Err()
		}
		return cache.Output{}, nil
	})
	r.Timeout, r.Retries = time.Millisecond, 1
	run := func() error {
		p, err := r.Plan(t.Context(), []*graph.Node{node("n", fmt.Sprint(tries))})
		if err != nil {
			t.Fatal(err)
		}
		return r.Run(t.Context(), p).Err()
	}
	r.Retries = 0
	if err := run(); err == nil || !strings.Contains(err.Error(), "longer than 1ms") {
		t.Errorf("without a retry: %v", err)
	}
	tries, r.Retries = 0, 1
	if err := run(); err != nil || tries != 2 {
		t.Errorf("with a retry: %v after %d tries", err, tries)
	}
}

type executorFunc func(context.Context, graph.Work) (cache.Output, error)

func (f executorFunc) Execute(ctx context.Context, w graph.Work) (cache.Output, error) {
	return f(ctx, w)
}
