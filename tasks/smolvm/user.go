package smolvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bottlebuild/tasks/backend"
)

// identity is how a command gets to run as a user.
type identity struct {
	flags  []string // of "machine exec"
	prefix []string // before the command
	shell  bool     // the prefix takes the command as one shell word
	home   string   // HOME, where neither smolvm nor prefix sets it
	user   string   // last argument of the prefix, behind the word
}

func (i identity) wrap(args []string) []string {
	if !i.shell {
		return args
	}
	quoted := make([]string, len(args))
	for n, a := range args {
		quoted[n] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return []string{"exec " + strings.Join(quoted, " "), i.user}
}

func isRoot(user string) bool {
	return user == "" || user == "root" || user == "0" || user == "0:0" || user == "root:root"
}

// runAs finds out how to run as user, or as the image's user if that is empty.
// From 1.14.0 smolvm does it; before, a command runs as whatever smolvm chooses,
// which is asked of the guest, and root can become another with the guest's own
// setpriv or su.
func (b *Backend) runAs(ctx context.Context, r record, user string) (identity, error) {
	if user == "" {
		user = r.User
	}
	flags, err := b.flagsOf(ctx, "machine", "exec")
	switch {
	case err != nil:
		return identity{}, err
	case user == "":
		return identity{}, nil
	case flags["--user"]:
		return identity{flags: []string{"--user", user}}, nil
	case isRoot(user) && isRoot(r.User):
		return identity{}, nil // the only user there is so far
	}
	g, err := b.askGuest(ctx, r)
	if err != nil {
		return identity{}, fmt.Errorf("run as user %s: %w", user, err)
	}
	a, err := g.resolve(user)
	if err != nil {
		return identity{}, err
	}
	switch {
	case g.uid == a.uid && g.gid == a.gid:
		return identity{home: a.home}, nil
	case g.uid != 0:
		return identity{}, fmt.Errorf("%w: smolvm runs commands as user %d here, which cannot become %s: update smolvm to 1.14.0 or later, which has \"machine exec --user\"", backend.ErrUnsupported, g.uid, user)
	}
	for _, i := range switches(a) {
		code, err := b.quiet(ctx, r, i, "true")
		if err != nil {
			return identity{}, fmt.Errorf("run as user %s: %w", user, err)
		}
		if code == 0 {
			return i, nil
		}
	}
	return identity{}, fmt.Errorf("%w: run as user %s: the guest has neither util-linux's setpriv nor su: install one in the image, or update smolvm to 1.14.0 or later, which has \"machine exec --user\"", backend.ErrUnsupported, user)
}

// switches returns the ways in which root in the guest becomes another user.
func switches(a account) []identity {
	setpriv := []string{"setpriv", "--reuid=" + strconv.Itoa(a.uid), "--regid=" + strconv.Itoa(a.gid)}
	if len(a.groups) == 0 {
		setpriv = append(setpriv, "--clear-groups")
	} else {
		var list []string
		for _, g := range a.groups {
			list = append(list, strconv.Itoa(g))
		}
		setpriv = append(setpriv, "--groups="+strings.Join(list, ","))
	}
	ways := []identity{{prefix: append(setpriv, "--"), home: a.home}}
	if a.name != "" && a.ownGroup { // su takes neither numbers nor another group
		ways = append(ways, identity{prefix: []string{"su", "-s", "/bin/sh", "-c"}, shell: true, user: a.name})
	}
	return ways
}

// quiet runs a command of the driver's own in the guest, as smolvm runs it.
func (b *Backend) quiet(ctx context.Context, r record, as identity, args ...string) (int, error) {
	p, err := b.program(ctx)
	if err != nil {
		return 0, err
	}
	return b.execAs(ctx, p, r, backend.Exec{Args: args, Workdir: "/"}, as)
}

// guestUsers is what a guest says of its users and of the process that asks.
type guestUsers struct {
	uid, gid int
	accounts []account
	groups   []group
}

type account struct {
	name     string
	uid, gid int
	home     string
	groups   []int // further ones, sorted
	ownGroup bool  // gid is the one of the guest's user database
}

type group struct {
	name    string
	gid     int
	members []string
}

// maxDatabase bounds what is read of the guest's users and groups, in bytes.
const maxDatabase = 4 << 20

// askGuest reads the guest's users and groups, and who a command runs as. The
// lines of the three files differ in their number of colons.
func (b *Backend) askGuest(ctx context.Context, r record) (guestUsers, error) {
	p, err := b.program(ctx)
	if err != nil {
		return guestUsers{}, err
	}
	var out limited
	_, err = b.execAs(ctx, p, r, backend.Exec{
		Args: []string{"cat", "/proc/self/status", "/etc/passwd", "/etc/group"}, Workdir: "/", Stdout: &out,
	}, identity{})
	if err != nil {
		return guestUsers{}, err
	}
	if out.Len() == 0 {
		return guestUsers{}, fmt.Errorf("%w: the guest has no cat, with which its users are read", backend.ErrUnsupported)
	}
	return parseUsers(out.Bytes()[:min(out.Len(), maxDatabase)])
}

func parseUsers(b []byte) (guestUsers, error) {
	g := guestUsers{uid: -1, gid: -1}
	for line := range bytes.Lines(b) {
		f := strings.Split(strings.TrimRight(string(line), "\r\n"), ":")
		switch {
		case f[0] == "Uid" && len(f) == 2:
			g.uid = firstNumber(f[1])
		case f[0] == "Gid" && len(f) == 2:
			g.gid = firstNumber(f[1])
		case len(f) == 7:
			uid, gid := firstNumber(f[2]), firstNumber(f[3])
			if uid >= 0 && gid >= 0 {
				g.accounts = append(g.accounts, account{name: f[0], uid: uid, gid: gid, home: f[5], ownGroup: true})
			}
		case len(f) == 4:
			if gid := firstNumber(f[2]); gid >= 0 {
				g.groups = append(g.groups, group{f[0], gid, strings.Split(f[3], ",")})
			}
		}
	}
	if g.uid < 0 || g.gid < 0 {
		return g, errors.New("the guest does not tell as which user commands run: /proc/self/status has no Uid and Gid")
	}
	return g, nil
}

// firstNumber returns -1 if s does not begin with an id.
func firstNumber(s string) int {
	f := strings.Fields(s)
	if len(f) == 0 {
		return -1
	}
	n, err := strconv.ParseUint(f[0], 10, 32)
	if err != nil {
		return -1
	}
	return int(n)
}

// resolve finds "user", "uid", "user:group" or numbers for either. A number
// needs no entry; its group is then 0, as for the USER of an image.
func (g guestUsers) resolve(s string) (account, error) {
	user, grp, hasGroup := strings.Cut(s, ":")
	a, ok := account{}, false
	for _, x := range g.accounts {
		if x.name == user {
			a, ok = x, true
			break
		}
	}
	if n := firstNumber(user); !ok && n >= 0 {
		a = account{uid: n}
		for _, x := range g.accounts {
			if x.uid == n {
				a = x
				break
			}
		}
		ok = true
	}
	if !ok {
		return account{}, fmt.Errorf("the guest has no user %q", user)
	}
	if !hasGroup {
		a.groups = g.memberships(a.name)
		return a, nil
	}
	gid := firstNumber(grp)
	for _, x := range g.groups {
		if x.name == grp {
			gid = x.gid
			break
		}
	}
	if gid < 0 {
		return account{}, fmt.Errorf("the guest has no group %q", grp)
	}
	a.ownGroup = a.ownGroup && a.gid == gid
	a.gid = gid
	return a, nil
}

func (g guestUsers) memberships(user string) []int {
	var ids []int
	for _, x := range g.groups {
		if user != "" && slices.Contains(x.members, user) {
			ids = append(ids, x.gid)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
