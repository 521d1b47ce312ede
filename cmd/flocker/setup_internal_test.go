// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// call runs a command as the command line would.
func callCommand(t *testing.T, cmd *cobra.Command, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SilenceUsage = true
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// contents are all files under dir.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// host is the folders of one.
type host struct{ dir, config, user string }

func newHost(t *testing.T) host {
	dir := t.TempDir()
	return host{dir: dir, config: filepath.Join(dir, "etc"), user: filepath.Join(dir, "user")}
}

func (h host) init(t *testing.T, more ...string) (string, error) {
	t.Helper()
	args := append([]string{"--no-start", "--address", "127.0.0.1", "--config-dir", h.config, "--user-config-dir", h.user}, more...)
	return callCommand(t, newInitCommand(), args...)
}

func TestInitMakesEverythingOnce(t *testing.T) {
	h := newHost(t)
	if out, err := h.init(t, "--name", "prod", "--backend-option", "size=10"); err != nil {
		t.Fatal(err, out)
	}
	for _, name := range []string{pki.ControlName, pki.NodeName} {
		if _, err := pki.LoadCredentials(h.config, name); err != nil {
			t.Error(err)
		}
	}
	user, err := readUserConfig(h.user)
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := pki.LoadCredentials(user.Certificates, pki.UserName)
	if err != nil {
		t.Fatal(err)
	}
	if id := credentials.Identity(); id.Role != pki.RoleAdmin || user.Control[0] != "127.0.0.1:4523" {
		t.Errorf("user %+v at %v; want an administrator at 127.0.0.1:4523", id, user.Control)
	}
	agent, err := readAgentConfig(filepath.Join(h.config, "agent.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var options struct{ Size int }
	if err := agent.Dataset.options(&options); err != nil || options.Size != 10 || agent.Dataset.kind() != "btrfs" ||
		agent.endpoints()[0] != "127.0.0.1:4524" || agent.Node != (nodeConfig{"prod", "127.0.0.1"}) {
		t.Errorf("agent.yml %+v with %+v, %v", agent, options, err)
	}

	before := contents(t, h.dir)
	out, err := h.init(t, "--name", "prod")
	if err != nil || !strings.Contains(out, "Nothing to do") {
		t.Errorf("init again: %v: %s", err, out)
	}
	if after := contents(t, h.dir); !maps.Equal(before, after) {
		t.Errorf("init again changed files: %v", after)
	}
}

func TestInitAddsWhatIsMissing(t *testing.T) {
	h := newHost(t)
	if _, err := h.init(t, "--control-only"); err != nil {
		t.Fatal(err)
	}
	before := contents(t, h.dir)
	for path := range before {
		if strings.HasSuffix(path, "node.crt") || strings.HasSuffix(path, "agent.yml") {
			t.Errorf("--control-only made %s", path)
		}
	}
	if _, err := h.init(t); err != nil {
		t.Fatal(err)
	}
	after := contents(t, h.dir)
	for path, text := range before {
		if after[path] != text {
			t.Errorf("%s was changed", path)
		}
	}
	if len(after) != len(before)+3 {
		t.Errorf("files %v; want node.crt, node.key and agent.yml more", after)
	}
}

func TestInitRefusesWhatItCannotMend(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(h host) error
		args   []string
		want   error
	}{
		{"authority's key elsewhere", func(h host) error { return os.Remove(filepath.Join(h.config, "cluster.key")) }, nil, pki.ErrNoAuthorityKey},
		{"half a pair", func(h host) error { return os.Remove(filepath.Join(h.config, "node.key")) }, nil, cluster.ErrPrecondition},
		{"broken agent.yml", func(h host) error {
			return os.WriteFile(filepath.Join(h.config, "agent.yml"), []byte("version: 7\n"), 0o600)
		}, nil, cluster.ErrInvalid},
		{"user of another cluster", func(h host) error {
			other, err := pki.CreateAuthority("other")
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(h.user, "cluster.crt"), other.CertificatePEM(), 0o600)
		}, nil, cluster.ErrExists},
		{"bad address", func(host) error { return nil }, []string{"--address", "here"}, cluster.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			if _, err := h.init(t); err != nil {
				t.Fatal(err)
			}
			if err := tt.damage(h); err != nil {
				t.Fatal(err)
			}
			before := contents(t, h.dir)
			if _, err := h.init(t, tt.args...); !errors.Is(err, tt.want) {
				t.Errorf("init = %v; want %v", err, tt.want)
			}
			if !maps.Equal(before, contents(t, h.dir)) {
				t.Error("a refused init changed files")
			}
		})
	}
}

// tokens are a store for one test.
type tokens struct {
	mu      sync.Mutex
	records map[string]pki.TokenRecord
}

func (s *tokens) CreateToken(_ context.Context, record pki.TokenRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[record.ID] = record
	return nil
}

func (s *tokens) UpdateToken(_ context.Context, id string, change func(*pki.TokenRecord) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	record, ok := s.records[id]
	if !ok {
		return cluster.ErrNotFound
	}
	if err := change(&record); err != nil {
		return err
	}
	s.records[id] = record
	return nil
}

// serve answers for tokens and joins over real TLS as the host that init set up, and gives the address.
func serve(t *testing.T, h host, lose func() bool) string {
	t.Helper()
	credentials, err := pki.LoadCredentials(h.config, pki.ControlName)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := pki.LoadAuthority(h.config)
	if err != nil {
		t.Fatal(err)
	}
	joiner := &pki.Joiner{Authority: authority, Tokens: &tokens{records: map[string]pki.TokenRecord{}}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v2/tokens", func(w http.ResponseWriter, r *http.Request) {
		var in api.TokenRequest
		id, err := pki.IdentityOf(*r.TLS)
		if err = errors.Join(err, json.NewDecoder(r.Body).Decode(&in)); err != nil || !id.Role.Includes(pki.RoleAdmin) {
			problem(t, w, errors.Join(cluster.ErrForbidden, err))
			return
		}
		token, record, err := joiner.CreateToken(r.Context(), pki.TokenSpec{TTL: in.TTL.Std(), Uses: in.Uses, Endpoints: in.Endpoints})
		if err != nil {
			problem(t, w, err)
			return
		}
		answer(t, w, api.Token{Token: token.Text(), Expires: record.Expires, Uses: record.Uses})
	})
	mux.HandleFunc("POST /v2/join", func(w http.ResponseWriter, r *http.Request) {
		var in api.JoinRequest
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		joined, err := joiner.Join(r.Context(), in.ID, in.Secret, []byte(in.CSR))
		switch {
		case err != nil:
			problem(t, w, err)
		case lose():
			panic(http.ErrAbortHandler)
		default:
			answer(t, w, api.JoinReply{Node: joined.Node, Certificate: string(joined.CertPEM), CA: string(joined.CAPEM)})
		}
	})
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	refusals := pki.NewRefusals(slog.New(slog.DiscardHandler))
	served := make(chan error)
	go func() {
		served <- server.Serve(pki.Listen(inner, pki.ServerTLS(credentials, pki.ServerOptions{Anonymous: true}), refusals.Handshake))
	}()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})

	config := userConfig{Version: 1, Control: []string{inner.Addr().String()}}
	text, err := config.encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.user, userConfigFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return inner.Addr().String()
}

func problem(t *testing.T, w http.ResponseWriter, err error) {
	p := api.ProblemOf(err)
	w.WriteHeader(p.Status)
	answer(t, w, p)
}

func answer(t *testing.T, w io.Writer, what any) {
	if err := json.NewEncoder(w).Encode(what); err != nil {
		t.Error(err)
	}
}

func never() bool { return false }

func newToken(t *testing.T, h host, more ...string) string {
	t.Helper()
	out, err := callCommand(t, newTokenCommand(), append([]string{"create", "--user-config-dir", h.user}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func joinHost(t *testing.T, h host, token string, more ...string) (string, error) {
	t.Helper()
	return callCommand(t, newJoinCommand(), append([]string{token, "--no-start", "--config-dir", h.config, "--name", "node2"}, more...)...)
}

func TestJoinWithOneCommand(t *testing.T) {
	control, node := newHost(t), newHost(t)
	if _, err := control.init(t, "--control-only"); err != nil {
		t.Fatal(err)
	}
	serve(t, control, never)
	text := newToken(t, control)
	if out, err := joinHost(t, node, text); err != nil {
		t.Fatal(err, out)
	}
	credentials, err := pki.LoadCredentials(node.config, pki.NodeName)
	if err != nil {
		t.Fatal(err)
	}
	if id := credentials.Identity(); id.Kind != pki.KindNode {
		t.Errorf("joined as %+v; want a node", id)
	}
	agent, err := readAgentConfig(filepath.Join(node.config, "agent.yml"))
	if err != nil || agent.endpoints()[0] != "127.0.0.1:4524" || agent.Node != (nodeConfig{"node2", "127.0.0.1"}) {
		t.Errorf("agent.yml %+v, %v", agent, err)
	}

	before := contents(t, node.dir)
	if out, err := joinHost(t, node, text); err != nil || !strings.Contains(out, "Nothing to do") {
		t.Errorf("join again: %v: %s", err, out)
	}
	if !maps.Equal(before, contents(t, node.dir)) {
		t.Error("join again changed files")
	}
	if _, err := joinHost(t, newHost(t), text); !errors.Is(err, cluster.ErrForbidden) || !strings.Contains(err.Error(), "used up") {
		t.Errorf("a second host with the same token: %v; want %v", err, pki.ErrTokenUsed)
	}
}

// The answer is lost after the token was used: the same command, run again, ends what was begun.
func TestJoinAfterALostAnswer(t *testing.T) {
	control, node := newHost(t), newHost(t)
	if _, err := control.init(t, "--control-only"); err != nil {
		t.Fatal(err)
	}
	lost := 0
	serve(t, control, func() bool { lost++; return lost == 1 })
	text := newToken(t, control)
	if _, err := joinHost(t, node, text); err == nil {
		t.Fatal("the answer was not lost")
	}
	if _, err := joinHost(t, node, text); err != nil {
		t.Errorf("join again: %v", err)
	}
}

func TestJoinTakesTheNextAddress(t *testing.T) {
	control, node := newHost(t), newHost(t)
	if _, err := control.init(t, "--control-only"); err != nil {
		t.Fatal(err)
	}
	address := serve(t, control, never)
	if _, err := joinHost(t, node, newToken(t, control, "--endpoint", "127.0.0.1:1,"+address)); err != nil {
		t.Errorf("join = %v", err)
	}
}

func TestJoinNeverSendsItsSecretToAnotherCluster(t *testing.T) {
	control, other, node := newHost(t), newHost(t), newHost(t)
	for _, h := range []host{control, other} {
		if _, err := h.init(t, "--control-only"); err != nil {
			t.Fatal(err)
		}
	}
	ours := serve(t, control, never)
	theirs := serve(t, other, func() bool { t.Error("the request reached another cluster"); return false })
	text := strings.Replace(newToken(t, control), ours, theirs, 1)
	if _, err := joinHost(t, node, text); !errors.Is(err, pki.ErrForeign) {
		t.Errorf("join = %v; want %v", err, pki.ErrForeign)
	}
	if _, err := os.Stat(filepath.Join(node.config, "node.crt")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("node.crt: %v", err)
	}
}

func TestJoinOfANodeOfAnotherClusterIsRefused(t *testing.T) {
	control, other := newHost(t), newHost(t)
	for _, h := range []host{control, other} {
		if _, err := h.init(t); err != nil {
			t.Fatal(err)
		}
	}
	serve(t, control, never)
	before := contents(t, other.config)
	if _, err := joinHost(t, other, newToken(t, control)); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("join = %v; want %v", err, cluster.ErrConflict)
	}
	if !maps.Equal(before, contents(t, other.config)) {
		t.Error("a refused join changed files")
	}
}

func TestTokenFromStandardInput(t *testing.T) {
	want, err := pki.ParseToken("flocker1-abcdefgh.abcdefghijklmnopqrstuvwxyz234567.abcdefghijklmnopqrstuvwxya@a:1")
	if err != nil {
		t.Fatal(err)
	}
	got, err := readToken("-", strings.NewReader("  "+want.Text()+"\n"))
	if err != nil || got.Text() != want.Text() {
		t.Errorf("readToken = %v, %v", got, err)
	}
}

func TestCAMakesTheOriginalsFiles(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, args := range [][]string{
		{"initialize", "mycluster"},
		{"create-control-certificate", "control.example.com", "10.0.0.1", "--days", "30"},
		{"create-api-certificate", "alice", "--role", "read"},
		{"create-api-certificate", "plugin"},
		{"create-node-certificate"},
	} {
		if out, err := callCommand(t, newCACommand(), args...); err != nil || !strings.Contains(out, "Created") {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	for name, want := range map[string]string{
		"control-control.example.com": "control-service",
		"alice":                       "user-alice",
		"plugin":                      "user-plugin",
	} {
		if c, err := pki.LoadCredentials(dir, name); err != nil || c.Identity().String() != want {
			t.Errorf("%s.crt: %v; want %s", name, err, want)
		}
	}
	if nodes, err := filepath.Glob("????????-*.crt"); err != nil || len(nodes) != 1 {
		t.Errorf("node certificates %v, %v; want one with its UUID as its name", nodes, err)
	}
	if _, err := callCommand(t, newCACommand(), "initialize", "another"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second authority in the folder: %v; want %v", err, fs.ErrExist)
	}
	_, err := callCommand(t, newCACommand(), "create-node-certificate", "-i", t.TempDir())
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "initialize") {
		t.Errorf("without an authority: %v; want the command that makes one", err)
	}
}
