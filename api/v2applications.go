// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

type applicationPath struct {
	Application string `path:"application"`
}

func (v *v2) registerApplications() {
	const path, one, tag = "/v2/applications", "/v2/applications/{application}", "Applications"
	register(v, route{method: http.MethodPost, path: "/v2/deploy", id: "deploy", summary: "Make applications and their datasets as described", tag: tag, role: pki.RoleOperate},
		func(ctx context.Context, in *body[DeployRequest]) (DeployReply, error) {
			return v.Applications.Deploy(ctx, by(ctx), in.Body)
		})
	register(v, route{method: http.MethodGet, path: path, id: "list-applications", summary: "List applications", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, _ *nothing) ([]ApplicationInfo, error) {
			return v.Applications.ListApplications(ctx)
		})
	register(v, route{method: http.MethodPost, path: path, id: "create-application", summary: "Create an application", tag: tag, role: pki.RoleOperate, status: http.StatusCreated},
		func(ctx context.Context, in *body[cluster.Application]) (DeployReply, error) {
			return v.Applications.Deploy(ctx, by(ctx), DeployRequest{Applications: []cluster.Application{in.Body}, CreateOnly: true})
		})
	register(v, route{method: http.MethodGet, path: one, id: "get-application", summary: "Show an application", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, in *applicationPath) (ApplicationInfo, error) {
			return v.Applications.GetApplication(ctx, in.Application)
		})
	register(v, route{method: http.MethodDelete, path: one, id: "delete-application", summary: "Remove an application; its datasets stay", tag: tag, role: pki.RoleOperate},
		func(ctx context.Context, in *applicationPath) (cluster.Application, error) {
			return v.Applications.DeleteApplication(ctx, by(ctx), in.Application)
		})
	v.registerLogs(one + "/logs")
}

func (v *v2) registerLogs(path string) {
	op := v.operation(route{method: http.MethodGet, path: path, id: "get-application-logs", summary: "The last lines that an application wrote", tag: "Applications", role: pki.RoleRead})
	op.Responses = map[string]*huma.Response{"200": {Description: "Plain text", Content: map[string]*huma.MediaType{"text/plain": {}}}}
	type input struct {
		Application string `path:"application"`
		Lines       int    `query:"lines" default:"200" minimum:"1" maximum:"100000"`
	}
	huma.Register(v.api, op, func(ctx context.Context, in *input) (*huma.StreamResponse, error) {
		logs, err := v.Applications.ApplicationLogs(ctx, in.Application, in.Lines)
		if err != nil {
			return nil, ProblemOf(err)
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			defer logs.Close()
			hc.SetHeader("Content-Type", "text/plain; charset=utf-8")
			_, _ = io.Copy(hc.BodyWriter(), logs) // either side is gone when this fails
		}}, nil
	})
}
