// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control"
	"github.com/flocker-project/flocker/pki"
)

// userHandler serves a stage's API to an administrator without TLS.
func (s *stage) userHandler() http.Handler {
	admin := func(*http.Request) (pki.Identity, error) {
		return pki.Identity{Kind: pki.KindUser, User: "admin", Role: pki.RoleAdmin}, nil
	}
	return api.UserHandler(api.Services{
		Datasets: s.service, Snapshots: s.service, Schedules: s.service, Applications: s.service, Moves: s.service, Leases: s.service, Nodes: s.service,
		Overview: s.service, Recovery: s.service, Joining: control.Joining{},
	}, admin, quiet())
}

func ask(h http.Handler, method, path, body string) (int, string) {
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req := httptest.NewRequestWithContext(context.Background(), method, path, r)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

func TestTheDescriptionIsCurrent(t *testing.T) {
	t.Parallel()
	got, err := api.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	const kept = "../api/openapi.json"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(kept, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(indented.Bytes(), want) {
		t.Error("api/openapi.json is not what the code describes; run UPDATE=1 go test ./control -run TestTheDescriptionIsCurrent")
	}
	s := newStage(t)
	if code, body := ask(s.userHandler(), "GET", "/v2/openapi.json", ""); code != 200 || !json.Valid([]byte(body)) {
		t.Errorf("served: %d", code)
	}
}

func TestBadRequestsAreRefusedWithTheirFieldAndChangeNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	h := s.userHandler()
	before := s.revision()
	for _, c := range []struct {
		method, path, body string
		code               int
		says               string
	}{
		{"POST", "/v2/datasets", `{"name":"x","node":"a","colour":"red"}`, 422, "colour"},
		{"POST", "/v2/datasets", `{"name":"x","node":"a","size":-1}`, 422, "size"},
		{"POST", "/v2/datasets", `{"name":"x","node":"a","size":1e99}`, 422, "size"},
		{"POST", "/v2/datasets", `{"name":"x","node":"a","size":"big"}`, 422, "size"},
		{"POST", "/v2/datasets", `{"name":"../x","node":"a"}`, 422, "name"},
		{"POST", "/v2/datasets", `{"name":"x","node":"nowhere"}`, 404, "there are a"},
		{"POST", "/v2/datasets", `{`, 400, ""},
		{"POST", "/v2/datasets", `[]`, 422, ""},
		{"POST", "/v2/datasets", ``, 400, ""},
		{"POST", "/v2/datasets?force=yes", `{"name":"x","node":"a"}`, 422, "force"},
		{"POST", "/v2/deploy", `{"applications":[{"name":"x","image":"y","node":"a","volumes":[{"dataset":"nope","mountpoint":"/d"}]}]}`, 404, "nope"},
		{"POST", "/v2/deploy", `{"applications":[{"name":"x","image":"y","node":"a","ports":[{"internal":70000,"external":1}]}]}`, 422, "ports[0]"},
		{"POST", "/v2/deploy", `{"applications":[{"name":"x/y","image":"y","node":"a"}]}`, 422, "name"},
		{"POST", "/v2/deploy", `{"applications":[{"name":"x","image":"y","node":"a","volumes":[{"dataset":"d","mountpoint":"/a/../../etc"}]}],"datasets":[{"name":"d"}]}`, 422, "mountpoint"},
		{"POST", "/v2/moves", `{"application":"x","node":"a","mode":"fast"}`, 422, "mode"},
		{"POST", "/v2/moves", `{"application":"x","node":"a"}`, 404, "x"},
		{"POST", "/v2/moves", `{"node":"a"}`, 422, ""},
		{"POST", "/v2/snapshots", `{"name":"x"}`, 422, "dataset"},
		{"POST", "/v2/snapshots", `{"dataset":"d","application":"a"}`, 422, "application"},
		{"POST", "/v2/snapshots", `{"dataset":"nope"}`, 404, "nope"},
		{"POST", "/v2/snapshots", `{"application":"nope"}`, 404, "nope"},
		{"POST", "/v2/snapshots", `{"dataset":"d","name":"a/b"}`, 422, "name"},
		{"POST", "/v2/snapshots", `{"dataset":"d","id":"../x"}`, 422, "id"},
		{"GET", "/v2/datasets/nope/snapshots", ``, 404, "nope"},
		{"DELETE", "/v2/datasets/nope/snapshots/x", ``, 404, "nope"},
		{"POST", "/v2/datasets/nope/clones", `{"name":"x"}`, 404, "nope"},
		{"POST", "/v2/datasets/nope/rollback", `{"snapshot":"x"}`, 404, "nope"},
		{"GET", "/v2/moves/..%2f..%2fmeta", ``, 404, ""},
		{"GET", "/v2/datasets/%00", ``, 404, ""},
		{"GET", "/v2/events?since=-1", ``, 422, "since"},
		{"GET", "/v2/nothing", ``, 404, ""},
		{"POST", "/v2/datasets", `{"name":"` + strings.Repeat("x", 10<<20) + `"}`, 413, ""},
		{"POST", "/v1/configuration/datasets", `{"metadata":{"a":"` + strings.Repeat("x", 10<<20) + `"}}`, 413, ""},
		{"POST", "/v1/configuration/datasets", `{"primary":5}`, 400, "primary"},
		{"POST", "/v1/configuration/containers", `{"name":"x"}`, 400, "node_uuid"},
		{"POST", "/v2/nodes/a/fence", `{}`, 422, "is_off"},
		{"POST", "/v2/tokens", `{}`, 412, "key"},
	} {
		code, body := ask(h, c.method, c.path, c.body)
		if code != c.code || !strings.Contains(body, c.says) {
			t.Errorf("%s %s %.90s: got %d %.300s; want %d saying %q", c.method, c.path, c.body, code, body, c.code, c.says)
		}
	}
	if after := s.revision(); after != before {
		t.Errorf("the store went from %d to %d", before, after)
	}
}

func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		`{"name":"x","node":"a","size":1}`,
		`{"applications":[{"name":"x","image":"y","node":"a","ports":[{"internal":1,"external":2}],"health":{"command":["true"],"interval":"1s"}}],"datasets":[{"name":"d"}],"prune":true}`,
		`{"application":"x","node":"b","mode":"restart","options":{"gap_budget":"-1s"}}`,
		`{"primary":"11111111-1111-4111-8111-111111111111","maximum_size":67108864,"metadata":{"name":"v"}}`,
		`{"id":"a","secret":"b","csr":"c"}`, `null`, `[[[[`, `{"size":99999999999999999999}`, "\x00",
	} {
		f.Add(seed, "x")
	}
	var s *stage
	f.Fuzz(func(t *testing.T, body, name string) {
		if s == nil {
			s = newStage(t, "a", "b")
		}
		h := s.userHandler()
		for _, path := range []string{
			"/v2/datasets", "/v2/snapshots", "/v2/deploy", "/v2/moves", "/v2/preflight", "/v2/fail-overs", "/v2/tokens", "/v2/join", "/v2/nodes/a/fence",
			"/v1/configuration/datasets", "/v1/configuration/containers",
			"/v1/configuration/datasets/" + url.PathEscape(name), "/v1/configuration/containers/" + url.PathEscape(name), "/v2/moves/" + url.PathEscape(name) + "/cancel",
		} {
			if code, answer := ask(h, "POST", path, body); code >= 500 && code != http.StatusServiceUnavailable {
				t.Errorf("POST %s %q: %d %s", path, body, code, answer)
			}
		}
	})
}

func TestV1ShapesOfTheOriginal(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	h := s.userHandler()
	a, b := string(s.actors["a"].id), string(s.actors["b"].id)
	const id = "22222222-2222-4222-8222-222222222222"
	for _, c := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", "/v1/version", "", 200, `{"flocker":"test"}`},
		{"GET", "/v1/configuration/datasets", "", 200, `[]`},
		{
			"POST", "/v1/configuration/datasets", `{"primary":"` + a + `","dataset_id":"` + id + `","maximum_size":67108864,"metadata":{"name":"vol"}}`, 201,
			`{"dataset_id":"` + id + `","primary":"` + a + `","deleted":false,"metadata":{"name":"vol"},"maximum_size":67108864}`,
		},
		{"POST", "/v1/configuration/datasets", `{"primary":"` + a + `","dataset_id":"` + id + `"}`, 409, ""},
		{"POST", "/v1/configuration/datasets", `{"primary":"` + a + `","maximum_size":1}`, 400, ""},
		{"POST", "/v1/configuration/datasets/" + id, `{}`, 200, ""},
		{"POST", "/v1/configuration/datasets/" + id, ``, 400, ""},
		{"POST", "/v1/configuration/datasets/33333333-3333-4333-8333-333333333333", `{}`, 404, `{"description":"Dataset not found."}`},
		{"GET", "/v1/state/datasets", "", 200, `[]`},
		{
			"POST", "/v1/configuration/containers", `{"node_uuid":"` + a + `","name":"web","image":"nginx","ports":[{"internal":80,"external":8080}],"volumes":[{"dataset_id":"` + id + `","mountpoint":"/data"}]}`, 201,
			`{"node_uuid":"` + a + `","name":"web","image":"nginx:latest","ports":[{"internal":80,"external":8080}],"restart_policy":{"name":"never"},"volumes":[{"dataset_id":"` + id + `","mountpoint":"/data"}]}`,
		},
		{"POST", "/v1/configuration/containers", `{"node_uuid":"` + a + `","name":"web","image":"nginx"}`, 409, ""},
		{"POST", "/v1/configuration/containers", `{"node_uuid":"` + a + `","name":"two","image":"x","volumes":[{"dataset_id":"` + uuid.NewString() + `","mountpoint":"/d"}]}`, 404, ""},
		{"POST", "/v1/configuration/containers", `{"node_uuid":"` + b + `","name":"two","image":"x","volumes":[{"dataset_id":"` + id + `","mountpoint":"/d"}]}`, 409, ""},
		{"POST", "/v1/configuration/containers", `{"node_uuid":"` + a + `","name":"two","image":"x","links":[{"alias":"a","local_port":1,"remote_port":2},{"alias":"A","local_port":2,"remote_port":2}]}`, 409, ""},
		{"POST", "/v1/configuration/datasets/" + id, `{"primary":"` + b + `"}`, 409, ""},
		{"DELETE", "/v1/configuration/datasets/" + id, "", 409, ""},
		{"GET", "/v1/state/containers", "", 200, `[]`},
		{"POST", "/v1/configuration/containers/web", `{"node_uuid":"` + b + `"}`, 200, ""},
		{"GET", "/v1/configuration/containers", "", 200, `[{"node_uuid":"` + b + `","name":"web","image":"nginx:latest","ports":[{"internal":80,"external":8080}],"restart_policy":{"name":"never"},"volumes":[{"dataset_id":"` + id + `","mountpoint":"/data"}]}]`},
		{"DELETE", "/v1/configuration/containers/web", "", 200, `null`},
		{"DELETE", "/v1/configuration/containers/web", "", 404, `{"description":"Container not found."}`},
		{"GET", "/v1/state/nodes/by_era/boot-9", "", 404, ""},
		{"PUT", "/v1/version", "", 405, ""},
	} {
		code, body := ask(h, c.method, c.path, c.body)
		if code != c.code || (c.want != "" && strings.TrimSpace(body) != c.want) {
			t.Errorf("%s %s %s\ngot  %d %swant %d %s", c.method, c.path, c.body, code, body, c.code, c.want)
		}
	}
}

func TestAHostJoinsWithATokenAndWithoutACertificate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token, err := f.user("alice", pki.RoleAdmin).CreateToken(t.Context(), api.TokenRequest{Endpoints: []string{f.users}})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := pki.ParseToken(token.Token)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	csr, err := pki.RequestNode(dir, pki.NodeName)
	if err != nil {
		t.Fatal(err)
	}
	join := func(secret string) (api.JoinReply, int) {
		client := http.Client{Transport: &http.Transport{TLSClientConfig: pki.PinnedTLS(parsed.Pin)}}
		defer client.CloseIdleConnections()
		body, err := json.Marshal(api.JoinRequest{ID: parsed.ID, Secret: secret, CSR: string(csr), Name: "n", Address: "127.0.0.1"})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+f.users+"/v2/join", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var reply api.JoinReply
		_ = json.NewDecoder(resp.Body).Decode(&reply) // a refusal has another shape
		return reply, resp.StatusCode
	}
	if _, code := join("wrong"); code != http.StatusForbidden {
		t.Errorf("a wrong secret got %d", code)
	}
	reply, code := join(parsed.Secret)
	if code != http.StatusCreated {
		t.Fatalf("got %d", code)
	}
	files := pki.FilesIn(dir, pki.NodeName)
	if err := errors.Join(os.WriteFile(files.CA, []byte(reply.CA), 0o600), os.WriteFile(files.Cert, []byte(reply.Certificate), 0o600)); err != nil {
		t.Fatal(err)
	}
	creds, err := pki.LoadFiles(files)
	if err != nil {
		t.Fatal(err)
	}
	c := api.NewAgentClient([]string{f.agents}, pki.ClientTLS(creds, pki.ExpectControl()))
	defer c.Close()
	session, err := c.OpenSession(t.Context(), api.SessionRequest{Name: "n", Address: "127.0.0.1", AgentAddress: "127.0.0.1:1", BootID: "b", Protocol: cluster.ProtocolVersion, Process: "p"})
	if err != nil || session.Node != reply.Node {
		t.Errorf("got %+v, %v", session, err)
	}
}
