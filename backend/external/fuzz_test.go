// SPDX-License-Identifier: Apache-2.0

package external_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/flocker-project/flocker/backend/external"
)

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// Whatever a driver answers: nothing panics, what is handed on is sound, and errors are short and harmless.
func FuzzAnswers(f *testing.F) {
	text := func(s string) []byte { return []byte(s) }
	f.Add(200, text(`{"volumes": [{"id": "v", "dataset": "0b1c2d3e-0000-4000-8000-000000000001", "size": 4096, "machine": "m"}]}`))
	f.Add(200, text(`{"volume": {"id": "v", "dataset": "0b1c2d3e-0000-4000-8000-000000000001", "size": 4096}}`))
	f.Add(200, text(`{"device": "/dev/sda"}`))
	f.Add(200, text(`{"devices": {"v": "/dev/sda"}}`))
	f.Add(409, text(`{"code": "busy", "message": "\u001b[31m", "machine": "m", "retry_after_ms": 1}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		volumes, devices, err := external.Understand(status, body)
		for _, v := range volumes {
			if v.ID == "" || strings.ContainsAny(v.ID, "/\n ") || !uuidForm.MatchString(string(v.Dataset)) || v.Size <= 0 || !plain(v.Machine) || !plain(v.Profile) {
				t.Errorf("volume %+v of %q", v, body)
			}
		}
		for _, device := range devices {
			if !filepath.IsAbs(device) || filepath.Clean(device) != device {
				t.Errorf("device %q of %q", device, body)
			}
		}
		if err != nil && (len(err.Error()) > 8000 || !plain(err.Error())) {
			t.Errorf("error %q of %q", err, body)
		}
	})
}

func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) })
}
