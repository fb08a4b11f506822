//go:build linux

package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// flag is one option of a command.
type flag struct {
	long, short string
	value       string // placeholder; empty: a switch
	many        bool
	since       string // version; empty: always there
}

// command is a subcommand with all that it takes.
type command struct {
	name     string
	flags    []flag
	operands int  // how many
	trailing bool // a command after --
	run      func(*parsed) error
}

// step is what faults call the command.
func (c command) step() string {
	if c.name == "pack create" {
		return "pack"
	}
	return strings.TrimPrefix(c.name, "machine ")
}

// parsed is a call that is well-formed.
type parsed struct {
	values   map[string][]string
	operands []string
	trailing []string
}

func (p *parsed) has(long string) bool { return len(p.values[long]) > 0 }

func (p *parsed) get(long string) string {
	if v := p.values[long]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// number returns a whole number, or otherwise if the flag was not given.
func (p *parsed) number(long string, otherwise int) (int, error) {
	if !p.has(long) {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(p.get(long), 10, 31)
	if err != nil {
		return 0, usageError(fmt.Sprintf("invalid value '%s' for '--%s <N>': invalid digit found in string", p.get(long), long))
	}
	return int(n), nil
}

var nameFlag = flag{long: "name", short: "n", value: "NAME"}

var commands = []command{
	{name: "pack create", run: packCreate, flags: []flag{
		{long: "image", short: "I", value: "REF"}, {long: "output", short: "o", value: "OUT"}, {long: "cpus", value: "N"}, {long: "mem", value: "MiB"},
		{long: "oci-platform", value: "OS/ARCH"}, {long: "entrypoint", value: "CMD"}, {long: "smolfile", short: "s", value: "PATH"},
		{long: "staging-dir", value: "DIR"}, {long: "no-sign"}, {long: "single-file"}, {long: "proxy", value: "URL"}, {long: "no-proxy", value: "LIST"},
	}},
	{name: "machine create", run: machineCreate, flags: []flag{
		nameFlag, {long: "from", value: "PATH"}, {long: "label", value: "KEY=VALUE", many: true, since: "1.8.1"},
		{long: "cpus", value: "N"}, {long: "mem", value: "MiB"}, {long: "storage", value: "GiB"}, {long: "overlay", value: "GiB"},
		{long: "env", short: "e", value: "KEY=VALUE", many: true}, {long: "port", short: "p", value: "HOST:GUEST", many: true},
		{long: "volume", short: "v", value: "HOST:GUEST[:ro]", many: true}, {long: "net"}, {long: "allow-cidr", value: "CIDR", many: true},
		{long: "allow-host", value: "HOSTNAME", many: true}, {long: "secret-env", value: "GUEST=HOST", many: true},
		{long: "secret-file", value: "GUEST=PATH", many: true}, {long: "workdir", short: "w", value: "DIR"}, {long: "gpu"}, {long: "smolfile", short: "s", value: "PATH"},
	}},
	{name: "machine start", run: machineStart, flags: []flag{nameFlag}},
	{name: "machine stop", run: machineStop, flags: []flag{nameFlag}},
	{name: "machine delete", run: machineDelete, flags: []flag{nameFlag, {long: "force", short: "f"}}},
	{name: "machine ls", run: machineList, flags: []flag{{long: "json"}}},
	{name: "machine status", run: machineStatus, flags: []flag{nameFlag, {long: "json"}}},
	{name: "machine data-dir", run: machineDataDir, flags: []flag{nameFlag}},
	{name: "machine update", run: machineUpdate, flags: []flag{nameFlag, {long: "cpus", value: "N"}, {long: "mem", value: "MiB"}}},
	{name: "machine cp", run: machineCopy, operands: 2, flags: []flag{
		{long: "mode", value: "OCTAL", since: "1.9.0"}, {long: "uid", value: "UID", since: "1.9.0"}, {long: "gid", value: "GID", since: "1.9.0"},
	}},
	{name: "machine exec", run: machineExec, trailing: true, flags: []flag{
		nameFlag, {long: "workdir", short: "w", value: "DIR"}, {long: "env", short: "e", value: "KEY=VALUE", many: true},
		{long: "secret-env", value: "GUEST=HOST", many: true}, {long: "secret-file", value: "GUEST=PATH", many: true},
		{long: "timeout", value: "DURATION"}, {long: "interactive", short: "i"}, {long: "tty", short: "t"}, {long: "stream"},
		{long: "user", value: "USER", since: "1.14.0"},
	}},
}

func versionText() string {
	if v := os.Getenv("FAKE_SMOLVM_VERSION"); v != "" {
		return v
	}
	return "1.32.0"
}

// atLeast compares versions of three numbers.
func atLeast(want string) bool {
	have, min := strings.Split(versionText(), "."), strings.Split(want, ".")
	for i := range min {
		h, _ := strconv.Atoi(have[min0(i, len(have)-1)])
		w, _ := strconv.Atoi(min[i])
		if h != w {
			return h > w
		}
	}
	return true
}

func min0(a, b int) int { return max(0, min(a, b)) }

func (c command) find(match func(flag) bool) (flag, bool) {
	i := slices.IndexFunc(c.flags, func(f flag) bool { return match(f) && (f.since == "" || atLeast(f.since)) })
	if i < 0 {
		return flag{}, false
	}
	return c.flags[i], true
}

// parse is as strict as clap: unknown and repeated flags, missing values and
// surplus operands are errors.
func (c command) parse(args []string) (*parsed, error) {
	p := &parsed{values: map[string][]string{}}
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		if a == "--" && c.trailing {
			p.trailing = args
			break
		}
		if !strings.HasPrefix(a, "-") || a == "-" {
			if p.operands = append(p.operands, a); len(p.operands) > c.operands {
				return nil, usageError(fmt.Sprintf("unexpected argument '%s' found", a))
			}
			continue
		}
		name, inline, hasInline := strings.Cut(a, "=")
		f, ok := c.find(func(f flag) bool { return name == "--"+f.long || f.short != "" && name == "-"+f.short })
		switch {
		case !ok || hasInline && f.value == "":
			return nil, usageError(fmt.Sprintf("unexpected argument '%s' found", a))
		case p.has(f.long) && !f.many:
			return nil, usageError(fmt.Sprintf("the argument '--%s' cannot be used multiple times", f.long))
		case f.value == "":
			p.values[f.long] = []string{"true"}
			continue
		case !hasInline && (len(args) == 0 || strings.HasPrefix(args[0], "-")):
			return nil, usageError(fmt.Sprintf("a value is required for '--%s <%s>' but none was supplied", f.long, f.value))
		case !hasInline:
			inline, args = args[0], args[1:]
		}
		p.values[f.long] = append(p.values[f.long], inline)
	}
	switch {
	case len(p.operands) < c.operands:
		return nil, usageError("the following required arguments were not provided")
	case c.trailing && len(p.trailing) == 0:
		return nil, usageError("the following required arguments were not provided: <COMMAND>...")
	}
	return p, nil
}

func (c command) help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: smolvm %s [OPTIONS]\n\nOptions:\n", c.name)
	for _, f := range c.flags {
		if f.since != "" && !atLeast(f.since) {
			continue
		}
		short := "    "
		if f.short != "" {
			short = "-" + f.short + ", "
		}
		fmt.Fprintf(&b, "  %s--%s", short, f.long)
		if f.value != "" {
			fmt.Fprintf(&b, " <%s>", f.value)
		}
		b.WriteString("\n")
	}
	b.WriteString("  -h, --help\n")
	return b.String()
}
