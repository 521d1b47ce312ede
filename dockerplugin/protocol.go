// SPDX-License-Identifier: Apache-2.0

package dockerplugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// Limits of calls. Docker itself gives up after two minutes (Create, Mount) or one (the others), and then knows no reason.
const (
	answerWithin = 5 * time.Second
	changeWithin = 50 * time.Second
	mountWithin  = 110 * time.Second
	maxBody      = 1 << 20
)

// request is what any call may have.
type request struct {
	Name string
	ID   string
	Opts map[string]string
}

// reply is what any answer may have. Docker looks at Err.
type reply struct {
	Err          string
	Mountpoint   string        `json:",omitempty"`
	Volume       *volume       `json:",omitempty"`
	Volumes      []volume      `json:",omitempty"`
	Implements   []string      `json:",omitempty"`
	Capabilities *capabilities `json:",omitempty"`
}

// volume is how Docker sees a dataset.
type volume struct {
	Name       string
	Mountpoint string         `json:",omitempty"` // where it is mounted on this node
	CreatedAt  string         `json:",omitempty"`
	Status     map[string]any `json:",omitempty"`
}

type capabilities struct{ Scope string }

func (p *Plugin) handler() http.Handler {
	mux := http.NewServeMux()
	plain := func(r reply) func(context.Context, request) (reply, error) {
		return func(context.Context, request) (reply, error) { return r, nil }
	}
	for path, c := range map[string]struct {
		within time.Duration
		do     func(context.Context, request) (reply, error)
	}{
		"/Plugin.Activate":           {answerWithin, plain(reply{Implements: []string{"VolumeDriver"}})},
		"/VolumeDriver.Capabilities": {answerWithin, plain(reply{Capabilities: &capabilities{Scope: "global"}})},
		"/VolumeDriver.List":         {answerWithin, p.list},
		"/VolumeDriver.Get":          {answerWithin, named(p.get)},
		"/VolumeDriver.Path":         {answerWithin, named(p.path)},
		"/VolumeDriver.Unmount":      {answerWithin, named(p.unmount)},
		"/VolumeDriver.Create":       {changeWithin, named(p.create)},
		"/VolumeDriver.Remove":       {changeWithin, named(p.remove)},
		"/VolumeDriver.Mount":        {mountWithin, named(p.mount)},
	} {
		mux.HandleFunc("POST "+path, p.answer(path, c.within, c.do))
	}
	return mux
}

func named(do func(context.Context, request) (reply, error)) func(context.Context, request) (reply, error) {
	return func(ctx context.Context, q request) (reply, error) {
		if q.Name == "" {
			return reply{}, errors.New("the call names no volume")
		}
		r, err := do(ctx, q)
		if err != nil {
			err = fmt.Errorf("volume %s: %w", q.Name, err)
		}
		return r, err
	}
}

// answer is always of status 200, with the error in it, as Docker wants it; only what is not JSON at all is refused otherwise.
func (p *Plugin) answer(path string, within time.Duration, do func(context.Context, request) (reply, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q request
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&q); err != nil && !errors.Is(err, io.EOF) {
			http.Error(w, fmt.Sprintf("the body is not a JSON request: %v", err), http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), within)
		defer cancel()
		a, err := do(ctx, q)
		if err != nil {
			level := slog.LevelWarn
			if errors.Is(err, cluster.ErrNotFound) { // Docker looks for each volume before it has it created
				level = slog.LevelDebug
			}
			p.Log.Log(ctx, level, "docker's call failed", "call", path, "volume", q.Name, "error", err)
			a = reply{Err: err.Error()}
		}
		w.Header().Set("Content-Type", "application/vnd.docker.plugins.v1.2+json")
		_ = json.NewEncoder(w).Encode(a) // Docker is gone when this fails
	}
}
