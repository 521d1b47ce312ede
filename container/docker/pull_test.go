// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/container/docker"
)

// puller is an engine with credentials as Docker's own client keeps them, HOST standing for the registry, and two credential helpers.
func puller(t *testing.T, r *registry, credentials string) *docker.Engine {
	t.Helper()
	c := config(t.TempDir())
	c.CredentialsDir = t.TempDir()
	for file, text := range map[string]string{
		"config.json": strings.ReplaceAll(credentials, "HOST", r.host),
		"docker-credential-flockertest": "#!/bin/sh\nread server\n[ \"$server\" = " + r.host + " ] || exit 1\n" +
			`echo '{"ServerURL":"x","Username":"` + registryUser + `","Secret":"` + registryPassword + `"}'`,
		"docker-credential-flockertest-broken": "#!/bin/sh\necho " + registryPassword,
	} {
		if err := os.WriteFile(filepath.Join(c.CredentialsDir, file), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", c.CredentialsDir+":"+os.Getenv("PATH"))
	return engineWith(t, c)
}

func secret() string {
	return base64.StdEncoding.EncodeToString([]byte(registryUser + ":" + registryPassword))
}

func TestPullWithCredentials(t *testing.T) {
	for name, credentials := range map[string]string{
		"base64":         `{"auths":{"HOST":{"auth":"` + secret() + `"}}}`,
		"user":           `{"auths":{"HOST":{"username":"user","password":"pass:word"}}}`,
		"old spelling":   `{"auths":{"https://example.com":{"auth":"!"},"http://HOST/v1/":{"auth":"` + secret() + `"}}}`,
		"other settings": `{"HttpHeaders":{"a":"b"},"auths":{"HOST":{"auth":"` + secret() + `","email":"x"}}}`,
		"helper":         `{"credHelpers":{"HOST":"flockertest"},"auths":{"HOST":{}}}`,
		"helper for all": `{"credsStore":"flockertest"}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			e := puller(t, r, credentials)
			ref := r.host + "/image:1"
			if err := e.Pull(t.Context(), ref); err != nil {
				t.Fatalf("Pull() = %v", err)
			}
			t.Cleanup(func() {
				if _, err := shared.api.ImageRemove(context.Background(), ref, client.ImageRemoveOptions{}); err != nil { //nolint:usetesting // the test's own context has ended
					t.Error(err)
				}
			})
			if _, _, err := e.HasImage(t.Context(), ref); err != nil {
				t.Errorf("HasImage() after Pull() = %v", err)
			}
			if err := e.Pull(t.Context(), r.host+"/image:absent"); !errors.Is(err, container.ErrImageMissing) {
				t.Errorf("Pull(absent) = %v; want ErrImageMissing", err)
			}
		})
	}
}

func TestPullSaysWhatIsWrongWithCredentials(t *testing.T) {
	for name, c := range map[string]struct{ credentials, says string }{
		"none":             {`{}`, "image:1"},
		"wrong":            {`{"auths":{"HOST":{"username":"user","password":"wrong"}}}`, "image:1"},
		"not base64":       {`{"auths":{"HOST":{"auth":"!` + secret() + `"}}}`, "not base64"},
		"not a pair":       {`{"auths":{"HOST":{"auth":"dXNlcg=="}}}`, "not user:password"},
		"not JSON":         {`auths`, "config.json"},
		"no such helper":   {`{"credsStore":"flockertest-absent"}`, "docker-credential-flockertest-absent"},
		"a broken helper":  {`{"credsStore":"flockertest-broken"}`, "did not answer in JSON"},
		"a failing helper": {`{"credHelpers":{"index.example":"x"},"credsStore":"flockertest-absent"}`, "not installed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			err := puller(t, r, c.credentials).Pull(t.Context(), r.host+"/image:1")
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("Pull() = %v; want an error that says %q", err, c.says)
			}
			if strings.Contains(err.Error(), secret()) || strings.Contains(err.Error(), registryPassword) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}
