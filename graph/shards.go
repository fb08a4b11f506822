package graph

import (
	"cmp"
	"slices"
	"time"
)

// Shards splits what has to be done among n machines that do not hear of each
// other: each set is whole, with all that its nodes need, and all sets together
// are the given nodes and what they need. A node that nothing else needs is in
// one set only; what several sets need, each of them has.
//
// The sets take about as long as each other by took, which says how long a node's
// work takes. The same nodes and times give the same sets, in whatever order the
// nodes come.
func Shards(nodes []*Node, n int, took func(*Node) time.Duration) ([][]*Node, error) {
	order, err := Sort(nodes)
	if err != nil {
		return nil, err
	}
	shards := make([]shard, n)
	for i := range shards {
		shards[i].has = map[*Node]bool{}
	}
	for _, p := range pieces(order, took) {
		best, least := 0, time.Duration(0)
		for i := range shards {
			// What the piece adds is less where its dependencies are already.
			if load := shards[i].load + shards[i].more(p, took); i == 0 || load < least {
				best, least = i, load
			}
		}
		shards[best].add(p, least)
	}
	sets := make([][]*Node, n)
	for i, s := range shards {
		sets[i] = slices.DeleteFunc(slices.Clone(order), func(n *Node) bool { return !s.has[n] })
	}
	return sets, nil
}

// piece is a node that nothing else needs, with all that it needs.
type piece struct {
	nodes []*Node
	took  time.Duration
}

// pieces returns the pieces of a graph, those that take longest first.
func pieces(order []*Node, took func(*Node) time.Duration) []piece {
	needed := map[*Node]bool{}
	for _, n := range order {
		for _, d := range n.Deps {
			needed[d] = true
		}
	}
	var all []piece
	for _, n := range order {
		if needed[n] {
			continue
		}
		nodes, _ := Sort([]*Node{n}) // it was sorted with the others without an error
		p := piece{nodes: nodes}
		for _, n := range nodes {
			p.took += took(n)
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b piece) int {
		return cmp.Or(cmp.Compare(b.took, a.took), cmp.Compare(a.last().Address, b.last().Address))
	})
	return all
}

func (p piece) last() *Node { return p.nodes[len(p.nodes)-1] }

type shard struct {
	has  map[*Node]bool
	load time.Duration
}

// more is how much longer the shard takes with a piece.
func (s *shard) more(p piece, took func(*Node) time.Duration) (more time.Duration) {
	for _, n := range p.nodes {
		if !s.has[n] {
			more += took(n)
		}
	}
	return more
}

func (s *shard) add(p piece, load time.Duration) {
	s.load = load
	for _, n := range p.nodes {
		s.has[n] = true
	}
}
