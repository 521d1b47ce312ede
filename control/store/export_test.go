// SPDX-License-Identifier: Apache-2.0

package store

import "context"

// PutRaw writes a record's text as another version might.
func (s *Store) PutRaw(ctx context.Context, key, text string) error {
	_, err := s.client.Put(ctx, s.prefix+key, text)
	return err
}
