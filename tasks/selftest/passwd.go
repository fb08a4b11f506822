package selftest

import (
	"bytes"
	"path"
	"strconv"
	"strings"
)

// account is a line of the guest's passwd(5).
type account struct {
	name string
	uid  int
	home string
}

func parsePasswd(b []byte) []account {
	var list []account
	for line := range bytes.Lines(b) {
		f := strings.Split(strings.TrimRight(string(line), "\r\n"), ":")
		if len(f) != 7 || !path.IsAbs(f[5]) {
			continue
		}
		if uid, err := strconv.ParseUint(f[2], 10, 32); err == nil {
			list = append(list, account{f[0], int(uid), path.Clean(f[5])})
		}
	}
	return list
}

// wantedUser returns the number of "user", "uid", or either with ":group".
func wantedUser(users []account, s string) (uid int, ok bool) {
	name, _, _ := strings.Cut(s, ":")
	for _, u := range users {
		if u.name == name {
			return u.uid, true
		}
	}
	n, err := strconv.ParseUint(name, 10, 32)
	return int(n), err == nil
}
