package buildcontext

import (
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"pgregory.net/rapid"
)

// TestMatcherIsPatternmatchers compares matches from directory to directory.
func TestMatcherIsPatternmatchers(t *testing.T) {
	simple := rapid.SampledFrom([]string{"a", "b", "**", "*", "?", "*.go", "**/", "/", "**a", "a**", "***", ".", "a.go", "+", "a?", "(a)", "$", "****", "-"})
	names := rapid.SampledFrom([]string{"a", "b", "ab", "a.go", "aa", "é", "\xff", "a\nb", "\n", "+", "(a)", "$", "b.go", "-"})
	fast := 0
	rapid.Check(t, func(t *rapid.T) {
		var patterns []string
		for range rapid.IntRange(1, 4).Draw(t, "patterns") {
			not := rapid.SampledFrom([]string{"", "!"}).Draw(t, "not")
			sep := rapid.SampledFrom([]string{"", "/"}).Draw(t, "sep")
			patterns = append(patterns, not+strings.Join(rapid.SliceOfN(simple, 1, 4).Draw(t, "pattern"), sep))
		}
		theirs, err := patternmatcher.New(patterns)
		mine, myErr := newMatcher(patterns)
		if (err == nil) != (myErr == nil) {
			t.Fatalf("patterns %q: error %v, patternmatcher's %v", patterns, myErr, err)
		}
		if err != nil {
			return
		}
		if mine.globs != nil {
			fast++
		}
		var path string
		var parent matched
		var theirParent patternmatcher.MatchInfo
		for i, n := range rapid.SliceOfN(names, 1, 5).Draw(t, "path") {
			if i > 0 {
				path += "/"
			}
			path += n
			want, info, err := theirs.MatchesUsingParentResults(path, theirParent)
			if err != nil { // a pattern that cannot be compiled
				if _, _, err := mine.match(path, true, parent); err == nil {
					t.Fatalf("patterns %q, path %q: no error", patterns, path)
				}
				return
			}
			got, myInfo, err := mine.match(path, true, parent)
			if err != nil || got != want {
				t.Fatalf("patterns %q, path %q: %v, %v; patternmatcher has %v", patterns, path, got, err, want)
			}
			if leaf, _, err := mine.match(path, false, parent); err != nil || leaf != want {
				t.Fatalf("patterns %q, file %q: %v, %v; patternmatcher has %v", patterns, path, leaf, err, want)
			}
			want, err = theirs.MatchesOrParentMatches(path)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := mine.matchOrParent(path); err != nil || got != want {
				t.Fatalf("patterns %q, path %q or parents: %v, %v; patternmatcher has %v", patterns, path, got, err, want)
			}
			parent, theirParent = myInfo, info
		}
	})
	if fast == 0 {
		t.Error("no patterns were simple: nothing was compared")
	}
}
