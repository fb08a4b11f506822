package buildcontext

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestIgnoreFile(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	write(t, filepath.Join(other, "secret"), "stolen", 0o644)
	check := func(name, dockerfile string, want []string, wantErr string) {
		t.Helper()
		got, err := IgnoreFile(dir, dockerfile)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: patterns (-want +got):\n%s", name, diff)
		}
		if (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
			t.Errorf("%s: error %v, wanted %q", name, err, wantErr)
		}
	}
	file, special := filepath.Join(dir, ".dockerignore"), filepath.Join(other, "Dockerfile.dockerignore")
	check("none", filepath.Join(other, "Dockerfile"), nil, "")
	write(t, file, "# comment\n\n /a/../b/ \n!c\n", 0o644)
	check("in the context", filepath.Join(other, "Dockerfile"), []string{"b", "!c"}, "")
	check("inline Dockerfile", "", []string{"b", "!c"}, "")
	write(t, special, "special\n", 0o644)
	check("beside the Dockerfile", filepath.Join(other, "Dockerfile"), []string{"special"}, "")
	check("of another Dockerfile", filepath.Join(other, "Other"), []string{"b", "!c"}, "")
	write(t, special, "", 0o644)
	check("empty beside the Dockerfile", filepath.Join(other, "Dockerfile"), nil, "")
	write(t, file, strings.Repeat("a\n", maxIgnoreFile), 0o644)
	check("too large", "", nil, "more than")
	must(t, os.Remove(file))
	must(t, unix.Mkfifo(file, 0o644))
	check("pipe", "", nil, "not a plain file")
	must(t, os.Remove(file))
	must(t, os.Symlink(filepath.Join(other, "secret"), file))
	check("link that leads out", "", nil, "escapes")
	must(t, os.Remove(file))
	write(t, filepath.Join(dir, "real"), "r\n", 0o644)
	must(t, os.Symlink("real", file))
	check("link", "", []string{"r"}, "")
}
