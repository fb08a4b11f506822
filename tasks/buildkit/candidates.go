package buildkit

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"slices"
)

// socketBuilders returns a builder for each path that is a socket.
func socketBuilders(paths []string) []*Builder {
	var found []*Builder
	for _, p := range paths {
		if fi, err := os.Stat(p); err == nil && fi.Mode()&fs.ModeSocket != 0 {
			found = append(found, &Builder{Name: "socket", Address: "unix://" + p, SameHost: true})
		}
	}
	return found
}

// What buildx keeps in docker's configuration directory, in JSON: the chosen
// builder in buildx/current, and each builder in buildx/instances/NAME
// (docker/buildx, store/store.go and store/nodegroup.go).
type (
	buildxCurrent  struct{ Name string }
	buildxInstance struct {
		Name, Driver string
		Nodes        []struct{ Name string }
	}
)

const (
	maxBuildxFile      = 1 << 20 // bytes
	maxBuildxInstances = 16
)

// buildxBuilders returns a builder for each buildx builder that runs in a
// container of its own, the chosen one first. Whether one runs is told by trying.
func buildxBuilders(dockerConfig string) []*Builder {
	if dockerConfig == "" {
		return nil
	}
	root, err := os.OpenRoot(dockerConfig)
	if err != nil {
		return nil
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), "buildx/instances")
	if err != nil || len(entries) == 0 {
		return nil
	}
	if _, err := exec.LookPath("docker"); err != nil {
		return nil
	}
	var current buildxCurrent
	if readJSON(root, "buildx/current", &current) != nil {
		current = buildxCurrent{} // none has been chosen
	}
	var instances []buildxInstance
	for _, e := range entries[:min(len(entries), maxBuildxInstances)] {
		var i buildxInstance
		if readJSON(root, path.Join("buildx/instances", e.Name()), &i) == nil && i.Driver == "docker-container" && len(i.Nodes) > 0 {
			instances = append(instances, i)
		}
	}
	rank := func(i buildxInstance) int {
		if i.Name == current.Name {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(instances, func(a, b buildxInstance) int { return cmp.Compare(rank(a), rank(b)) })
	var found []*Builder
	for _, i := range instances {
		found = append(found, &Builder{
			Name: "buildx " + i.Name,
			// The container's name as buildx forms it from the node's.
			Address: "docker-container://buildx_buildkit_" + i.Nodes[0].Name,
		})
	}
	return found
}

func readJSON(root *os.Root, name string, to any) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return errors.New("it is not a plain file")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxBuildxFile))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}
