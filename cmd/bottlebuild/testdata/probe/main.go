// Command probe runs in build steps of tests and fails unless what it is asked
// about is as it should be.
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
)

func main() {
	if err := probe(os.Args[1], os.Args[2:]); err != nil {
		fmt.Println("probe:", err)
		os.Exit(1)
	}
}

func probe(what string, args []string) error {
	switch what {
	case "secret": // FILE SHA256: the file has that digest
		b, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(b)); got != args[1] {
			return fmt.Errorf("%s has digest %s", args[0], got)
		}
		return nil
	}
	return fmt.Errorf("there is nothing called %q", what)
}
