// SPDX-License-Identifier: Apache-2.0

// Command flocker moves stateful containers together with their data between Docker hosts.
package main

import "os"

// version is set by the linker at a release.
var version = "dev"

func main() { os.Exit(execute()) }
