package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// texts is the value of a flag that can be given several times. It is what pflag
// calls a stringArray, but shows its default without a CSV writer: commands have
// many such flags, and all of them are declared at every start.
type texts []string

func (t *texts) Set(s string) error {
	*t = append(*t, s)
	return nil
}

func (t *texts) Type() string { return "stringArray" }

func (t *texts) String() string {
	if t == nil || len(*t) == 0 {
		return "" // help shows no default
	}
	return fmt.Sprintf("%q", []string(*t))
}

// textsFlag declares a flag that can be given several times; shorthand may be "".
func textsFlag(cmd *cobra.Command, to *[]string, name, shorthand, usage string) {
	cmd.Flags().VarP((*texts)(to), name, shorthand, usage)
}

// filled is the value of a flag that means something else where it is not given,
// and so must not be empty, as it is where a shell's variable is not set.
type filled string

func (v *filled) Set(s string) error {
	if s == "" {
		return errors.New("it is empty; give a value, or leave the flag out")
	}
	*v = filled(s)
	return nil
}

func (v *filled) Type() string { return "string" }

func (v *filled) String() string { return string(*v) }

// filledFlag declares a flag whose value must not be empty.
func filledFlag(cmd *cobra.Command, to *string, name, usage string) {
	cmd.Flags().Var((*filled)(to), name, usage)
}
