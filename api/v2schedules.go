// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

func (v *v2) registerSchedules() {
	const path, one, tag = "/v2/schedules", "/v2/schedules/{schedule}", "Snapshots"
	register(v, route{method: http.MethodGet, path: path, id: "list-schedules", summary: "List the snapshot schedules", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, _ *nothing) ([]ScheduleInfo, error) { return v.Schedules.ListSchedules(ctx) })
	register(v, route{method: http.MethodPost, path: path, id: "create-schedule", summary: "Take snapshots at regular times, and keep some of them", tag: tag, role: pki.RoleOperate, status: http.StatusCreated},
		func(ctx context.Context, in *body[ScheduleRequest]) (ScheduleInfo, error) {
			return v.Schedules.CreateSchedule(ctx, by(ctx), in.Body)
		})
	register(v, route{method: http.MethodPatch, path: one, id: "change-schedule", summary: "Change, pause or resume a snapshot schedule", tag: tag, role: pki.RoleOperate},
		func(ctx context.Context, in *struct {
			Schedule cluster.ScheduleID `path:"schedule" doc:"UUID"`
			Body     ScheduleChange
		},
		) (ScheduleInfo, error) {
			return v.Schedules.ChangeSchedule(ctx, by(ctx), in.Schedule, in.Body)
		})
	register(v, route{method: http.MethodDelete, path: one, id: "delete-schedule", summary: "Remove a snapshot schedule; its snapshots stay", tag: tag, role: pki.RoleOperate},
		func(ctx context.Context, in *struct {
			Schedule cluster.ScheduleID `path:"schedule" doc:"UUID"`
		},
		) (ScheduleInfo, error) {
			return v.Schedules.DeleteSchedule(ctx, by(ctx), in.Schedule)
		})
}
