//go:build linux

// Command pull is the part of the fake smolvm that speaks to registries. It is a
// program of its own since the packages for that are most of what a start takes,
// and smolvm is started for every command in a machine.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"bottlebuild/tasks/smolvm/fakesmolvm/pulled"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: pull REF PLATFORM DIR")
		os.Exit(2)
	}
	if err := pull(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func pull(s, platform, dir string) error {
	ref, err := name.ParseReference(s, name.Insecure)
	if err != nil {
		return fmt.Errorf("invalid image reference: %w", err)
	}
	pl, err := v1.ParsePlatform(platform)
	if err != nil {
		return err
	}
	img, err := remote.Image(ref, remote.WithPlatform(*pl))
	if err != nil {
		return err
	}
	c, err := img.ConfigFile()
	if err != nil {
		return err
	}
	if c.OS != pl.OS || c.Architecture != pl.Architecture {
		return fmt.Errorf("image is for %s/%s, not for %s", c.OS, c.Architecture, platform)
	}
	id, err := img.ConfigName()
	if err != nil {
		return err
	}
	size, err := img.Size()
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for i, l := range layers {
		if err := write(l, pulled.Layer(dir, i)); err != nil {
			return err
		}
	}
	return pulled.Write(dir, pulled.Image{
		ID: id.String(), Size: size, OS: c.OS, Architecture: c.Architecture, Layers: len(layers),
		Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd, Env: c.Config.Env, Workdir: c.Config.WorkingDir,
	})
}

// write writes a layer uncompressed; its digest is verified at the end.
func write(l v1.Layer, path string) error {
	r, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
