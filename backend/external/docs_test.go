// SPDX-License-Identifier: Apache-2.0

package external_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/external"
	"github.com/flocker-project/flocker/cluster"
)

const page = "../../docs/backends/external.md"

// example is a request and its answer, as the page for authors of drivers shows them.
type example struct {
	method, call string
	request      map[string]any
	status       int
	answer       string
}

var exampleForm = regexp.MustCompile("(?ms)^```http\n(GET|POST) /v1/([a-z]+)\n(.*?)\n?^([0-9]{3})\n(.*?)^```$")

func examples(t *testing.T) (all []example) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, parts := range exampleForm.FindAllStringSubmatch(string(text), -1) {
		e := example{method: parts[1], call: parts[2], answer: parts[5]}
		if e.status, err = strconv.Atoi(parts[4]); err != nil {
			t.Fatal(err)
		}
		if body := strings.TrimSpace(parts[3]); body != "" {
			if err := json.Unmarshal([]byte(body), &e.request); err != nil {
				t.Fatalf("request of %s: %v", e.call, err)
			}
		}
		all = append(all, e)
	}
	if blocks := strings.Count(string(text), "```http"); blocks != len(all) {
		t.Fatalf("%d of %d examples can be read", len(all), blocks)
	}
	return all
}

// Each example's request is what Flocker sends, and it understands each answer.
func TestTheExamplesAreTrue(t *testing.T) {
	seen := map[string]bool{}
	for i, e := range examples(t) {
		seen[e.call] = true
		t.Run(fmt.Sprint(i, "-", e.call), func(t *testing.T) {
			var got map[string]any
			socket := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/greeting" && e.call != "greeting" {
					fmt.Fprint(w, `{"protocol": 1, "driver": "x", "machine": "node-1", "abilities": ["evict", "fence", "grow"], "profiles": ["gold"]}`)
					return
				}
				if r.Method != e.method || r.URL.Path != "/v1/"+e.call {
					t.Errorf("request = %s %s; want %s /v1/%s", r.Method, r.URL.Path, e.method, e.call)
				}
				if err := json.NewDecoder(r.Body).Decode(&got); err != nil && e.request != nil {
					t.Errorf("request: %v", err)
				}
				w.WriteHeader(e.status)
				fmt.Fprint(w, e.answer)
			})
			err := ask(t, socket, e)
			timeout, _ := got["timeout_ms"].(float64)
			if said, _ := e.request["timeout_ms"].(float64); e.request != nil && (timeout <= 0 || timeout > said) {
				t.Errorf("timeout_ms = %v; want up to the page's %v", timeout, said)
			}
			delete(got, "timeout_ms")
			delete(e.request, "timeout_ms")
			if diff := cmp.Diff(e.request, got); diff != "" {
				t.Errorf("request (-page +sent):\n%s", diff)
			}
			switch {
			case e.status == http.StatusOK && err != nil:
				t.Errorf("answer: %v", err)
			case e.status != http.StatusOK && !slices.ContainsFunc(ofTheContract(), func(want error) bool { return errors.Is(err, want) }):
				t.Errorf("answer = %v; want an error of the contract", err)
			}
		})
	}
	for _, call := range []string{"greeting", "list", "create", "destroy", "attach", "detach", "attached", "evict", "grow"} {
		if !seen[call] {
			t.Errorf("%s shows no %s", page, call)
		}
	}
}

func ofTheContract() []error {
	return []error{backend.ErrBusy, backend.ErrExists, backend.ErrThrottled}
}

// ask calls the driver as the example does.
func ask(t *testing.T, socket string, e example) error {
	t.Helper()
	ctx := t.Context()
	var q struct {
		Cluster, Machine, Profile string
		Size                      int64
		Dataset                   cluster.DatasetID
		Volume                    backend.Volume
	}
	text, err := json.Marshal(e.request)
	if err == nil {
		err = json.Unmarshal(text, &q)
	}
	if err != nil {
		t.Fatal(err)
	}
	store, err := external.Open(ctx, external.Config{Socket: socket, Cluster: q.Cluster})
	if err != nil || e.call == "greeting" {
		return err
	}
	switch e.call {
	case "list":
		_, err = store.List(ctx)
	case "create":
		_, err = store.Create(ctx, backend.Spec{Dataset: q.Dataset, Size: q.Size, Profile: q.Profile})
	case "destroy":
		err = store.Destroy(ctx, q.Volume)
	case "attach":
		_, err = store.Attach(ctx, q.Volume)
	case "detach":
		err = store.Detach(ctx, q.Volume)
	case "attached":
		_, err = store.Attached(ctx)
	case "evict":
		err = withAbility(t, store, func(ctx context.Context, able backend.Evicter) error { return able.Evict(ctx, q.Volume, q.Machine) })
	case "grow":
		err = withAbility(t, store, func(ctx context.Context, able backend.Grower) error { return able.Grow(ctx, q.Volume, q.Size) })
	default:
		t.Fatalf("%s shows a call %s, which there is not", page, e.call)
	}
	return err
}

func withAbility[A any](t *testing.T, store backend.Volumes, do func(context.Context, A) error) error {
	t.Helper()
	able, ok := backend.VolumesAs[A](store)
	if !ok {
		t.Fatal("the store lacks an ability that its driver says it has")
	}
	return do(t.Context(), able)
}
