// SPDX-License-Identifier: Apache-2.0

package external_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/block"
	"github.com/flocker-project/flocker/backend/external"
	"github.com/flocker-project/flocker/cluster"
)

const (
	clusterID = "5d6b1e2a-9b7c-4d3e-8f10-2a3b4c5d6e7f"
	dataset   = cluster.DatasetID("0b1c2d3e-0000-4000-8000-000000000001")
	hello     = `{"protocol": 1, "driver": "x", "machine": "node-1"}`
)

// listen makes a socket. Its path is short: t.TempDir's is too long for one.
func listen(t *testing.T) *net.UnixListener {
	t.Helper()
	dir, err := os.MkdirTemp("", "fx") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ln.Close()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return ln
}

// serve runs a driver until the test ends.
func serve(t *testing.T, handle http.HandlerFunc) (socket string) {
	t.Helper()
	ln := listen(t)
	server := &http.Server{Handler: handle, ReadHeaderTimeout: time.Minute}
	done := make(chan error)
	go func() { done <- server.Serve(ln) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// answering is a driver that gives one answer to every call but the greeting.
func answering(t *testing.T, status int, body string) backend.Volumes {
	t.Helper()
	return open(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, hello)
			return
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}), 0)
}

func open(t *testing.T, socket string, timeout time.Duration) backend.Volumes {
	t.Helper()
	store, err := external.Open(t.Context(), external.Config{Socket: socket, Cluster: clusterID, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestAnswersThatAreNotOfTheProtocolAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	v := `{"id": "v", "dataset": "` + string(dataset) + `", "size": 4096`
	for _, c := range []struct{ call, answer, want string }{
		{"list", ``, "want a JSON object"},
		{"list", `null`, "want a JSON object"},
		{"list", `[]`, "want a JSON object"},
		{"list", `{"volumes"`, "unexpected EOF"},
		{"list", `{}`, `"volumes" is missing`},
		{"list", `{"volumes": null}`, `"volumes" is missing`},
		{"list", `{"volumes": []} {}`, "more after the JSON document"},
		{"list", `{"volumes": [], "more": 1}`, `unknown field "more"`},
		{"list", `{"volumes": [], "volumes": []}`, "volumes is there twice"},
		{"list", `{"volumes": [` + v + `, "size": 8192}]}`, "size is there twice"},
		{"attached", `{"devices": {"v": "/dev/x", "v": "/dev/y"}}`, "v is there twice"},
		{"list", `{"volumes": [{}]}`, `id  is not made of`},
		{"list", `{"volumes": [` + v + `}, ` + v + `}]}`, "volume v is listed twice"},
		{"list", `{"volumes": [` + v + `, "machine": "a\nb"}]}`, "machine"},
		{"list", `{"volumes": [` + v + `, "Maschine": "a"}]}`, "unknown field"},
		{"list", `{"volumes": [{"id": "../v", "dataset": "` + string(dataset) + `", "size": 1}]}`, "id ../v"},
		{"list", `{"volumes": [{"id": "v", "dataset": "x", "size": 1}]}`, "no UUID"},
		{"list", `{"volumes": [{"id": "v", "dataset": "` + string(dataset) + `", "size": 0}]}`, "size of 0"},
		{"list", `{"volumes": [{"id": "v", "dataset": "` + string(dataset) + `", "size": -1}]}`, "size of -1"},
		{"list", `{"volumes": [{"id": "v", "dataset": "` + string(dataset) + `", "size": 1e30}]}`, "cannot unmarshal"},
		{"list", strings.Repeat("[", 100_000), "want a JSON object"},
		{"list", `{"volumes": ` + strings.Repeat("[", 100_000), "exceeded max depth"},
		{"create", `{}`, `"volume" is missing`},
		{"create", `{"volume": {"id": "v", "dataset": "0b1c2d3e-0000-4000-8000-000000000002", "size": 4096}}`, "not of " + string(dataset)},
		{"create", `{"volume": {"id": "v", "dataset": "` + string(dataset) + `", "size": 4095}}`, "less than the 4096 asked for"},
		{"create", `{"volume": ` + v + `, "profile": "gold"}}`, `has profile "gold", not ""`},
		{"attach", `{}`, `"device" is missing`},
		{"attach", `{"device": ""}`, "no absolute path"},
		{"attach", `{"device": "sda"}`, "no absolute path"},
		{"attach", `{"device": "/"}`, "no absolute path"},
		{"attach", `{"device": "/dev/../etc/passwd"}`, "no absolute path"},
		{"attach", `{"device": "/dev/\u0000"}`, "no absolute path"},
		{"attach", `{"device": "/dev/null"}`, "no block device"},
		{"attach", `{"device": "` + file + `"}`, "no block device"},
		{"attached", `{}`, `"devices" is missing`},
		{"attached", `{"devices": {"v": "x"}}`, "no absolute path"},
		{"attached", `{"devices": {"a b": "/dev/x"}}`, "id a b"},
		{"attached", `{"devices": {"v": "/dev/x", "w": "/dev/x"}}`, "/dev/x is the device of both v and w"},
		{"detach", ``, "want a JSON object"},
		{"detach", `{"code": "busy"}`, `unknown field "code"`},
	} {
		err := try(t.Context(), answering(t, http.StatusOK, c.answer), c.call)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), ": "+c.call+": ") || len(err.Error()) > 2000 {
			t.Errorf("%s with the answer %.100s = %v; want the call's name and %q", c.call, c.answer, err, c.want)
		}
	}
}

// try calls a method with what does not matter.
func try(ctx context.Context, store backend.Volumes, call string) (err error) {
	v := backend.Volume{ID: "v", Dataset: dataset, Size: 4096}
	switch call {
	case "list":
		_, err = store.List(ctx)
	case "create":
		_, err = store.Create(ctx, backend.Spec{Dataset: dataset, Size: 4096})
	case "attach":
		_, err = store.Attach(ctx, v)
	case "attached":
		_, err = store.Attached(ctx)
	case "detach":
		err = store.Detach(ctx, v)
	}
	return err
}

func TestFailuresAreTheContracts(t *testing.T) {
	for code, want := range map[string]error{
		"not-found": backend.ErrNotFound, "exists": backend.ErrExists, "busy": backend.ErrBusy, "no-space": backend.ErrNoSpace,
		"unsupported": backend.ErrUnsupported, "not-attached": backend.ErrNotAttached, "temporary": backend.ErrTemporary,
		"throttled": backend.ErrThrottled, "invalid": cluster.ErrInvalid,
	} {
		body := fmt.Sprintf(`{"code": %q, "message": "so it is", "machine": "node-2"}`, code)
		err := try(t.Context(), answering(t, http.StatusTeapot, body), "detach")
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "node-2") || !strings.Contains(err.Error(), "so it is") {
			t.Errorf("%s = %v; want %v with the machine and the message", code, err, want)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range external.CodeNames() {
		if !strings.Contains(string(text), "| `"+code+"` |") {
			t.Errorf("%s does not explain the code %s", page, code)
		}
	}
}

func TestAnUnknownFailureIsNoneOfTheContracts(t *testing.T) {
	for body, want := range map[string]string{
		`{"code": "internal", "message": "oh"}`:                "the driver failed: oh",
		`{"code": "\u001b[2J", "message": "\u001b]0;x\u0007"}`: `unknown code "\x1b[2J"`,
		`{"message": "x"}`:         "unknown code",
		`<html>Bad Gateway</html>`: "status 502 (Bad Gateway)",
		`{"code": "busy", "message": "x", "machine": "` + "\\n" + `"}`:  "machine",
		`{"code": "busy", "message": "x", "reason": "y"}`:               "unknown field",
		`{"code": "internal", "message": "` + longText(1<<20+1) + `"}`:  "longer than",
		`{"code": "internal", "message": "` + longText(100_000) + `é"}`: "…",
	} {
		err := try(t.Context(), answering(t, http.StatusBadGateway, body), "detach")
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 4000 || strings.ContainsRune(err.Error(), 0x1b) {
			t.Errorf("%.100s = %v; want %q and nothing that a terminal obeys", body, err, want)
		}
		for _, sentinel := range []error{backend.ErrBusy, backend.ErrNotFound, backend.ErrTemporary} {
			if errors.Is(err, sentinel) {
				t.Errorf("%.100s = %v, which is %v", body, err, sentinel)
			}
		}
	}
}

func longText(n int) string { return strings.Repeat("x", n) }

func TestTheDriverSaysWhenToAskAgain(t *testing.T) {
	for body, want := range map[string]time.Duration{
		`{"code": "throttled", "message": "x", "retry_after_ms": 1500}`:                1500 * time.Millisecond,
		`{"code": "temporary", "message": "x", "retry_after_ms": 9000000000000000000}`: time.Hour,
		`{"code": "temporary", "message": "x", "retry_after_ms": -1}`:                  0,
		`{"code": "busy", "message": "x", "retry_after_ms": 1500}`:                     0,
	} {
		err := try(t.Context(), answering(t, http.StatusServiceUnavailable, body), "detach")
		wait := time.Duration(0)
		if asked, ok := errors.AsType[*backend.RetryAfterError](err); ok {
			wait = asked.Wait
		}
		if err == nil || wait != want {
			t.Errorf("%s = %v, to be asked again after %s; want after %s", body, err, wait, want)
		}
	}
}

func TestGreetingsThatAreRefused(t *testing.T) {
	for body, want := range map[string]string{
		`{}`: `"protocol" is missing`,
		`{"protocol": 2, "driver": "x", "machine": "m"}`:                           "speaks version 2 of the protocol, this program version 1",
		`{"protocol": 1, "machine": "m"}`:                                          `"driver" is missing`,
		`{"protocol": 1, "driver": "x"}`:                                           `"machine" is missing`,
		`{"protocol": 1, "driver": "x", "machine": " \n"}`:                         "machine",
		`{"protocol": 1, "driver": "x", "machine": "m", "abilities": ["fence"]}`:   `ability "fence" without "evict"`,
		`{"protocol": 1, "driver": "x", "machine": "` + longText(300) + `"}`:       "printable characters",
		`{"protocol": 1, "driver": "x", "machine": "m", "abilities": {"evict":1}}`: "cannot unmarshal",
		`{"protocol": 1, "driver": "x", "machine": "m", "profiles": ["a b"]}`:      "profile a b is no name",
		`{"protocol": 1, "driver": "x", "machine": "m", "profiles": ["a", "a"]}`:   "profile a is no name, or is there twice",
	} {
		socket := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
		if _, err := external.Open(t.Context(), external.Config{Socket: socket}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open with the greeting %s = %v; want %q", body, err, want)
		}
	}
}

func TestAbilitiesAreThoseThatTheDriverSaysItHas(t *testing.T) {
	for list, want := range map[string][3]bool{
		``: {}, `"grow"`: {true}, `"evict"`: {false, true}, `"evict", "fence"`: {false, true, true},
		`"fly", "grow", "evict"`: {true, true},
	} {
		socket := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"protocol": 1, "driver": "x", "machine": "m", "abilities": [%s]}`, list)
		})
		store := open(t, socket, 0)
		_, grows := backend.VolumesAs[backend.Grower](store)
		evicter, evicts := backend.VolumesAs[backend.Evicter](store)
		if got := [3]bool{grows, evicts, evicts && evicter.Fences()}; got != want {
			t.Errorf("abilities %s: grows, evicts, fences = %v; want %v", list, got, want)
		}
	}
}

func TestADriverThatIsAwayIsAskedAgain(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "s")
	if len(gone) > 107 {
		gone = "/var/tmp/flocker-no-driver.sock"
	}
	if _, err := external.Open(t.Context(), external.Config{Socket: gone}); !errors.Is(err, backend.ErrTemporary) || !strings.Contains(err.Error(), gone) {
		t.Errorf("Open without a driver = %v; want %v and the socket's name", err, backend.ErrTemporary)
	}
	for _, path := range []string{"", "run/s", "/" + longText(200)} {
		if _, err := external.Open(t.Context(), external.Config{Socket: path}); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("Open(%.20q) = %v; want %v", path, err, cluster.ErrInvalid)
		}
	}
}

// raw is a driver that greets, and answers everything else as it likes, below HTTP.
func raw(t *testing.T, after func(net.Conn)) string {
	t.Helper()
	ln := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for first := true; ; first = false {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 4096)
			conn.Read(buf) //nolint:errcheck // whatever was asked
			if first {
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(hello), hello)
			} else {
				after(conn)
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

func TestADriverThatDiesMidwayIsAskedAgain(t *testing.T) {
	for name, after := range map[string]func(net.Conn){
		"before the answer": func(net.Conn) {},
		"in the answer":     func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{") },
	} {
		if err := try(t.Context(), open(t, raw(t, after), 0), "list"); !errors.Is(err, backend.ErrTemporary) {
			t.Errorf("List of a driver that died %s = %v; want %v", name, err, backend.ErrTemporary)
		}
	}
}

func TestWhatIsNoHTTPIsAnError(t *testing.T) {
	for _, text := range []string{"hello\r\n\r\n", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 1<<15) + "\r\n", "HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n"} {
		err := try(t.Context(), open(t, raw(t, func(c net.Conn) { fmt.Fprint(c, text) }), 0), "list")
		if err == nil || errors.Is(err, backend.ErrTemporary) {
			t.Errorf("List with the answer %.40q = %v; want an error that does not ask to try again", text, err)
		}
	}
}

func TestAnAnswerWithoutEndIsCut(t *testing.T) {
	err := try(t.Context(), open(t, raw(t, func(c net.Conn) {
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
		for _, err := c.Write(make([]byte, 1<<16)); err == nil; _, err = c.Write(make([]byte, 1<<16)) {
		}
	}), 0), "detach")
	if err == nil || !strings.Contains(err.Error(), "longer than 1048576 bytes") {
		t.Errorf("Detach with an endless answer = %v; want it cut", err)
	}
}

func TestAHungDriverEndsWithTheTimeoutOrTheContext(t *testing.T) {
	hang := func(c net.Conn) { io.Copy(io.Discard, c) } //nolint:errcheck // until the client goes away
	err := try(t.Context(), open(t, raw(t, hang), 50*time.Millisecond), "attach")
	if err == nil || !strings.Contains(err.Error(), "attach: no answer within 50ms") || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Attach = %v; want it to say that there was no answer", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := try(ctx, open(t, raw(t, hang), time.Hour), "attach"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Attach = %v; want %v", err, context.DeadlineExceeded)
	}
}

// A driver names devices that are formatted, so that of an ordinary user is not asked.
func TestADriverOfAnOrdinaryUserIsNotTrusted(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("runs a driver as another user: needs root")
	}
	const nobody, same = 65534, ^uintptr(0)
	dir := filepath.Dir(listen(t).Addr().String())
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	// The kernel remembers who listens; who that is, each thread says of itself.
	runtime.LockOSThread()
	_, _, set := unix.RawSyscall(unix.SYS_SETRESUID, same, nobody, same)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "nobodys")})
	_, _, back := unix.RawSyscall(unix.SYS_SETRESUID, same, 0, same)
	runtime.UnlockOSThread()
	if set != 0 || back != 0 || err != nil {
		t.Fatal(set, back, err)
	}
	defer ln.Close()
	_, err = external.Open(t.Context(), external.Config{Socket: ln.Addr().String(), Timeout: time.Second})
	if !errors.Is(err, cluster.ErrForbidden) || !strings.Contains(err.Error(), "user 65534") {
		t.Errorf("Open = %v; want %v that names the user", err, cluster.ErrForbidden)
	}
}

// Whoever updates a driver stops it and starts it again; what is asked meanwhile waits for it.
func TestADriverThatIsStartedAgainIsNotMissed(t *testing.T) {
	ln := listen(t)
	path := ln.Addr().String()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, hello)
			return
		}
		fmt.Fprint(w, `{"volumes": []}`)
	})
	old := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	var running sync.WaitGroup
	running.Go(func() { old.Serve(ln) }) //nolint:errcheck // it is closed
	store := open(t, path, 0)
	old.Close()
	next := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	tries := 0
	restart := func(ctx context.Context, _ backend.StoreCall, do func(context.Context) error) error {
		tries++
		err := do(ctx)
		if tries == 1 {
			again, listening := net.Listen("unix", path) //nolint:noctx // it is there at once
			if listening != nil {
				t.Fatal(listening)
			}
			running.Go(func() { next.Serve(again) }) //nolint:errcheck // it is closed
		}
		return err
	}
	patience := block.Patience{Tries: 3, First: time.Millisecond, Longest: time.Millisecond}
	_, err := backend.WrapVolumes(store, block.Retry(patience, slog.New(slog.DiscardHandler)), restart).List(t.Context())
	next.Close()
	running.Wait()
	if err != nil || tries != 2 {
		t.Errorf("List = %v after %d tries; want it to succeed at the second", err, tries)
	}
}
