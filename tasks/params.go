// Package tasks is what each kind of node does: five kinds, one file each, and a
// Worker that switches over them.
package tasks

import (
	"time"

	"bottlebuild/tasks/buildkit"
)

// The kinds of nodes.
const (
	KindImage   = "image"
	KindExport  = "export"
	KindPush    = "push"
	KindPack    = "pack"
	KindMachine = "machine"
)

// Image is the parameters of a BuildKit build, or, with Ref set, of an image
// taken from a registry as it is: then only Ref and Platforms count.
type Image struct {
	Ref              string               // image reference; empty for a build
	Context          string               // absolute path of the directory; empty with Remote, or if Contexts has an image by the name "context"
	Remote           string               `json:",omitempty"` // context in a Git repository: "https://example.com/r.git#main:dir"
	Dockerfile       string               // absolute path, or relative in Remote; empty with DockerfileInline
	DockerfileInline string               // content; empty with Dockerfile
	Target           string               // stage; empty: the last
	Args             map[string]string    // build arguments
	Labels           map[string]string    // labels of the image config
	Contexts         map[string]Context   // named contexts; "context" is an image that is the main one
	Secrets          map[string]SecretRef `json:",omitempty"` // for RUN --mount=type=secret, by id
	Annotations      map[string]string    `json:",omitempty"` // of the manifest, or where a prefix says: "index:"
	Attest           map[string]string    `json:",omitempty"` // attestations to make: options by type, "mode=max"
	Network          string               `json:",omitempty"` // of RUN: NetworkNone, NetworkHost, NetworkSandbox; empty: the builder's default
	ShmSize          int64                `json:",omitempty"` // bytes of /dev/shm in RUN
	Ulimits          []string             `json:",omitempty"` // of RUN: "nofile=1024:2048"
	AddHosts         map[string]string    `json:",omitempty"` // addresses by name in RUN
	// What RUN may ask for and changes no result.
	SSH          map[string][]string `json:",omitempty"` // absolute paths of keys or of an agent's socket by id; none: the user's agent
	Entitlements []string            `json:",omitempty"` // "network.host", "security.insecure"
	// How it is built, which changes no result, except that an inline cache is
	// part of the image.
	CacheFrom, CacheTo []buildkit.CacheOption `json:",omitempty"`
	NoCacheFilter      []string               `json:",omitempty"` // stages to build again every time
	Pull               bool                   `json:",omitempty"` // for the builder: take images from registries, not from its own image store
	MaxAge             time.Duration          `json:",omitempty"` // an older result is built again; 0: none is too old
	Platforms          []string               // "linux/amd64"; empty: the builder's own
	NoCache            bool                   // build every step again
	Reproducible       bool                   // SOURCE_DATE_EPOCH=0, rewrite-timestamp
	// Sensitive are the components of the recipe that no one is to read.
	Sensitive []string `json:",omitempty"`
}

// Context is a build context beside directories; exactly one field is set.
type Context struct {
	Image string `json:",omitempty"` // address of an image node
	Dir   string `json:",omitempty"` // absolute path
	Ref   string `json:",omitempty"` // image reference, or a URL that BuildKit reads
	// Layout is an image in an OCI image layout.
	Layout *LayoutImage `json:",omitempty"`
}

// LayoutImage is an image in an OCI image layout.
type LayoutImage struct {
	Dir string // absolute path of the layout
	Tag string `json:",omitempty"` // tag, or digest ("sha256:…"); empty: "latest", or the only image
}

// Export is the parameters of a file made from an image.
type Export struct {
	Image  string // address of the image node, a dependency
	Path   string // absolute
	Format string // FormatOCI, FormatDocker, FormatOCIDir
	// Name is what a docker archive's image is called when loaded:
	// "bottlebuild/agent-claude:latest".
	Name string
}

// The formats of an export.
const (
	FormatOCI    = "oci"     // tar of an OCI image layout
	FormatDocker = "docker"  // tar that docker load reads
	FormatOCIDir = "oci-dir" // OCI image layout as a directory
)

// Push is the parameters of a push to a registry.
type Push struct {
	Image      string // address of the image node, a dependency
	Registry   Registry
	Repository string   // below the registry: "agent-claude"
	Tags       []string // in order, none is fine
	// Sensitive are the components of the recipe that no one is to read.
	Sensitive []string `json:",omitempty"`
}

// Registry is where images are pushed to.
type Registry struct {
	Name     string // as declared: "prod"
	Embedded bool   // in this process, serving the cache itself
	URL      string // host and path prefix: "registry.example.com/acme"; empty if Embedded
	Insecure bool   // plain http, or a certificate that cannot be checked
}

// Pack is the parameters of what machines are made from.
type Pack struct {
	Image    string // address of the image node, a dependency
	Platform string // "linux/amd64"; empty: this machine's
	Backend  string // BackendSmolvm, BackendContainer, BackendAuto
	Runtime  string // of container: "runc" (default), "crun", …
}

// The backends.
const (
	BackendSmolvm    = "smolvm"
	BackendContainer = "container"
	BackendAuto      = "auto" // smolvm if it can work here, else container
)

// Machine is the parameters of a machine.
type Machine struct {
	Pack       string // address of the pack node, a dependency
	Backend    string
	Runtime    string
	Project    string // scope of the bottle file, for telling orphans
	Name       string // DNS label
	CPUs       int
	MemoryMiB  int
	StorageGiB int
	Env        map[string]string
	Secrets    map[string]SecretRef `json:",omitempty"` // for the environment of what is run in it, by name of the variable
	User       string               // for provision, ready and exec; empty: the image's
	Workdir    string
	Restart    string   // RestartNever (default), RestartOnFailure, RestartAlways
	Replace    string   // ReplaceNever, ReplaceIfStopped (default), ReplaceAlways
	OnError    string   // OnErrorCleanup (default), OnErrorKeep
	SelfTest   bool     // whether isolation and set-up are tested after boot; true by default
	Network    *Network `json:",omitempty"`
	Files      []File
	Ports      []Port
	Volumes    []Volume
	Provision  []Provision
	Ready      *Ready  `json:",omitempty"`
	Checks     []Check `json:",omitempty"`
	// Recreate replaces a machine that is as wanted, as far as Replace allows.
	Recreate bool `json:",omitempty"`
	// Sensitive are the components of the recipe that no one is to read.
	Sensitive []string `json:",omitempty"`
}

// What may happen to a machine whose spec no longer matches.
const (
	ReplaceNever     = "never"
	ReplaceIfStopped = "if-stopped"
	ReplaceAlways    = "always"
)

// What happens when a machine's first process ends without being told to.
const (
	RestartNever     = "never"
	RestartOnFailure = "on-failure" // unless its exit code is 0
	RestartAlways    = "always"
)

// What happens to a new machine that cannot be made ready.
const (
	OnErrorCleanup = "cleanup" // it is removed
	OnErrorKeep    = "keep"    // it stays, for a look at it, until the next run
)

// Network is what a machine may reach; nil or empty: nothing.
type Network struct {
	Open       bool
	AllowHosts []string
	AllowCIDRs []string
}

// File is a file written before the machine is provisioned.
type File struct {
	Path    string // absolute, in the guest
	Content []byte
	Mode    uint32 // permission bits; 0644 by default
	Owner   string // user, user:group; empty: root
}

// Port publishes a TCP port of the guest on the host's loopback.
type Port struct{ Host, Guest int }

// Volume shares a directory of the host, or one that is kept for the machine.
type Volume struct {
	Host     string // absolute; or empty:
	Name     string `json:",omitempty"` // see [Volumes]
	Guest    string // absolute
	ReadOnly bool
}

// Provision is one command, run once per created machine, as root unless User is set.
type Provision struct {
	Exec            []string
	User            string
	Env             map[string]string `json:",omitempty"` // on top of the machine's
	Timeout         time.Duration     `json:",omitempty"` // of one attempt; 0: none
	Retries         int               `json:",omitempty"` // further attempts after one that failed
	ContinueOnError bool              `json:",omitempty"` // goes on when the last attempt failed
}

// Ready is how to tell that a machine is ready; exactly one of Exec, TCP, HTTP is set.
type Ready struct {
	Exec     []string
	TCP      int           // port in the guest
	HTTP     string        // "http://:80/healthz"; any 2xx or 3xx answer
	Timeout  time.Duration // 30 s by default
	Interval time.Duration // 500 ms by default
}

// Check is a command that has to succeed whenever the machine has booted and is
// ready.
type Check struct {
	Name    string
	Exec    []string
	User    string        // empty: the machine's
	Timeout time.Duration // of one attempt; 30 s by default
	Retries int           `json:",omitempty"` // further attempts after one that failed
}
