// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"github.com/flocker-project/flocker/cluster"
)

// tokenPrefix is also the version of the form.
const tokenPrefix = "flocker1-"

// Lengths in bytes before encoding.
const (
	tokenIDLength     = 5
	tokenSecretLength = 20
	tokenPinLength    = 16
)

// Limits of what is read, so that a mistaken paste stays cheap.
const (
	maxTokenLength    = 4096
	maxTokenEndpoints = 16
)

// Token lets whoever holds it make a host a node of the cluster.
type Token struct {
	ID        string
	Secret    string
	Pin       string   // of the cluster's authority
	Endpoints []string // host:port of the API
}

func newToken(pin string, endpoints []string) (Token, error) {
	if err := checkEndpoints(endpoints); err != nil {
		return Token{}, err
	}
	random := make([]byte, tokenIDLength+tokenSecretLength)
	rand.Read(random) // never fails: it ends the process instead
	e := tokenEncoding()
	return Token{
		ID:        e.EncodeToString(random[:tokenIDLength]),
		Secret:    e.EncodeToString(random[tokenIDLength:]),
		Pin:       pin,
		Endpoints: endpoints,
	}, nil
}

// Text is the token as it is handed to a person. It holds the secret.
func (t Token) Text() string {
	return tokenPrefix + t.ID + "." + t.Secret + "." + t.Pin + "@" + strings.Join(t.Endpoints, ",")
}

// String leaves the secret out.
func (t Token) String() string { return tokenPrefix + t.ID }

// LogValue leaves the secret out.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// ParseToken reads what Text wrote. Its errors never repeat the token.
func ParseToken(text string) (Token, error) {
	if len(text) > maxTokenLength {
		return Token{}, badToken("longer than %d characters", maxTokenLength)
	}
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), tokenPrefix)
	if !ok {
		return Token{}, badToken("it does not begin with %s", tokenPrefix)
	}
	secrets, endpoints, ok := strings.Cut(rest, "@")
	if !ok {
		return Token{}, badToken("the control service's address after @ is missing")
	}
	parts := strings.Split(secrets, ".")
	if len(parts) != 3 {
		return Token{}, badToken("it has %d parts before @, not 3; was it cut?", len(parts))
	}
	for i, length := range []int{tokenIDLength, tokenSecretLength, tokenPinLength} {
		if decoded, err := tokenEncoding().DecodeString(parts[i]); err != nil || len(decoded) != length {
			return Token{}, badToken("part %d before @ is damaged; was it cut?", i+1)
		}
	}
	t := Token{ID: parts[0], Secret: parts[1], Pin: parts[2], Endpoints: strings.Split(endpoints, ",")}
	return t, checkEndpoints(t.Endpoints)
}

func badToken(format string, args ...any) error {
	return fmt.Errorf("join token: %w: %s", cluster.ErrInvalid, fmt.Sprintf(format, args...))
}

func checkEndpoints(endpoints []string) error {
	if len(endpoints) == 0 || len(endpoints) > maxTokenEndpoints {
		return badToken("%d control addresses; 1 to %d are possible", len(endpoints), maxTokenEndpoints)
	}
	for _, endpoint := range endpoints {
		host, port, err := net.SplitHostPort(endpoint)
		number, bad := strconv.ParseUint(port, 10, 16)
		if err != nil || bad != nil || number == 0 || host == "" || strings.ContainsAny(endpoint, " ,@/\t\r\n\"'\\") {
			return badToken("control address %q is not host:port", endpoint)
		}
	}
	return nil
}

// hashSecret needs no slow hash: the secret is 160 random bits.
func hashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}
