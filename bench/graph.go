package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	"bottlebuild/cache"
	"bottlebuild/graph"
)

// The graph has graphLayers layers of graphWidth nodes; each node depends on two
// of the layer before. ninja gets the same one.
const (
	graphLayers = 100
	graphWidth  = 100
)

// graphNode is the name of a node.
func graphNode(layer, column int) string {
	return fmt.Sprintf("node-%02d-%02d", layer, column%graphWidth)
}

// runGraph plans and runs the graph with the store in a directory, as `bottlebuild
// run` would if there were nothing to read for any node. With "fill" it does the
// nodes' work, else work to do is an error.
func runGraph(ctx context.Context, args []string) error {
	fill := len(args) == 2 && args[1] == "fill"
	if len(args) != 1 && !fill {
		return fmt.Errorf("%s: name one directory, and perhaps fill", graphCommand)
	}
	store, err := cache.Open(args[0])
	if err != nil {
		return err
	}
	defer store.Close()
	w := trivial{store, fill}
	r := graph.Runner{Cache: store, Worker: w, Executor: w, Scope: "bench", Jobs: runtime.GOMAXPROCS(0)}
	if fill {
		r.Jobs = 64 // most of the time goes into waiting for the disk
	}
	plan, err := r.Plan(ctx, graphNodes())
	if err != nil {
		return err
	}
	report := r.Run(ctx, plan)
	if err := report.Err(); err != nil {
		return err
	}
	count := map[graph.Status]int{}
	for _, res := range report.Results {
		count[res.Status]++
	}
	fmt.Println(count)
	return nil
}

func graphNodes() []*graph.Node {
	var nodes, before []*graph.Node
	for layer := range graphLayers {
		var this []*graph.Node
		for column := range graphWidth {
			n := &graph.Node{Address: graphNode(layer, column), Kind: "trivial"}
			n.Bind = func(graph.Inputs) (graph.Params, error) { return n.Address, nil }
			if layer > 0 {
				n.Deps = []*graph.Node{before[column], before[(column+1)%graphWidth]}
			}
			this = append(this, n)
		}
		nodes, before = append(nodes, this...), this
	}
	return nodes
}

// trivial is work that yields the node's own address.
type trivial struct {
	store *cache.Store
	fill  bool
}

func (t trivial) Describe(_ context.Context, s graph.Spec, r *cache.Recipe) error {
	r.Add("tool", "1")
	r.Add("address", s.Address)
	for address, in := range s.Inputs {
		r.AddDigest("input."+address, in.Digest)
	}
	return nil
}

func (t trivial) Check(_ context.Context, s graph.Spec, entry *cache.Entry) (graph.Verdict, error) {
	return graph.Default(s, entry), nil
}

func (t trivial) Execute(_ context.Context, w graph.Work) (cache.Output, error) {
	if !t.fill {
		return cache.Output{}, fmt.Errorf("%s is not in the cache", w.Address)
	}
	d, size, err := t.store.PutBlob(strings.NewReader(w.Address))
	if err != nil {
		return cache.Output{}, err
	}
	return cache.Output{Digest: d, Blobs: []cache.Blob{{Name: "text", Digest: d, Size: size}}}, nil
}
