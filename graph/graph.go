// Package graph plans and runs a directed acyclic graph of content-addressed
// work. It knows nothing of what the work is: a [Worker] describes and checks
// nodes, an [Executor] does their work.
package graph

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"bottlebuild/cache"
)

// Node is one piece of work in the graph.
type Node struct {
	Address string // "image.base", `bottle.agent["claude"].pack`: unique in a graph
	Kind    string // "image", "export", "push", "pack", "machine"
	Pos     string // where the user wrote it: "bottles.hcl:12"
	Deps    []*Node
	// Bind returns the node's parameters. inputs holds the outputs, by address,
	// of those dependencies whose outputs are known by now. It returns
	// [ErrUnknown] if it needs one that is missing. It is cheap, has no side
	// effects and may be called several times.
	Bind func(inputs Inputs) (Params, error)
}

// Params are a node's parameters: a value that encoding/json can write, and from
// which the node's work can be done on any machine that has the cache.
type Params any

// Inputs are outputs of dependencies by address.
type Inputs map[string]cache.Output

// ErrUnknown is returned by Bind if a parameter depends on an output that is not
// known yet.
var ErrUnknown = errors.New("known only after a dependency has run")

// Spec is a node with its parameters and inputs bound, as a Worker sees it.
type Spec struct {
	Address string
	Kind    string
	Key     cache.Key // zero while it is not known
	Params  Params
	Inputs  Inputs // complete if Known
	Known   bool   // whether the outputs of all dependencies are known
}

// Worker tells what nodes depend on and how the world stands. Its methods are
// called for several nodes at once, and have no side effects that a user would
// see: plans are made with them.
type Worker interface {
	// Describe adds to r every component that decides the output of the node,
	// the digest of each input it uses included, except that it leaves out
	// what depends on an input that s.Inputs lacks. Work with equal recipes is
	// equal whatever its address.
	Describe(ctx context.Context, s Spec, r *cache.Recipe) error
	// Check decides about a node. entry is the cache's entry for s.Key, nil if
	// there is none or the key is not known. The simplest answer is [Default];
	// a node whose result lives outside the cache asks the world too.
	Check(ctx context.Context, s Spec, entry *cache.Entry) (Verdict, error)
}

// Work is a node's work as a value: all that an executor needs, here or elsewhere.
type Work struct {
	Address string          `json:"address"` // to report under; it does not change the work
	Kind    string          `json:"kind"`
	Key     cache.Key       `json:"key"`
	Params  json.RawMessage `json:"params"`
	Inputs  Inputs          `json:"inputs,omitempty"`
}

// Executor does the work of a node and leaves what it made in the cache. It is
// called for several nodes at once.
type Executor interface {
	Execute(ctx context.Context, w Work) (cache.Output, error)
}

// Decision says what a run will do with a node.
type Decision string

// The decisions.
const (
	Hit   Decision = "hit"   // nothing: its output is there
	Run   Decision = "run"   // its work
	Maybe Decision = "maybe" // its work, unless a dependency's output turns out to be one it was done for before
)

// Verdict is a decision with its grounds.
type Verdict struct {
	Decision Decision
	// Action is what the work amounts to, where a kind has several: "create",
	// "start", "replace", "update", "none". Of a maybe it is what will be done if
	// anything is. It is empty while that depends on inputs; Actions are then those
	// of which one will be taken.
	Action  string
	Actions []string
	Reasons []Reason // of a run or maybe; a hit needs none
	Notes   []Reason // said behind the reasons, which are still looked for if Reasons is empty
	Output  cache.Output
	// OfWorld is set if the cache has no part in the decision, nor in its reasons: a
	// Maybe is one also where no such work is known to have been done.
	OfWorld bool
	// OfKey is set if the verdict is that on every node with this key, so that
	// one plan needs it only once. Else it depends on more than the key.
	OfKey bool
}

// Default is the verdict on a node whose result is the cache's entry and nothing else.
func Default(s Spec, entry *cache.Entry) Verdict {
	switch {
	case entry != nil:
		return Verdict{Decision: Hit, Output: entry.Output}
	case s.Known:
		return Verdict{Decision: Run}
	}
	return Verdict{Decision: Maybe}
}

// Cache is what planning and running need of the cache; [*cache.Store] is one.
// Get's error wraps [cache.ErrMiss] for a key without a usable entry.
type Cache interface {
	Get(cache.Key) (*cache.Entry, error)
	Put(*cache.Entry) error
	Lock(context.Context, cache.Key) (unlock func(), err error)
	Mark(partial cache.Key) error
	Marked(partial cache.Key) bool
	// Recent returns the keys that SetLatest recorded last, the newest first; the
	// error wraps [cache.ErrMiss] if there is none.
	Recent(scope, address string) ([]cache.Key, error)
	SetLatest(scope, address string, k cache.Key) error
	// Recipe returns the text of the recipe of k, also where the entry's blobs are gone.
	Recipe(k cache.Key) (string, error)
}

// Status says how a node ended.
type Status string

// The statuses.
const (
	Ran     Status = "ran"     // its work was done
	Cached  Status = "cached"  // its output was there
	Skipped Status = "skipped" // not done: a dependency did not succeed, or the run was stopped
	Failed  Status = "failed"  // its work was tried and failed
)

// Result is how one node ended.
type Result struct {
	Node    *Node
	Status  Status
	Key     cache.Key // zero if it was not known
	Output  cache.Output
	Err     error     // of Failed; of Skipped, the reason
	Started time.Time // when its turn came; zero if it never did
	Elapsed time.Duration
	Bytes   int64
	Saved   time.Duration // of Cached: what the work had taken when it was done
	Action  string
	// Reasons are why the work was done or tried; none if it was not. They are those
	// of the plan, and where that had to wait for a dependency, what was found then.
	Reasons []Reason
}
