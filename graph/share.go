package graph

import (
	"encoding/json"
	"strings"

	"bottlebuild/cache"
)

// share lets steps that are the same work refer to the first of them.
func (p *Plan) share(steps map[*Node]*Step) {
	leaders := map[string]*Step{}
	for _, s := range p.Steps {
		if s.err != nil {
			continue
		}
		s.identity = s.identify(steps)
		if s.Decision == Hit || s.identity == "" {
			continue
		}
		leader := leaders[s.identity]
		if leader == nil {
			leaders[s.identity] = s
			continue
		}
		s.SameAs, s.Decision, s.Estimate, s.Compared = leader, Hit, Estimate{}, cache.Key{}
		s.Reasons = []Reason{{Cause: SameWork, Component: "same", After: leader.Node.Address, Text: "the same work as " + leader.Node.Address + ", which " + leader.prospect()}}
	}
}

// identify returns what is equal for steps that are the same work: the key, or
// while that is not known, the parameters with each dependency's address
// replaced by the dependency's own identity. It is empty if nothing is known.
func (s *Step) identify(steps map[*Node]*Step) string {
	if !s.Key.IsZero() {
		return s.Key.String()
	}
	if s.spec.Params == nil {
		return ""
	}
	b, err := json.Marshal(s.spec.Params)
	if err != nil {
		return ""
	}
	text := string(b)
	for _, d := range s.Node.Deps {
		id := steps[d].identity
		if id == "" {
			return ""
		}
		quoted, _ := json.Marshal(d.Address)
		text = strings.ReplaceAll(text, string(quoted), id)
	}
	return cache.DigestOf([]byte(s.Node.Kind + "\x00" + text)).Hex()
}
