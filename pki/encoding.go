// SPDX-License-Identifier: Apache-2.0

package pki

import "encoding/base32"

// tokenEncoding has only small letters and digits, so that a token is one word to a shell and to a double click.
func tokenEncoding() *base32.Encoding {
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
}
