// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"

	"github.com/flocker-project/flocker/internal/run"
)

const (
	hubDomain = "docker.io"
	// hubServer is what Docker calls its own registry in config.json.
	hubServer = "https://index.docker.io/v1/"
	// tokenUser is what a credential helper answers as the user when the secret is an identity token.
	tokenUser = "<token>"
)

// dockerConfig is the part of Docker's config.json that holds credentials.
type dockerConfig struct {
	Auths       map[string]authEntry `json:"auths"`
	CredHelpers map[string]string    `json:"credHelpers"`
	CredsStore  string               `json:"credsStore"`
}

type authEntry struct {
	Auth          string `json:"auth"` // base64 of user:password
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
}

func defaultCredentialsDir() string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/root" // a daemon may have no HOME
	}
	return filepath.Join(home, ".docker")
}

// registryAuth finds the credentials for the image's registry; none is the empty string.
func (e *Engine) registryAuth(ctx context.Context, ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("image name: %w", err)
	}
	config, err := readDockerConfig(filepath.Join(e.config.CredentialsDir, "config.json"))
	if err != nil {
		return "", err
	}
	auth, err := config.credentials(ctx, reference.Domain(named))
	if err != nil || auth == nil {
		return "", err
	}
	return authconfig.Encode(*auth)
}

func readDockerConfig(path string) (dockerConfig, error) {
	var config dockerConfig
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return config, nil
	}
	if err != nil {
		return config, fmt.Errorf("registry credentials: %w", err)
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return config, fmt.Errorf("registry credentials in %s: %w", path, err)
	}
	return config, nil
}

// credentials are a helper's where one is named for the registry, else what the file holds.
func (c dockerConfig) credentials(ctx context.Context, domain string) (*registry.AuthConfig, error) {
	server := serverName(domain)
	if helper := c.helper(domain, server); helper != "" {
		return askHelper(ctx, helper, server)
	}
	entry, ok := c.entry(domain, server)
	if !ok {
		return nil, nil
	}
	auth, err := entry.decode()
	if err != nil {
		return nil, fmt.Errorf("registry credentials for %s: %w", server, err)
	}
	auth.ServerAddress = server
	return auth, nil
}

// entry prefers the key as Docker writes it to other spellings of the same registry.
func (c dockerConfig) entry(domain, server string) (authEntry, bool) {
	if entry, ok := c.Auths[server]; ok {
		return entry, true
	}
	for _, key := range slices.Sorted(maps.Keys(c.Auths)) {
		if bareDomain(key) == domain {
			return c.Auths[key], true
		}
	}
	return authEntry{}, false
}

func (c dockerConfig) helper(domain, server string) string {
	for _, key := range []string{domain, server} {
		if helper := c.CredHelpers[key]; helper != "" {
			return helper
		}
	}
	return c.CredsStore
}

func (a authEntry) decode() (*registry.AuthConfig, error) {
	auth := &registry.AuthConfig{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken}
	if a.Auth == "" {
		return auth, nil
	}
	text, err := base64.StdEncoding.DecodeString(a.Auth)
	if err != nil {
		return nil, errors.New("field auth is not base64") // the cause could show a part of the secret
	}
	user, password, ok := strings.Cut(strings.TrimRight(string(text), "\x00"), ":")
	if !ok {
		return nil, errors.New("field auth is not user:password")
	}
	auth.Username, auth.Password = user, password
	return auth, nil
}

// askHelper asks one of Docker's credential helpers; that it knows nothing is no error.
func askHelper(ctx context.Context, helper, server string) (*registry.AuthConfig, error) {
	program := "docker-credential-" + helper
	command := run.Command(ctx, program, "get")
	command.Stdin = strings.NewReader(server)
	out, err := command.Output()
	if err != nil {
		if bytes.Contains(out, []byte("credentials not found")) {
			return nil, nil
		}
		return nil, fmt.Errorf("registry credentials for %s: %w", server, err)
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, fmt.Errorf("registry credentials for %s: %s did not answer in JSON", server, program)
	}
	if answer.Username == tokenUser {
		return &registry.AuthConfig{IdentityToken: answer.Secret, ServerAddress: server}, nil
	}
	return &registry.AuthConfig{Username: answer.Username, Password: answer.Secret, ServerAddress: server}, nil
}

func serverName(domain string) string {
	if domain == hubDomain {
		return hubServer
	}
	return domain
}

// bareDomain is the registry of a key such as "https://registry.example.com/v1/".
func bareDomain(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	key, _, _ = strings.Cut(key, "/")
	if key == "index."+hubDomain {
		return hubDomain
	}
	return key
}
