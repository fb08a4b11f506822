package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	bottlefile "bottlebuild/hcl"
	"bottlebuild/tasks"
	"bottlebuild/tasks/backend"
)

// machineJSON is a machine in ps --json, and the head of one in inspect.
type machineJSON struct {
	Name    string        `json:"name"`
	State   backend.State `json:"state"`
	Note    string        `json:"note,omitempty"`    // what the state does not tell
	Health  string        `json:"health,omitempty"`  // ready, unready; left out if that is not known
	Failure string        `json:"failure,omitempty"` // why it was kept though it was not set up
	Orphan  string        `json:"orphan,omitempty"`  // why nobody declares it any more
	// Drift names what is not as the bottle file wants it; left out where no
	// bottle file was read that declares the machine.
	Drift     []string   `json:"drift,omitempty"`
	Backend   string     `json:"backend"`
	Address   string     `json:"address"`
	Project   string     `json:"project"`
	Spec      string     `json:"spec"`
	Pack      string     `json:"pack"`
	CreatedAt time.Time  `json:"created_at"`
	CPUs      int        `json:"cpus,omitempty"`
	MemoryMiB int        `json:"memory_mib,omitempty"`
	Ports     []portJSON `json:"ports"`
	PID       int        `json:"pid,omitempty"`
}

type portJSON struct {
	Host  int `json:"host"`
	Guest int `json:"guest"`
}

func machineForm(m tasks.MachineStatus) machineJSON {
	j := machineJSON{
		Name: m.Name, State: m.State, Note: m.Note, Backend: m.Backend, Address: address(m), Project: project(m),
		Spec: m.Labels[backend.SpecLabel], Pack: m.Labels[backend.PackLabel], CreatedAt: m.CreatedAt,
		CPUs: m.CPUs, MemoryMiB: m.MemoryMiB, PID: m.PID, Ports: []portJSON{},
	}
	if m.Record != nil {
		j.Failure = m.Record.Failure
	}
	for _, p := range m.Ports {
		j.Ports = append(j.Ports, portJSON(p))
	}
	return j
}

type psFlags struct {
	fileFlags
	json, quiet, noProbe bool
}

func newPsCommand(a *app) *cobra.Command {
	var f psFlags
	cmd := &cobra.Command{
		Use:   "ps [FILE] [MACHINE...]",
		Short: "List the machines that bottlebuild made",
		Long: `Ps lists the machines that bottlebuild made on this host, whichever bottle file
declared them, and asks the readiness probe of each once.

With a bottle file, named or found as bottles.hcl in the working directory, it
also says which of its machines are not as the file wants them (drift), and which
it declares no more (orphans). A changed image is seen only when it has been
packed: plan looks closer.

` + machineArgs,
		Example: `  bottlebuild ps
  bottlebuild ps bottles.hcl
  bottlebuild ps --json 'bottle-*'`,
		ValidArgsFunction: a.completeMachines(0),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.ps(cmd.Context(), &f, args) },
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.json, "json", false, "print the machines as JSON")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print names only")
	cmd.Flags().BoolVar(&f.noProbe, "no-probe", false, "do not ask whether the machines are ready")
	return cmd
}

func (a *app) ps(ctx context.Context, f *psFlags, args []string) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	c, err := s.choose(ctx, &f.fileFlags, args)
	if c == nil {
		return err
	}
	if c.file == nil {
		s.findFile(ctx, f, c)
	}
	if f.quiet {
		for _, m := range c.machines {
			fmt.Fprintln(a.stdout, m.Name)
		}
		return err
	}
	list := s.look(ctx, c, !f.noProbe)
	if f.json {
		return errors.Join(err, a.printJSON(list))
	}
	return errors.Join(err, a.printMachines(list))
}

// findFile reads the bottle file of the working directory, if there is one that
// is in order: the machines are listed whether or not it is.
func (s *session) findFile(ctx context.Context, f *psFlags, c *choice) {
	if _, err := os.Stat(defaultFile); err != nil {
		return
	}
	flags := f.fileFlags
	var faults bottlefile.Diagnostics
	flags.faults = &faults
	file, _, err := s.load(ctx, &flags, nil)
	if err == nil && !faults.HasErrors() {
		c.file, c.project = file, file.Project()
	}
}

// look asks about each machine what takes a moment, several at once.
func (s *session) look(ctx context.Context, c *choice, probe bool) []machineJSON {
	list := make([]machineJSON, len(c.machines))
	var g errgroup.Group
	g.SetLimit(4 * runtime.GOMAXPROCS(0)) // none of it waits for another
	var mu sync.Mutex                     // binding a node evaluates the file
	for i, m := range c.machines {
		g.Go(func() error {
			j := machineForm(m)
			if s.worker.CutOff(ctx, m) {
				j.Note = "its set-up was cut off: bottlebuild run makes it anew"
			}
			j.Orphan = c.orphan(m)
			if c.file != nil && project(m) == c.project && j.Orphan == "" {
				mu.Lock()
				j.Drift = s.drift(ctx, c, m)
				mu.Unlock()
			}
			if probe {
				if known, err := s.worker.Probe(ctx, m); known && err == nil {
					j.Health = "ready"
				} else if known {
					j.Health = "unready"
				}
			}
			list[i] = j
			return nil
		})
	}
	_ = g.Wait() // none returns an error
	return list
}

func (s *session) drift(ctx context.Context, c *choice, m tasks.MachineStatus) []string {
	for _, d := range c.file.Machines() {
		if d.Name != m.Name {
			continue
		}
		params, err := d.Node.Bind(nil)
		p, ok := params.(tasks.Machine)
		if err != nil || !ok { // known only after a run
			return nil
		}
		drift, err := s.worker.Drift(ctx, m, p)
		if err != nil {
			return nil
		}
		return drift
	}
	return nil
}

func (a *app) printMachines(list []machineJSON) error {
	rows := [][]string{{"NAME", "STATE", "HEALTH", "PORTS", "PACK", "CREATED", "DECLARED AS", "IN", "NOTE"}}
	for _, m := range list {
		created := ""
		if !m.CreatedAt.IsZero() {
			created = units.HumanDuration(time.Since(m.CreatedAt)) + " ago"
		}
		rows = append(rows, []string{
			m.Name, string(m.State) + " (" + m.Backend + ")", orDash(m.Health), orDash(portsText(m.Ports)), orDash(shortDigest(m.Pack)),
			orDash(created), m.Address, shorten(m.Project), noteText(m),
		})
	}
	return printTable(a.stdout, rows)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func portsText(ports []portJSON) string {
	var texts []string
	for _, p := range ports {
		texts = append(texts, fmt.Sprintf("%d->%d", p.Host, p.Guest))
	}
	return strings.Join(texts, ",")
}

// shortDigest is enough of a digest to tell it from others.
func shortDigest(d string) string {
	const most = 12
	_, hex, ok := strings.Cut(d, ":")
	if !ok || len(hex) < most {
		return d
	}
	return hex[:most]
}

func noteText(m machineJSON) string {
	var notes []string
	if m.Note != "" {
		notes = append(notes, m.Note)
	}
	if m.Failure != "" {
		first, _, _ := strings.Cut(m.Failure, "\n")
		notes = append(notes, "kept after it failed: "+first)
	}
	if m.Orphan != "" {
		notes = append(notes, "orphan: "+m.Orphan)
	}
	if len(m.Drift) > 0 {
		notes = append(notes, "drift: "+strings.Join(m.Drift, ", "))
	}
	return strings.Join(notes, "; ")
}

// shorten gives a path relative to the working directory where that is shorter.
func shorten(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) {
		return rel
	}
	return path
}
