// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
)

// registry is a private one on this machine, with one image, "image:1".
type registry struct {
	host     string
	blobs    map[string][]byte
	manifest []byte
}

const (
	registryUser     = "user"
	registryPassword = "pass:word"
	manifestType     = "application/vnd.docker.distribution.manifest.v2+json"
)

func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{blobs: map[string][]byte{}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	r.addImage(t)
	return r
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (r *registry) addImage(t *testing.T) {
	t.Helper()
	var layer, packed bytes.Buffer
	files := tar.NewWriter(&layer)
	content := []byte(r.host)
	header := &tar.Header{Name: "file", Mode: 0o644, Size: int64(len(content))}
	if err := errors.Join(files.WriteHeader(header), writeAll(files, content), files.Close()); err != nil {
		t.Fatal(err)
	}
	zip := gzip.NewWriter(&packed)
	if err := errors.Join(writeAll(zip, layer.Bytes()), zip.Close()); err != nil {
		t.Fatal(err)
	}
	config := encode(t, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer.Bytes())}},
	})
	r.blobs[digest(config)], r.blobs[digest(packed.Bytes())] = config, packed.Bytes()
	r.manifest = encode(t, map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": blob("application/vnd.docker.container.image.v1+json", config),
		"layers": []any{blob("application/vnd.docker.image.rootfs.diff.tar.gzip", packed.Bytes())},
	})
}

func blob(mediaType string, b []byte) map[string]any {
	return map[string]any{"mediaType": mediaType, "size": len(b), "digest": digest(b)}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	user, password, _ := q.BasicAuth()
	if user != registryUser || password != registryPassword {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	path := q.URL.Path
	content := r.blobs[path[strings.LastIndex(path, "/")+1:]]
	switch {
	case path == "/v2/":
		return
	case path == "/v2/image/manifests/1" || path == "/v2/image/manifests/"+digest(r.manifest):
		w.Header().Set("Content-Type", manifestType)
		w.Header().Set("Docker-Content-Digest", digest(r.manifest))
		content = r.manifest
	case content == nil:
		w.WriteHeader(http.StatusNotFound)
		content = []byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`)
	}
	_, _ = w.Write(content) // a client that has gone away is no concern of ours
}
