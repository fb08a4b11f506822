package main

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bottlebuild/tasks/copytree"
)

func newCpCommand(a *app) *cobra.Command {
	var owner string
	cmd := &cobra.Command{
		Use:   "cp SOURCE DESTINATION",
		Short: "Copy files and directories into a machine, or out of it",
		Long: `Cp copies a file, or a directory with all that is in it, between the host and a
machine that runs. One of the two is MACHINE:PATH, with an absolute path.

It works as cp -r does: what is copied to a directory that is there goes into it
under its own name, DIRECTORY/. stands for what is in a directory, and a file or
link that is in the way is replaced. Parents are made as needed. Modes and times
are kept; in the machine all of it belongs to the machine's user as the bottle
file names it, else to root, or to --owner. Links below a directory are copied as
links; devices, pipes and sockets are left out.

- is standard input or output: a file's content as it is, and with a directory a
tar archive of it.`,
		Example: `  bottlebuild cp prompt.txt bottle-claude:/home/node/
  bottlebuild cp bottle-claude:/workspace/out .
  bottlebuild cp bottle-claude:/var/log/app.log - | grep error
  git archive HEAD --prefix=src/ | bottlebuild cp - bottle-claude:/workspace/`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			names, _ := a.completeMachines(1)(cmd, nil, toComplete)
			for i := range names {
				names[i] += ":"
			}
			return names, cobra.ShellCompDirectiveNoSpace
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.cp(cmd.Context(), args[0], args[1], owner) },
	}
	cmd.Flags().StringVar(&owner, "owner", "", "who it belongs to in the machine: user, or user:group")
	return cmd
}

// splitPlace parts MACHINE:PATH; ok is false for a path of the host.
func splitPlace(arg string) (machine, file string, ok bool) {
	machine, file, ok = strings.Cut(arg, ":")
	if !ok || machine == "" || strings.ContainsAny(machine, `/.\`) {
		return "", arg, false
	}
	return machine, file, true
}

func (a *app) cp(ctx context.Context, from, to, owner string) error {
	source, sourcePath, out := splitPlace(from)
	target, targetPath, in := splitPlace(to)
	switch {
	case out == in && in:
		return usageError("cp: one of the two is on the host: copy from one machine to the other through it, or through a pipe")
	case out == in:
		return usageError("cp: neither %s nor %s is MACHINE:PATH", from, to)
	case out && owner != "":
		return usageError("cp: --owner is for what is copied into a machine")
	case out && !path.IsAbs(sourcePath), in && !path.IsAbs(targetPath):
		return usageError("cp: the path in the machine has to be absolute: MACHINE:/PATH")
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	if in {
		return s.named(ctx, target, s.copyIn(ctx, sourcePath, target, targetPath, owner))
	}
	return s.named(ctx, source, s.copyOut(ctx, source, sourcePath, targetPath))
}

// copyIn copies from the host into a machine.
func (s *session) copyIn(ctx context.Context, from, machine, to, owner string) error {
	write := func(w io.Writer) error {
		name := filepath.Base(filepath.Clean(from))
		if strings.HasSuffix(from, "/.") || name == "." || name == ".." {
			name = "."
		}
		return copytree.Pack(w, from, name)
	}
	if from == stdinName {
		in := bufio.NewReaderSize(s.stdin, 64<<10)
		// A slash at the end says that it is a directory, and so an archive.
		if strings.HasSuffix(to, "/") {
			return s.worker.CopyTo(ctx, machine, to, owner, in)
		}
		write = func(w io.Writer) error { return packStream(w, in, path.Base(to)) }
	} else if _, err := os.Stat(from); err != nil {
		return usageError("cp: %w", err)
	}
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := write(w)
		w.CloseWithError(err)
		packed <- err
	}()
	err := s.worker.CopyTo(ctx, machine, to, owner, r)
	r.CloseWithError(errCopied)
	if perr := <-packed; perr != nil && !errors.Is(perr, errCopied) {
		return fmt.Errorf("read %s: %w", from, perr) // the machine only saw an archive that broke off
	}
	return err
}

var errCopied = errors.New("the machine does not read any more")

// packStream makes an archive of one file whose size is known only at its end.
func packStream(w io.Writer, in io.Reader, name string) error {
	f, err := os.CreateTemp("", "bottlebuild-cp-")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil { // nobody else needs to see it
		return err
	}
	size, err := io.Copy(f, in)
	if err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Now()}); err != nil {
		return err
	}
	if _, err := io.Copy(tw, f); err != nil {
		return err
	}
	return tw.Close()
}

// copyOut copies from a machine to the host.
func (s *session) copyOut(ctx context.Context, machine, from, to string) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := s.worker.CopyFrom(ctx, machine, from, w)
		w.CloseWithError(err)
		written <- err
	}()
	var err error
	if to == stdinName {
		err = printArchive(s.stdout, r)
	} else {
		err = copytree.Receive(r, to, copytree.Options{})
	}
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(r, 1<<20)) // the padding at the end
	}
	r.CloseWithError(errCopied)
	if werr := <-written; werr != nil && !errors.Is(werr, errCopied) && (err == nil || errors.Is(err, werr)) {
		return werr
	}
	if err != nil {
		return fmt.Errorf("copy to %s: %w", to, err)
	}
	return nil
}

// printArchive writes what an archive holds: the content of its only file, or
// the archive itself if that is of a directory.
func printArchive(out io.Writer, archive io.Reader) error {
	tr := tar.NewReader(archive)
	tw := tar.NewWriter(out)
	for first := true; ; first = false {
		h, err := tr.Next()
		if err == io.EOF && first {
			return errors.New("the archive is empty")
		}
		if err == io.EOF {
			return tw.Close()
		}
		if err != nil {
			return err
		}
		if first && h.Typeflag == tar.TypeReg {
			_, err := io.Copy(out, tr)
			return err
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(tw, tr); err != nil {
			return err
		}
	}
}
