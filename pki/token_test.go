// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

const tokenText = "flocker1-abcdefgh.abcdefghijklmnopqrstuvwxyz234567.abcdefghijklmnopqrstuvwxya@10.0.0.1:4523,control.example.com:4523,[2001:db8::1]:4523"

func TestTokenIsReadAsItWasWritten(t *testing.T) {
	token, err := pki.ParseToken("  " + tokenText + "\n")
	if err != nil {
		t.Fatal(err)
	}
	want := pki.Token{
		ID:        "abcdefgh",
		Secret:    "abcdefghijklmnopqrstuvwxyz234567",
		Pin:       "abcdefghijklmnopqrstuvwxya",
		Endpoints: []string{"10.0.0.1:4523", "control.example.com:4523", "[2001:db8::1]:4523"},
	}
	if diff := cmp.Diff(want, token); diff != "" {
		t.Error(diff)
	}
	if token.Text() != tokenText {
		t.Errorf("Text() = %q; want %q", token.Text(), tokenText)
	}
}

func TestTokenKeepsItsSecretFromLogs(t *testing.T) {
	token, err := pki.ParseToken(tokenText)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("token", "token", token)
	fmt.Fprintf(&log, "%v %s %+v", token, token, token)
	if strings.Contains(log.String(), token.Secret) {
		t.Errorf("the secret is in %s", log.String())
	}
}

func TestDamagedTokensAreRefusedWithoutShowingThem(t *testing.T) {
	for _, text := range []string{
		"",
		"flocker2-abcdefgh.abcdefghijklmnopqrstuvwxyz234567.abcdefghijklmnopqrstuvwxya@10.0.0.1:4523",
		strings.Replace(tokenText, "@", "", 1),
		strings.Replace(tokenText, "z234567", "", 1),
		strings.Replace(tokenText, ".abcdefghijklmnopqrstuvwxya", "", 1),
		strings.Replace(tokenText, "10.0.0.1:4523", "10.0.0.1", 1),
		strings.Replace(tokenText, "10.0.0.1:4523", "10.0.0.1:99999", 1),
		strings.Replace(tokenText, "10.0.0.1:4523", ":4523", 1),
		strings.Replace(tokenText, "10.0.0.1:4523", "evil/path:4523", 1),
		tokenText + strings.Repeat(",a:1", 100),
		strings.Repeat("x", 1<<20),
	} {
		_, err := pki.ParseToken(text)
		if !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("ParseToken(%.60q) = %v; want %v", text, err, cluster.ErrInvalid)
		} else if strings.Contains(err.Error(), "abcdefghijklmnopqrstuvwxy") {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(tokenText)
	f.Add("flocker1-..@:")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := pki.ParseToken(text)
		if err != nil {
			return
		}
		again, err := pki.ParseToken(token.Text())
		if err != nil {
			t.Fatalf("ParseToken(%q) is refused when written again: %v", text, err)
		}
		if diff := cmp.Diff(token, again); diff != "" {
			t.Error(diff)
		}
	})
}
