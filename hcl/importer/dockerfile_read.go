package importer

import (
	"bytes"
	"cmp"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

const (
	maxDockerfile = 1 << 20 // bytes
	maxRange      = 20      // ports of an EXPOSE that are published
)

// read finds out what a Dockerfile says of itself.
func (d *dockerfile) read(root *os.Root) error {
	file, err := root.Open(filepath.FromSlash(d.path))
	if err != nil {
		return err
	}
	defer file.Close()
	src, err := io.ReadAll(io.LimitReader(file, maxDockerfile))
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(bytes.NewReader(src))
	if err != nil {
		return err
	}
	stages, args, err := instructions.Parse(parsed.AST, &linter.Linter{})
	if err != nil {
		return err
	}
	for _, a := range args {
		d.addArgs(&a)
	}
	last := lineage(stages)
	for i, s := range stages {
		d.bases = append(d.bases, s.BaseName)
		if s.Name != "" {
			d.stages = append(d.stages, s.Name)
		}
		for _, c := range s.Commands {
			switch c := c.(type) {
			case *instructions.ArgCommand:
				d.addArgs(c)
			case *instructions.RunCommand:
				if err := c.Expand(func(word string) (string, error) { return word, nil }); err != nil {
					return err // mounts are read on expansion
				}
				for _, m := range instructions.GetMounts(c) {
					d.addMount(m)
				}
			case *instructions.ExposeCommand:
				if slices.Contains(last, i) {
					d.addPorts(c.Ports)
				}
			}
		}
	}
	return nil
}

// lineage returns the last stage and those that it is made from: it has what they
// expose.
func lineage(stages []instructions.Stage) []int {
	var all []int
	for i := len(stages) - 1; i >= 0; {
		all = append(all, i)
		base := stages[i].BaseName
		next := -1
		for j := range i {
			if strings.EqualFold(stages[j].Name, base) {
				next = j
			}
		}
		i = next
	}
	return all
}

func (d *dockerfile) addArgs(c *instructions.ArgCommand) {
	for _, a := range c.Args {
		if a.Value != nil && !slices.ContainsFunc(d.args, func(s string) bool { return strings.HasPrefix(s, a.Key+" ") }) {
			d.args = append(d.args, a.Key+" = "+quote(*a.Value))
		}
	}
}

func (d *dockerfile) addMount(m *instructions.Mount) {
	switch m.Type {
	case instructions.MountTypeSecret:
		id := cmp.Or(m.Source, m.CacheID)
		if id == "" { // BuildKit takes the name of the file then
			id = path.Base(m.Target)
		}
		if id != "." && !slices.Contains(d.secrets, id) {
			d.secrets = append(d.secrets, id)
		}
	case instructions.MountTypeSSH:
		id := cmp.Or(m.CacheID, "default")
		if !slices.Contains(d.ssh, id) {
			d.ssh = append(d.ssh, id)
		}
	}
}

// addPorts reads what EXPOSE says: "80", "80/tcp", "5000-5002".
func (d *dockerfile) addPorts(ports []string) {
	for _, p := range ports {
		numbers, proto, _ := strings.Cut(p, "/")
		low, high, isRange := strings.Cut(numbers, "-")
		first, err := strconv.ParseUint(low, 10, 16)
		end := first
		if err == nil && isRange {
			end, err = strconv.ParseUint(high, 10, 16)
		}
		if err != nil || first == 0 || end < first || end-first >= maxRange || proto != "" && !strings.EqualFold(proto, "tcp") {
			d.closed = append(d.closed, p)
			continue
		}
		for n := int(first); n <= int(end); n++ {
			if !slices.Contains(d.ports, n) {
				d.ports = append(d.ports, n)
			}
		}
	}
}
