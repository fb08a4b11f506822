package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"bottlebuild/tasks"
	"bottlebuild/tasks/buildkit"
)

func newDoctorCommand(a *app) *cobra.Command {
	var asJSON, clean bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine has and lacks, and how to mend it",
		Long: `Doctor looks at what builders and backends need of this machine, and says of what
is missing how to get it. It also finds what runs that were killed have left
behind, and removes it with --clean: machines that were never completed, and
temporary files. What bottlebuild did not make is never touched.

Exit codes: 0 images can be built and machines can be booted here, 4 they cannot.`,
		Example: `  bottlebuild doctor
  bottlebuild doctor --clean`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings, err := a.examine(cmd.Context(), clean)
			if asJSON {
				if perr := a.printJSON(findings); perr != nil {
					return perr
				}
			} else if perr := a.printFindings(findings); perr != nil {
				return perr
			}
			if err != nil {
				return err
			}
			return verdict(findings)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	cmd.Flags().BoolVar(&clean, "clean", false, "remove what killed runs have left behind")
	return cmd
}

func (a *app) examine(ctx context.Context, clean bool) ([]tasks.Finding, error) {
	findings := a.examineBuilder(ctx)
	open := a.look
	if clean {
		open = a.open
	}
	s, err := open()
	if err != nil {
		return append(findings, tasks.Finding{Part: "cache", Status: tasks.FindingMissing, Text: err.Error()}), nil
	}
	defer s.close()
	findings = append(findings, s.worker.ExamineBackends(ctx)...)
	findings = append(findings, a.examineCache())
	left, err := s.worker.Leftovers(ctx, clean)
	findings = append(findings, left...)
	if clean {
		err = errors.Join(err, s.store.Sweep())
	}
	return findings, err
}

// examineBuilder says which builder a run would take. None is started.
func (a *app) examineBuilder(ctx context.Context) []tasks.Finding {
	const part = "builder"
	b, err := buildkit.Connect(ctx, buildkit.Config{
		Address: a.builder, BuildkitHost: a.env("BUILDKIT_HOST"), Sockets: buildkit.UsualSockets(a.runtimeDir()),
		DockerConfig: a.dockerConfig(), TLS: a.builderTLS,
	})
	if err == nil {
		defer b.Close()
		return []tasks.Finding{{Part: part, Status: tasks.FindingOK, Text: fmt.Sprintf("BuildKit %s at %s (%s)", b.Version, b.Address, b.Name)}}
	}
	if a.builder != "" || a.env("BUILDKIT_HOST") != "" { // another is not looked for
		return []tasks.Finding{{Part: part, Status: tasks.FindingMissing, Text: err.Error()}}
	}
	if err := buildkit.EmbeddedUsable(""); err != nil {
		return []tasks.Finding{{Part: part, Status: tasks.FindingMissing, Text: err.Error()}}
	}
	return []tasks.Finding{{Part: part, Status: tasks.FindingOK, Text: fmt.Sprintf("the embedded BuildKit %s, started when an image has to be built", buildkit.Version())}}
}

// little is how much room on the disk of the cache is too little to build an image.
const little = 1 << 30 // bytes

func (a *app) examineCache() tasks.Finding {
	f := tasks.Finding{Part: "cache", Status: tasks.FindingOK, Text: a.cacheDir()}
	var fs unix.Statfs_t
	if unix.Statfs(existing(a.cacheDir()), &fs) != nil {
		return f
	}
	free := float64(fs.Bavail) * float64(fs.Bsize)
	f.Text += fmt.Sprintf(", %s free", units.BytesSize(free))
	if free < little {
		f.Status = tasks.FindingMissing
		f.Text += ": make room, or name a directory on another disk with BOTTLEBUILD_CACHE"
	}
	return f
}

// existing returns the nearest parent of path that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

func (a *app) printFindings(findings []tasks.Finding) error {
	for _, f := range findings {
		if _, err := fmt.Fprintf(a.stdout, "%-9s %s: %s\n", f.Status, f.Part, f.Text); err != nil {
			return err
		}
	}
	return nil
}

// verdict is an error where the findings leave no way to a booted machine.
func verdict(findings []tasks.Finding) error {
	missing := map[string]bool{}
	backends := 0
	for _, f := range findings {
		if f.Status == tasks.FindingMissing {
			missing[f.Part] = true
		}
		if f.Status == tasks.FindingOK && (f.Part == "smolvm" || strings.HasPrefix(f.Part, "container ")) {
			backends++
		}
	}
	switch {
	case missing["builder"]:
		return &exitError{exitUnavailable, errors.New("no image can be built here: see what the builder lacks above")}
	case missing["cache"]:
		return &exitError{exitUnavailable, errors.New("the cache cannot be used: see above")}
	case backends == 0:
		return &exitError{exitUnavailable, errors.New("no machine can be booted here: mend one of the backends above")}
	}
	return nil
}
