// SPDX-License-Identifier: Apache-2.0

package store

import "context"

// PutRaw writes a record's text as another version might.
func (s *Store) PutRaw(ctx context.Context, key, text string) error {
	_, err := s.client.Put(ctx, s.prefix+key, text)
	return err
}

// KeysRead is how many addresses an allocator has read.
func KeysRead(a *Allocator) int {
	n := 0
	for _, block := range a.held {
		n += len(block)
	}
	return n
}

// Compares is how many comparisons a transaction makes.
func Compares(tx *Tx) int { return len(tx.compares()) }
