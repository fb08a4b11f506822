package tasks

import (
	"context"
	"fmt"
	"io"
	"strings"

	"bottlebuild/tasks/backend"
)

// setUp starts a new machine and does what is done once.
func (g *guest) setUp(ctx context.Context, log io.Writer) error {
	if err := g.be.Start(ctx, g.p.Name); err != nil {
		return err
	}
	for _, f := range g.p.Files {
		if err := g.be.CopyIn(ctx, g.p.Name, backend.File{Path: f.Path, Content: f.Content, Mode: f.Mode, Owner: f.Owner}); err != nil {
			return fmt.Errorf("machine %s: file %s: %w", g.p.Name, f.Path, err)
		}
	}
	for _, pr := range g.p.Provision {
		if err := g.provision(ctx, pr, log); err != nil {
			return fmt.Errorf("machine %s: provision %q: %w", g.p.Name, strings.Join(pr.Exec, " "), err)
		}
	}
	return g.settle(ctx, log)
}

func (g *guest) provision(ctx context.Context, pr Provision, log io.Writer) error {
	user := pr.User
	if user == "" {
		user = "0"
	}
	err := g.attempts(ctx, backend.Exec{Args: pr.Exec, Env: pr.Env, User: user}, pr.Timeout, pr.Retries, log)
	if err != nil && ctx.Err() == nil && pr.ContinueOnError {
		fmt.Fprintf(log, "provision %q: %v\ngoing on, as continue_on_error says\n", strings.Join(pr.Exec, " "), err)
		return nil
	}
	return err
}

// settle is what every boot ends with: the machine is waited for until it is
// ready, and its checks must pass.
func (g *guest) settle(ctx context.Context, log io.Writer) error {
	if err := g.ready(ctx); err != nil {
		return err
	}
	for _, c := range g.p.Checks {
		user := c.User
		if user == "" {
			user = g.p.User
		}
		if err := g.attempts(ctx, backend.Exec{Args: c.Exec, User: user}, c.Timeout, c.Retries, log); err != nil {
			return fmt.Errorf("machine %s: check %q: %q: %w", g.p.Name, c.Name, strings.Join(c.Exec, " "), err)
		}
	}
	return nil
}
