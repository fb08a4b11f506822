// Package machineinit is what bottlebuild runs inside the machines of the
// container backend, where its own binary is mounted: the machine's first
// process, and the helpers that start commands and write files there, so that
// the host never resolves a path or a user of the guest.
//
// It imports little, since it is in every machine's memory. Its command lines
// are an interface between versions: a machine that was started by an older
// bottlebuild keeps that one's binary until it is started again. So a form is
// never changed, only added to.
package machineinit

// The forms of the command line, after the subcommand that leads to [Main].
const (
	// Boot is the machine's first process:
	//
	//	boot USER DIR STOPSIGNAL [COMMAND ARG…]
	Boot = "boot"
	// Supervise is Boot, with a policy by which the command is started again after
	// it has ended by itself:
	//
	//	supervise never|on-failure|always USER DIR STOPSIGNAL [COMMAND ARG…]
	Supervise = "supervise"
	// Exec runs a command in place of itself:
	//
	//	exec USER DIR COMMAND ARG…
	Exec = "exec"
	// Copy writes standard input to a file, its mode in octal digits:
	//
	//	copy OWNER MODE PATH
	Copy = "copy"
	// Unpack copies a tar archive on standard input to a place, see copytree.Receive:
	//
	//	unpack OWNER PATH
	Unpack = "unpack"
	// Pack writes a file or directory to standard output as a tar archive, whose
	// entries begin with NAME:
	//
	//	pack PATH NAME
	Pack = "pack"
	// Forward runs on the host, but in the machine's network: descriptor 3 is
	// one for the machine's first process (pidfd_open(2)), those from 4 on are
	// listeners, whose connections it carries to the ports:
	//
	//	forward PORT…
	Forward = "forward"
	// Uplink runs on the host, see package uplink for its descriptors:
	//
	//	uplink
	Uplink = "uplink"
)

// What Exec ends with if it cannot run the command; shells and docker do the same.
const (
	CannotRun = 126 // not executable, no such directory or user
	NotFound  = 127 // no such command
)

// MaxConsole bounds the console's file, in bytes: when it would grow beyond, its
// older half is dropped.
const MaxConsole = 8 << 20

// DefaultPath is PATH where neither the image nor the machine sets it.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// OwnHome is, as the value of HOME, what stands for the user's home directory. It is
// there because runtimes set HOME to root's where it is not set.
const OwnHome = "bottlebuild:own-home"
