package graph_test

import (
	"testing"
	"time"

	"bottlebuild/cache"
	"bottlebuild/graph"
)

// Work that was recorded by a version with other keys is no work of this one, and
// that is said instead of a comparison of what cannot be compared.
func TestOtherKeys(t *testing.T) {
	store, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	w := &world{}
	r := newRunner(w)
	r.Cache = store
	old := cache.Key(cache.DigestOf([]byte("of another schema")))
	for _, err := range []error{
		store.Put(&cache.Entry{Key: old, Kind: "job", Address: "a", Created: time.Now().UTC(), Recipe: "recipe 0 \"job\"\ns \"source\" \"x\"\n"}),
		store.SetLatest(r.Scope, "a", old),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p, err := r.Plan(t.Context(), []*graph.Node{node("a", "x")})
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Steps[0]; s.Decision != graph.Run || len(s.Reasons) != 1 || s.Reasons[0].Cause != graph.OtherKeys {
		t.Errorf("%v, reasons %v", s, s.Reasons)
	}
	if rep := r.Run(t.Context(), p); rep.Err() != nil {
		t.Fatal(rep.Err())
	}
	if p, err = r.Plan(t.Context(), []*graph.Node{node("a", "y")}); err != nil {
		t.Fatal(err)
	}
	if s := p.Steps[0]; len(s.Reasons) != 1 || s.Reasons[0].Cause == graph.OtherKeys {
		t.Errorf("after a run of this version: reasons %v", s.Reasons)
	}
}
