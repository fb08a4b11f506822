package graph

import (
	"context"

	"bottlebuild/cache"
)

// Promise is what a plan says of a node, to be kept and held against a later one.
type Promise struct {
	Address  string
	Decision Decision
	Action   string    // as of [Step.Outcome]
	Key      cache.Key // zero if it was not known
	Recipe   string    // text of the recipe as far as it was known
	SameAs   string    // address of the node that does this one's work; or empty
}

// Promises returns what the plan says of each node.
func (p *Plan) Promises() []Promise {
	all := make([]Promise, len(p.Steps))
	for i, s := range p.Steps {
		all[i] = Promise{s.Node.Address, s.Decision, s.Outcome(), s.Key, s.RecipeText(), ""}
		if s.SameAs != nil {
			all[i].SameAs = s.SameAs.Node.Address
		}
	}
	return all
}

// Deviation is a node of which two plans do not say the same.
type Deviation struct {
	Address string
	Text    string   // "was to run and is up to date now"; empty if only the reasons say it
	Reasons []Reason // what differs
}

// Deviations returns in what p says something else than an earlier plan of the
// same nodes promised, nodes before those that depend on them. A node that
// deviates only because one before it does, or the one whose work it shares, is
// left out.
func (r *Runner) Deviations(ctx context.Context, p *Plan, promised []Promise) []Deviation {
	before := make(map[string]Promise, len(promised))
	for _, pr := range promised {
		before[pr.Address] = pr
	}
	var all []Deviation
	// tainted are the nodes that deviate, and those that may do so because of one.
	tainted := map[string]bool{}
	now := make(map[string]bool, len(p.Steps))
	for _, s := range p.Steps {
		now[s.Node.Address] = true
		because := tainted[before[s.Node.Address].SameAs] || s.SameAs != nil && tainted[s.SameAs.Node.Address]
		for _, dep := range s.Node.Deps {
			because = because || tainted[dep.Address]
		}
		d, deviates := r.deviation(ctx, s, before)
		tainted[s.Node.Address] = because || deviates
		if deviates && !because {
			all = append(all, d)
		}
	}
	for _, pr := range promised {
		if !now[pr.Address] {
			all = append(all, Deviation{Address: pr.Address, Text: "is not part of it any more"})
		}
	}
	return all
}

func (r *Runner) deviation(ctx context.Context, s *Step, promised map[string]Promise) (d Deviation, ok bool) {
	d.Address = s.Node.Address
	pr, ok := promised[d.Address]
	if !ok {
		d.Text = "is new"
		return d, true
	}
	recipe := s.RecipeText()
	if pr.Key == s.Key && pr.Decision == s.Decision && pr.Action == s.Outcome() && pr.Recipe == recipe && (pr.SameAs == "") == (s.SameAs == nil) {
		return d, false
	}
	if pr.Recipe != recipe && s.recipe != nil {
		if old, err := cache.ParseRecipe(pr.Recipe); err == nil {
			d.Reasons = r.compare(ctx, s, old)
		}
	}
	if len(d.Reasons) == 0 {
		d.Text = "was " + outlook(pr.Decision, pr.Action) + " and is " + outlook(s.Decision, s.Outcome()) + " now"
		if s.Decision != Hit {
			d.Reasons = s.Reasons
		}
	}
	return d, true
}

// outlook says a decision in a sentence.
func outlook(d Decision, action string) string {
	text := map[Decision]string{Hit: "up to date", Run: "to run", Maybe: "to run perhaps"}[d]
	if action != "" && d != Hit {
		text += " (" + action + ")"
	}
	return text
}
