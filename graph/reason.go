package graph

import "bottlebuild/cache"

// Cause is a word for why work has to be done, from a vocabulary that does not
// change within a format version of what prints it.
type Cause string

// The causes that every kind of work can have. A worker has more of its own.
const (
	NeverBuilt Cause = "never-built" // no earlier work of this node is known
	Changed    Cause = "changed"     // a component that no other cause is for
	Dependency Cause = "dependency"  // a dependency will run, and may yield what it had before
	Evicted    Cause = "evicted"     // the result has left the cache
	Damaged    Cause = "damaged"     // the result in the cache cannot be trusted
	Forced     Cause = "forced"      // the user wants it done again
	OtherKeys  Cause = "other-keys"  // its earlier work was recorded by a version with other keys
	Unknown    Cause = "unknown"     // a shared cache could not say, or not in time, whether it has the result
	SameWork   Cause = "same-work"   // nothing to do: another node of the plan does the same work
)

// Meaning is an entry of the vocabulary.
type Meaning struct {
	Cause Cause
	Text  string
}

// Causes returns the causes of this package and what they mean.
func Causes() []Meaning {
	return []Meaning{
		{NeverBuilt, "no earlier work of this node is known"},
		{Changed, "an attribute or another component of the key differs"},
		{Dependency, "a dependency will run; if that yields what it had before, this node is skipped"},
		{Evicted, "the result is no longer in the cache"},
		{Damaged, "the result in the cache does not match its digest or cannot be read, or was put aside for that"},
		{Forced, "`--force` or `--no-cache` wants it done again"},
		{OtherKeys, "the earlier work was recorded by a version of bottlebuild with other keys"},
		{Unknown, "a shared cache could not say, or not in time, whether it has the result, and why; it is asked again when the node's turn comes"},
		{SameWork, "another node does the same work, and both have its result"},
	}
}

// Reason says why a node's work has to be done.
type Reason struct {
	Cause     Cause  `json:"cause"`
	Component string `json:"component"` // of the recipe: "args.NODE", "context/src/main.go"; or what has lost something: "registry"
	Before    string `json:"before,omitempty"`
	After     string `json:"after,omitempty"`
	Text      string `json:"text"`
}

// ChangeReason is the reason that a changed component is, where cause is why
// that matters. The text is about subject, which is the component if empty.
func ChangeReason(c cache.Change, cause Cause, subject string) Reason {
	if subject == "" {
		subject = c.Component
	}
	text := subject + " changed"
	switch {
	case c.Before == "":
		text = subject + " is new"
	case c.After == "":
		text = subject + " is gone"
	}
	return Reason{cause, c.Component, c.Before, c.After, text}
}
