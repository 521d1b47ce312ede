// SPDX-License-Identifier: Apache-2.0

package contract

import "context"

// T is what a check says how it went to: what the standard library's *testing.T has and checks need, so that they run
// in a program too. Its methods mean what they mean there.
type T interface {
	telling
	failing
	lasting
	Helper()
	// Run runs a check that is part of this one, to its end, and says whether it passed.
	Run(name string, check func(t T)) bool
}

// telling is for what is no failure.
type telling interface {
	Log(args ...any)
	Logf(format string, args ...any)
	Skip(args ...any)
	Skipf(format string, args ...any)
}

// failing is for what is one. Fatal and Fatalf end the check.
type failing interface {
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// lasting is for what lasts as long as the check. What Cleanup is given runs after it, last first, when its Context has ended.
type lasting interface {
	Context() context.Context
	Cleanup(f func())
	TempDir() string
}
