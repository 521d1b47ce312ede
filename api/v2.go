// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// maxBody bounds a user's request.
const maxBody = 1 << 20

// Services are the parts of the control service that users reach.
type Services struct {
	Datasets     datasets
	Snapshots    snapshots
	Schedules    schedules
	Applications applications
	Moves        moves
	Leases       leases
	Nodes        nodes
	Overview     overview
	Joining      joining
	Recovery     recovery
}

// v2 registers the operations of /v2.
type v2 struct {
	Services
	api    huma.API
	access access
}

// UserHandler serves the users' API: /v2, its description, and the original's /v1.
func UserHandler(s Services, identify Identify, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	a := access{identify, pki.NewRefusals(log)}
	newV2(mux, s, a)
	registerV1(mux, s, a)
	return limited(mux)
}

// OpenAPI is the description of /v2 as JSON.
func OpenAPI() ([]byte, error) {
	v := newV2(http.NewServeMux(), Services{}, access{})
	return v.api.OpenAPI().MarshalJSON()
}

// limited bounds every body, whichever handler reads it.
func limited(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody+1)
		h.ServeHTTP(w, r)
	})
}

func newV2(mux *http.ServeMux, s Services, a access) *v2 {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	registry.RegisterTypeAlias(reflect.TypeFor[cluster.Duration](), reflect.TypeFor[string]())
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Flocker", Version: "2",
				Description: "Moves stateful containers together with their data between Docker hosts. " +
					"Errors are RFC 9457 problem documents; their code is one of not-found, exists, conflict, invalid, forbidden, unavailable, gone, precondition, internal.",
				License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Components: &huma.Components{Schemas: registry},
		},
		OpenAPIPath:                  "/v2/openapi",
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{toProblem},
	}
	config.FieldsOptionalByDefault = true
	v := &v2{Services: s, api: humago.New(mux, config), access: a}
	v.registerDatasets()
	v.registerSnapshots()
	v.registerSchedules()
	v.registerApplications()
	v.registerMoves()
	v.registerLeases()
	v.registerNodes()
	v.registerOverview()
	v.registerJoining()
	return v
}

// toProblem gives the framework's own refusals our shape.
func toProblem(_ huma.Context, _ string, v any) (any, error) {
	e, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := &Problem{Status: e.Status, Title: e.Title, Detail: e.Detail}
	for _, k := range problemKinds() {
		if k.status == e.Status {
			p.Code = k.code
			break
		}
	}
	if p.Code == "" && e.Status < 500 {
		p.Code = "invalid"
	}
	for _, d := range e.Errors {
		p.Fields = append(p.Fields, &cluster.FieldError{Field: strings.TrimPrefix(d.Location, "body."), Problem: d.Message})
	}
	if len(p.Fields) > 0 {
		p.Detail = fmt.Sprintf("%s: %s", p.Detail, p.Fields[0].Error())
	}
	return p, nil
}

type identityKey struct{}

// by is who asks.
func by(ctx context.Context) string {
	id, _ := ctx.Value(identityKey{}).(pki.Identity)
	return id.String()
}

// body is an answer with a document.
type body[T any] struct{ Body T }

// nothing is a request without parameters.
type nothing struct{}

// route is one operation.
type route struct {
	method, path, id, summary, tag string
	role                           pki.Role // empty is for everybody, also without a certificate
	status                         int
}

func (v *v2) operation(r route) huma.Operation {
	op := huma.Operation{
		OperationID: r.id, Method: r.method, Path: r.path, Summary: r.summary, Tags: []string{r.tag},
		DefaultStatus: r.status, MaxBodyBytes: maxBody, BodyReadTimeout: 5 * time.Second,
	}
	if r.role != "" {
		op.Description = fmt.Sprintf("For the role %s.", r.role)
		op.Middlewares = huma.Middlewares{v.require(r.role)}
	}
	return op
}

// require lets in callers of the role only.
func (v *v2) require(role pki.Role) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		id, err := v.access.user(r, role)
		if err != nil {
			WriteError(w, err)
			return
		}
		next(huma.WithValue(ctx, identityKey{}, id))
	}
}

// register adds an operation that answers with a document.
func register[I, O any](v *v2, r route, do func(context.Context, *I) (O, error)) {
	huma.Register(v.api, v.operation(r), func(ctx context.Context, in *I) (*body[O], error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, ProblemOf(err)
		}
		return &body[O]{Body: out}, nil
	})
}

// registerStream adds an operation that answers with a document a line, until either side ends it.
func registerStream[I, E any](v *v2, r route, do func(ctx context.Context, in *I, send func(E) error) error) {
	op := v.operation(r)
	op.Responses = map[string]*huma.Response{"200": {
		Description: "One JSON document a line; empty ones only show that the connection lives.",
		Content: map[string]*huma.MediaType{"application/x-ndjson": {
			Schema: v.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[E](), true, ""),
		}},
	}}
	huma.Register(v.api, op, func(_ context.Context, in *I) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			_, w := humago.Unwrap(hc)
			s := newStream(w)
			ctx, cancel := context.WithCancel(hc.Context())
			defer cancel()
			beats := s.heartbeats(ctx, cancel)
			err := do(ctx, in, func(e E) error { return s.send(e) })
			cancel()
			<-beats
			if err != nil && !s.begun() {
				WriteError(w, err)
			}
		}}, nil
	})
}
