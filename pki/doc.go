// SPDX-License-Identifier: Apache-2.0

// Package pki is a cluster's certificate authority, the identities that its
// certificates carry, the TLS on every connection, and the tokens with which a
// new node gets its certificate.
package pki
