package graph

import (
	"errors"
	"fmt"
	"strings"
)

// Sort returns nodes and everything they depend on, each after its dependencies
// and otherwise in the order given. It is an error if two nodes share an address
// or if nodes depend on each other in a circle, whose members the error names.
func Sort(nodes []*Node) ([]*Node, error) {
	const (
		entered = 1
		done    = 2
	)
	state := map[*Node]int{}
	byAddress := map[string]*Node{}
	var order, path []*Node
	var visit func(n *Node) error
	visit = func(n *Node) error {
		switch state[n] {
		case done:
			return nil
		case entered:
			return cycleError(path, n)
		}
		if byAddress[n.Address] != nil {
			return fmt.Errorf("two nodes have the address %s", n.Address)
		}
		byAddress[n.Address] = n
		state[n] = entered
		path = append(path, n)
		for _, d := range n.Deps {
			if err := visit(d); err != nil {
				return err
			}
		}
		path = path[:len(path)-1]
		state[n] = done
		order = append(order, n)
		return nil
	}
	for _, n := range nodes {
		if err := visit(n); err != nil {
			return nil, err
		}
	}
	return order, nil
}

func cycleError(path []*Node, again *Node) error {
	var members []string
	for i := len(path) - 1; i >= 0; i-- {
		members = append([]string{path[i].Address}, members...)
		if path[i] == again {
			break
		}
	}
	return errors.New("nodes depend on each other in a circle: " + strings.Join(append(members, again.Address), " -> "))
}

// NodeError is an error of one node.
type NodeError struct {
	Node *Node
	Err  error
}

// Error names the node and, where it is known, the place in the user's file.
func (e *NodeError) Error() string {
	if e.Node.Pos == "" {
		return e.Node.Address + ": " + e.Err.Error()
	}
	return e.Node.Address + " (" + e.Node.Pos + "): " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *NodeError) Unwrap() error { return e.Err }
