package main

import (
	"context"
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"bottlebuild/cache"
	"bottlebuild/tasks"
)

// inspectJSON is a machine in inspect. Lengths of time are in seconds.
type inspectJSON struct {
	machineJSON
	Runtime    string                `json:"runtime,omitempty"`
	Console    string                `json:"console,omitempty"` // file on the host
	Env        map[string]string     `json:"env,omitempty"`
	Secrets    map[string]secretJSON `json:"secrets,omitempty"` // by variable
	User       string                `json:"user,omitempty"`
	Workdir    string                `json:"workdir,omitempty"`
	Restart    string                `json:"restart,omitempty"`
	Replace    string                `json:"replace,omitempty"`
	OnError    string                `json:"on_error,omitempty"`
	StorageGiB int                   `json:"storage_gib,omitempty"`
	Network    *networkJSON          `json:"network,omitempty"`
	Files      []fileJSON            `json:"files,omitempty"`
	Volumes    []volumeJSON          `json:"volumes,omitempty"`
	Provision  []provisionJSON       `json:"provision,omitempty"`
	Ready      *readyJSON            `json:"ready,omitempty"`
	Checks     []checkJSON           `json:"checks,omitempty"`
	Components []componentJSON       `json:"spec_components,omitempty"` // what the spec hash is of
}

type secretJSON struct {
	Name    string   `json:"name"`
	Env     string   `json:"env,omitempty"`
	File    string   `json:"file,omitempty"`
	Command []string `json:"command,omitempty"`
	Version string   `json:"version,omitempty"`
}

type networkJSON struct {
	Open       bool     `json:"open"`
	AllowHosts []string `json:"allow_hosts,omitempty"`
	AllowCIDRs []string `json:"allow_cidrs,omitempty"`
}

type fileJSON struct {
	Path  string `json:"path"`
	Mode  string `json:"mode"` // octal
	Owner string `json:"owner,omitempty"`
}

type volumeJSON struct {
	Host     string `json:"host"`
	Name     string `json:"name,omitempty"`
	Guest    string `json:"guest"`
	ReadOnly bool   `json:"readonly"`
}

type provisionJSON struct {
	Exec            []string          `json:"exec"`
	User            string            `json:"user,omitempty"`
	Env             map[string]string `json:"env,omitempty"`
	Timeout         float64           `json:"timeout,omitempty"`
	Retries         int               `json:"retries,omitempty"`
	ContinueOnError bool              `json:"continue_on_error,omitempty"`
}

type readyJSON struct {
	Exec     []string `json:"exec,omitempty"`
	TCP      int      `json:"tcp,omitempty"`
	HTTP     string   `json:"http,omitempty"`
	Timeout  float64  `json:"timeout"`
	Interval float64  `json:"interval"`
}

type checkJSON struct {
	Name    string   `json:"name"`
	Exec    []string `json:"exec"`
	User    string   `json:"user,omitempty"`
	Timeout float64  `json:"timeout"`
	Retries int      `json:"retries,omitempty"`
}

type componentJSON struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func newInspectCommand(a *app) *cobra.Command {
	var f fileFlags
	cmd := &cobra.Command{
		Use:   "inspect [FILE] MACHINE...",
		Short: "Print all that is known of machines, as JSON",
		Long: `Inspect prints a JSON array of machines: their state, what the bottle file asked
for when they were made, and the components of the recipe whose hash they carry.
Secrets are printed as where they are read from; sensitive values are not printed.

` + machineArgs,
		Example: `  bottlebuild inspect bottle-claude
  bottlebuild inspect bottle-claude | jq '.[0].ports'`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeMachines(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inspect(cmd.Context(), &f, args)
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) inspect(ctx context.Context, f *fileFlags, args []string) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	c, err := s.choose(ctx, f, args)
	if c == nil {
		return err
	}
	errs := []error{err}
	list := []inspectJSON{}
	heads := s.look(ctx, c, true)
	for i, m := range c.machines {
		in, err := s.worker.Inspect(ctx, m.Name)
		if err != nil && m.State != tasks.Gone {
			errs = append(errs, s.named(ctx, m.Name, err))
			continue
		}
		list = append(list, inspectForm(heads[i], in))
	}
	return errors.Join(append(errs, a.printJSON(list))...)
}

func inspectForm(head machineJSON, in tasks.Inspection) inspectJSON {
	p := in.Spec
	j := inspectJSON{
		machineJSON: head, Runtime: p.Runtime, Console: in.Console, Env: p.Env, User: p.User, Workdir: p.Workdir,
		Restart: p.Restart, Replace: p.Replace, OnError: p.OnError, StorageGiB: p.StorageGiB, Secrets: map[string]secretJSON{},
	}
	for name, ref := range p.Secrets {
		j.Secrets[name] = secretJSON(ref)
	}
	if p.Network != nil {
		j.Network = (*networkJSON)(p.Network)
	}
	for _, f := range p.Files {
		j.Files = append(j.Files, fileJSON{f.Path, "0" + strconv.FormatUint(uint64(f.Mode), 8), f.Owner})
	}
	for _, v := range p.Volumes {
		j.Volumes = append(j.Volumes, volumeJSON(v))
	}
	for _, pr := range p.Provision {
		j.Provision = append(j.Provision, provisionJSON{pr.Exec, pr.User, pr.Env, pr.Timeout.Seconds(), pr.Retries, pr.ContinueOnError})
	}
	if r := p.Ready; r != nil {
		j.Ready = &readyJSON{r.Exec, r.TCP, r.HTTP, r.Timeout.Seconds(), r.Interval.Seconds()}
	}
	for _, c := range p.Checks {
		j.Checks = append(j.Checks, checkJSON{c.Name, c.Exec, c.User, c.Timeout.Seconds(), c.Retries})
	}
	for _, c := range in.Components {
		value := c.Value
		if c.Type == cache.TypeHidden {
			value = cache.Concealed
		}
		j.Components = append(j.Components, componentJSON{c.Name, value})
	}
	return j
}
