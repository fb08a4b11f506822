package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/google/renameio/v2"

	"bottlebuild/cache"
	"bottlebuild/cache/remote"
	"bottlebuild/graph"
	"bottlebuild/tasks"
)

// metadata is the form of --metadata-file.
type metadata struct {
	Nodes   map[string]nodeMetadata    `json:"nodes"` // by address
	Outputs map[string]json.RawMessage `json:"outputs"`
	// SharedCache is what was moved to and from the shared cache, if there is one.
	SharedCache *remote.Stats `json:"shared_cache,omitempty"`
}

type nodeMetadata struct {
	Kind    string        `json:"kind"`
	Status  graph.Status  `json:"status"`
	Action  string        `json:"action,omitempty"`
	Key     *cache.Key    `json:"key,omitempty"`
	Digest  *cache.Digest `json:"digest,omitempty"`
	Seconds float64       `json:"seconds"`
	Bytes   int64         `json:"bytes"`
	Error   string        `json:"error,omitempty"`
	// As docker buildx writes them, for image nodes.
	ImageDigest  string `json:"containerimage.digest,omitempty"`
	ConfigDigest string `json:"containerimage.config.digest,omitempty"`
}

// checkMetadata refuses to write in the place of anything but such a file.
func checkMetadata(path string) error {
	return checkReplaced("--metadata-file", path, "an earlier run's", 1<<12, func(b []byte) bool {
		var open, nodes json.Token
		d := json.NewDecoder(bytes.NewReader(b))
		open, _ = d.Token()
		nodes, _ = d.Token()
		return open == json.Delim('{') && nodes == "nodes"
	})
}

// writeMetadata writes what a run did to a file, atomically.
func writeMetadata(path string, r *graph.Report, outputs map[string]json.RawMessage, shared *remote.Stats) error {
	m := metadata{Nodes: map[string]nodeMetadata{}, Outputs: outputs, SharedCache: shared}
	if m.Outputs == nil {
		m.Outputs = map[string]json.RawMessage{}
	}
	for _, res := range r.Results {
		n := nodeMetadata{
			Kind: res.Node.Kind, Status: res.Status, Action: res.Action,
			Seconds: res.Elapsed.Seconds(), Bytes: res.Bytes,
		}
		if !res.Key.IsZero() {
			n.Key = &res.Key
		}
		if !res.Output.Digest.IsZero() {
			n.Digest = &res.Output.Digest
		}
		if res.Err != nil {
			n.Error = res.Err.Error()
		}
		if res.Node.Kind == tasks.KindImage && n.Digest != nil {
			n.ImageDigest, n.ConfigDigest = n.Digest.String(), res.Output.Attrs["config"]
		}
		m.Nodes[res.Node.Address] = n
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write metadata: %w", err)
	}
	if err := renameio.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write metadata: %w", err)
	}
	return nil
}
