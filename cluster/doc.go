// SPDX-License-Identifier: Apache-2.0

// Package cluster holds the values every other package speaks in: nodes,
// datasets, applications, leases, moves, what should be and what is. It does no
// I/O.
package cluster
