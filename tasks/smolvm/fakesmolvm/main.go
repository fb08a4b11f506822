//go:build linux

// Command fakesmolvm stands in for smolvm in tests. It takes the same command
// line, as strictly, with the flags and quirks of the version that
// FAKE_SMOLVM_VERSION names; it pulls images from a real registry, writes real
// sidecars, and runs machines as processes in namespaces of their own, with an
// agent as process 1 that runs commands and copies files.
//
// What it does not do: there is no virtual machine and no egress filter. A
// machine with --net and neither list nor port shares the host's network; every
// other has a network of its own with only a loopback in it, and published ports
// are forwarded into that.
//
// Variables, besides smolvm's own SMOLVM_DATA_DIR and SMOLVM_ALLOW_HOST_LOOPBACK:
//
//	FAKE_SMOLVM_VERSION  "1.32.0" by default
//	FAKE_SMOLVM_FAULT    comma-separated faults, see fault.go
//	FAKE_SMOLVM_LOG      file to which each call is added as a line of JSON
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

// exitError ends the program with a code and no message.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError ends the program with code 2, as clap does.
type usageError string

func (e usageError) Error() string { return string(e) }

func main() {
	if len(os.Args) > 1 && os.Args[1] == agentArg {
		runAgent()
		return
	}
	err := run(os.Args[1:])
	var exit exitError
	var usage usageError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		os.Exit(int(exit))
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "error: %s\n\nUsage: smolvm [OPTIONS] <COMMAND>\n\nFor more information, try '--help'.\n", usage)
		os.Exit(2)
	default:
		fmt.Fprintf(os.Stderr, "Error: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if err := record(args); err != nil {
		return err
	}
	if len(args) == 1 && args[0] == "--version" {
		return faulty("version", func() error {
			fmt.Println("smolvm", versionText())
			return nil
		})
	}
	for _, c := range commands {
		words := strings.Fields(c.name)
		if len(args) < len(words) || strings.Join(args[:len(words)], " ") != c.name {
			continue
		}
		rest := args[len(words):]
		if len(rest) == 1 && (rest[0] == "--help" || rest[0] == "-h") {
			if c.name == "pack create" && fault("help:other") {
				return usageError("unrecognized subcommand 'create'")
			}
			return faulty("help", func() error {
				fmt.Print(c.help())
				return nil
			})
		}
		p, err := c.parse(rest)
		if err != nil {
			return err
		}
		return faulty(c.step(), func() error { return c.run(p) })
	}
	return usageError(fmt.Sprintf("unrecognized subcommand '%s'", strings.Join(args, " ")))
}

// record notes the call for tests to look at.
func record(args []string) error {
	path := os.Getenv("FAKE_SMOLVM_LOG")
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	b, err := json.Marshal(map[string]any{"args": args, "dir": dir, "tmpdir": os.Getenv("TMPDIR")})
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	return err
}
