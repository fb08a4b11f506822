package buildcontext

import (
	"strings"
	"unicode/utf8"

	"github.com/moby/patternmatcher"
)

// matcher is a [patternmatcher.PatternMatcher] that does without regular
// expressions where all patterns are simple ones, such as "**/*.pyc": with
// them, matching took longer than all the rest of a scan. A test compares the
// two. Like it, a matcher is for one goroutine.
type matcher struct {
	*patternmatcher.PatternMatcher
	globs []glob // nil: not all patterns are simple
}

// matched is how a path matched, for the sake of what is below it.
type matched struct {
	slow patternmatcher.MatchInfo
	fast []bool // by pattern; nil at the top
}

func newMatcher(patterns []string) (*matcher, error) {
	pm, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	m := &matcher{PatternMatcher: pm}
	globs := make([]glob, len(pm.Patterns()))
	for i, p := range pm.Patterns() {
		var simple bool
		if globs[i], simple = newGlob(p.String()); !simple {
			return m, nil
		}
		globs[i].exception = p.Exclusion()
	}
	m.globs = globs
	return m, nil
}

// match does what MatchesUsingParentResults does, and says how name matched if
// dir is set.
func (m *matcher) match(name string, dir bool, parent matched) (ok bool, info matched, err error) {
	if m.globs == nil {
		ok, info.slow, err = m.MatchesUsingParentResults(name, parent.slow)
		return ok, info, err
	}
	if dir {
		info.fast = make([]bool, len(m.globs))
	}
	for i := range m.globs {
		g := &m.globs[i]
		hit := parent.fast != nil && parent.fast[i]
		if !hit {
			if g.exception != ok {
				continue // it cannot change the result
			}
			hit = g.match(name)
		}
		if dir {
			info.fast[i] = hit
		}
		if hit {
			ok = !g.exception
		}
	}
	return ok, info, nil
}

// matchOrParent does what MatchesOrParentMatches does.
func (m *matcher) matchOrParent(name string) (ok bool, err error) {
	if m.globs == nil {
		return m.MatchesOrParentMatches(name)
	}
	for i := range m.globs {
		if g := &m.globs[i]; g.exception == ok && g.matchAny(name) {
			ok = !g.exception
		}
	}
	return ok, nil
}

// glob is a pattern without its "!".
type glob struct {
	exception bool
	form      form
	text      string  // of forms but tokens
	tokens    []token // of form tokens
}

type form int

const (
	formExact  form = iota // the path is text
	formPrefix             // the path starts with text
	formSuffix             // the path ends with text, or is text less its first slash
	formTokens
)

type token struct {
	what    what
	literal string
}

type what int

const (
	literal what = iota
	star         // *: any number of characters but "/"
	one          // ?: one character, not "/"
	deep         // **/: nothing, or anything up to a "/"
	rest         // ** at the end: anything
)

// maxStars bounds the stars of a pattern that is matched by trying; the others
// are left to patternmatcher.
const maxStars = 3

// newGlob reads a pattern as patternmatcher's compile does, oddities included;
// it is not simple if it has more than letters, stars and question marks.
func newGlob(pattern string) (g glob, simple bool) {
	for i := range len(pattern) {
		if c := pattern[i]; c >= utf8.RuneSelf || strings.IndexByte("[]\\^{|}", c) >= 0 {
			return g, false
		}
	}
	stars := 0
	for i := 0; i < len(pattern); {
		first := i == 0
		switch {
		case strings.HasPrefix(pattern[i:], "**"):
			i += 2
			if strings.HasPrefix(pattern[i:], "/") {
				i++
			}
			if i < len(pattern) {
				g.tokens = append(g.tokens, token{what: deep})
				g.form = formTokens
				stars++
			} else if g.form == formExact {
				g.form, g.text = formPrefix, pattern[:len(pattern)-2]
			} else {
				g.tokens = append(g.tokens, token{what: rest})
				g.form = formTokens
			}
			if first {
				g.form, g.text = formSuffix, pattern[2:]
			}
		case pattern[i] == '*':
			i++
			g.tokens = append(g.tokens, token{what: star})
			g.form = formTokens
			stars++
		case pattern[i] == '?':
			i++
			g.tokens = append(g.tokens, token{what: one})
			g.form = formTokens
		default:
			end := i + 1
			for end < len(pattern) && pattern[end] != '*' && pattern[end] != '?' {
				end++
			}
			g.tokens = append(g.tokens, token{what: literal, literal: pattern[i:end]})
			i = end
		}
	}
	if g.form == formExact {
		g.text = pattern
	}
	return g, g.form != formTokens || stars <= maxStars
}

func (g *glob) match(name string) bool {
	switch g.form {
	case formExact:
		return name == g.text
	case formPrefix:
		return strings.HasPrefix(name, g.text)
	case formSuffix:
		return strings.HasSuffix(name, g.text) || g.text[0] == '/' && name == g.text[1:]
	default:
		// Most names fail here, before anything is tried.
		if last := &g.tokens[len(g.tokens)-1]; last.what == literal && !strings.HasSuffix(name, last.literal) {
			return false
		}
		return matchTokens(g.tokens, name)
	}
}

// matchAny reports whether g matches name or one of its parents.
func (g *glob) matchAny(name string) bool {
	for i := range len(name) {
		if name[i] == '/' && g.match(name[:i]) {
			return true
		}
	}
	return g.match(name)
}

func matchTokens(tokens []token, name string) bool {
	for i, t := range tokens {
		switch t.what {
		case literal:
			if !strings.HasPrefix(name, t.literal) {
				return false
			}
			name = name[len(t.literal):]
		case one:
			if name == "" || name[0] == '/' {
				return false
			}
			_, size := utf8.DecodeRuneInString(name)
			name = name[size:]
		case star:
			for {
				if matchTokens(tokens[i+1:], name) {
					return true
				}
				if name == "" || name[0] == '/' {
					return false
				}
				_, size := utf8.DecodeRuneInString(name)
				name = name[size:]
			}
		case deep:
			if matchTokens(tokens[i+1:], name) {
				return true
			}
			for j := 0; j < len(name) && name[j] != '\n'; j++ { // a regular expression's dot is no newline
				if name[j] == '/' && matchTokens(tokens[i+1:], name[j+1:]) {
					return true
				}
			}
			return false
		case rest:
			return !strings.Contains(name, "\n")
		}
	}
	return name == ""
}
