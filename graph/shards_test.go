package graph_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bottlebuild/graph"
)

func addresses(nodes []*graph.Node) (a []string) {
	for _, n := range nodes {
		a = append(a, n.Address)
	}
	return a
}

// TestShards draws graphs: the shards together are all of it, each is whole, what
// nothing needs is done once, and none has more than its part and the largest
// piece on top.
func TestShards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size, n := rapid.IntRange(1, 40).Draw(t, "nodes"), rapid.IntRange(1, 9).Draw(t, "shards")
		var nodes []*graph.Node
		needed, seconds := map[*graph.Node]bool{}, map[*graph.Node]time.Duration{}
		for i := range size {
			node := &graph.Node{Address: fmt.Sprintf("n%02d", i)}
			for _, d := range rapid.SliceOfNDistinct(rapid.IntRange(0, max(i-1, 0)), 0, min(i, 3), rapid.ID).Draw(t, "deps") {
				node.Deps = append(node.Deps, nodes[d])
				needed[nodes[d]] = true
			}
			nodes = append(nodes, node)
			seconds[node] = time.Duration(rapid.IntRange(0, 100).Draw(t, "seconds"))
		}
		took := func(n *graph.Node) time.Duration { return seconds[n] }
		sets, err := graph.Shards(nodes, n, took)
		if err != nil {
			t.Fatal(err)
		}
		again, err := graph.Shards(rapid.Permutation(nodes).Draw(t, "order"), n, took)
		if err != nil {
			t.Fatal(err)
		}
		in := map[*graph.Node]int{}
		var all, largest, longest time.Duration
		for i, set := range sets {
			here := map[*graph.Node]bool{}
			var load time.Duration
			for _, node := range set {
				for _, d := range node.Deps {
					if !here[d] {
						t.Fatalf("shard %d has %s and not %s before it", i, node.Address, d.Address)
					}
				}
				here[node] = true
				in[node]++
				load += seconds[node]
			}
			all, longest = all+load, max(longest, load)
			one, other := addresses(set), addresses(again[i])
			slices.Sort(one)
			slices.Sort(other)
			if !slices.Equal(one, other) {
				t.Fatalf("shard %d is %v, or %v if the nodes come in another order", i, one, other)
			}
		}
		for _, node := range nodes {
			if in[node] == 0 || !needed[node] && in[node] != 1 {
				t.Fatalf("%s is in %d shards", node.Address, in[node])
			}
			if !needed[node] {
				alone, _ := graph.Sort([]*graph.Node{node})
				var whole time.Duration
				for _, node := range alone {
					whole += seconds[node]
				}
				largest = max(largest, whole)
			}
		}
		if longest > all/time.Duration(n)+largest {
			t.Fatalf("one shard takes %d of %d, with pieces of at most %d and %d shards", longest, all, largest, n)
		}
	})
}

// TestShardsEven: pieces of which nothing is known to differ are dealt out evenly.
func TestShardsEven(t *testing.T) {
	var nodes []*graph.Node
	for i := range 10 {
		nodes = append(nodes, &graph.Node{Address: fmt.Sprint("n", i)})
	}
	sets, err := graph.Shards(nodes, 3, func(*graph.Node) time.Duration { return time.Second })
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{4, 3, 3} {
		if len(sets[i]) != want {
			t.Errorf("shard %d has %v, want %d nodes", i, addresses(sets[i]), want)
		}
	}
}
