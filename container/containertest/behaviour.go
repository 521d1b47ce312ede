// SPDX-License-Identifier: Apache-2.0

package containertest

import (
	"fmt"
	"strconv"
	"strings"
)

// Behaviour is what the test program does, as its arguments say.
type Behaviour struct {
	Print      []string // print=TEXT
	Write      string   // write=PATH: write the text "written" there
	Resolve    string   // resolve=NAME: print its address, as the container's file of names has it
	Listen     string   // listen=PORT: accept TCP connections and close them
	Child      bool     // child: start another process that ignores every signal it can
	Fill       int      // fill=MIB: use that much memory, which takes the kernel a while to take back
	IgnoreTerm bool     // ignore-term
	Wait       bool     // wait: for SIGTERM (then exit with 0) or SIGINT (then with InterruptCode)
	Exit       int      // exit=CODE when there is nothing to wait for
}

// InterruptCode is the test program's exit code after SIGINT.
const InterruptCode = 42

// Behave reads the test program's arguments.
func Behave(args []string) (Behaviour, error) {
	var b Behaviour
	for _, arg := range args {
		word, value, _ := strings.Cut(arg, "=")
		switch word {
		case "print":
			b.Print = append(b.Print, value)
		case "write":
			b.Write = value
		case "resolve":
			b.Resolve = value
		case "listen":
			b.Listen = value
		case "child":
			b.Child = true
		case "ignore-term":
			b.IgnoreTerm = true
		case "wait":
			b.Wait = true
		case "exit", "fill":
			number, err := strconv.Atoi(value)
			if err != nil {
				return b, fmt.Errorf("argument %q: %w", arg, err)
			}
			if word == "fill" {
				b.Fill = number
			} else {
				b.Exit = number
			}
		default:
			return b, fmt.Errorf("argument %q is not known", arg)
		}
	}
	return b, nil
}
