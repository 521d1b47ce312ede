// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// ScheduleRequest asks for snapshots of a dataset, or of all datasets of an application at one instant, at regular times.
type ScheduleRequest struct {
	ID          cluster.ScheduleID `json:"id,omitempty" doc:"UUID; the same request again is then answered with what there is. Made up when empty"`
	Dataset     string             `json:"dataset,omitempty" doc:"UUID or name"`
	Application string             `json:"application,omitempty" doc:"in place of a dataset; it is paused while the snapshots are taken"`
	Name        string             `json:"name,omitempty" doc:"unique among the schedules of the dataset or application; made of every when empty"`
	Every       cluster.Every      `json:"every" doc:"hourly, daily, weekly, monthly, or a duration from 1m on such as 15m; all of UTC. The first is due when that comes next"`
	Quiesce     bool               `json:"quiesce,omitempty" doc:"first run the applications' hooks; otherwise it is as after a loss of power"`
	Keep        cluster.Retention  `json:"keep" doc:"which of its snapshots to keep: each that one of the rules keeps"`
	Paused      bool               `json:"paused,omitempty" doc:"begin only when it is resumed"`
}

// ScheduleChange changes what is given.
type ScheduleChange struct {
	Every   *cluster.Every     `json:"every,omitempty" doc:"the first is due when that comes next"`
	Quiesce *bool              `json:"quiesce,omitempty"`
	Keep    *cluster.Retention `json:"keep,omitempty" doc:"in place of all former rules"`
	Paused  *bool              `json:"paused,omitempty" doc:"true takes and removes nothing; false goes on with what is due next"`
}

// ScheduleInfo is a schedule with where it stands.
type ScheduleInfo struct {
	cluster.Schedule
	DatasetName string    `json:"dataset_name,omitempty"`
	Next        time.Time `json:"next,omitzero" doc:"when the next is due; not there while it is paused"`
	Snapshots   int       `json:"snapshots" doc:"how many it has, those of an application at one instant counted once"`
}

// Of names what the snapshots are taken of.
func (s ScheduleInfo) Of() string {
	if s.Application != "" {
		return s.Application
	}
	return s.DatasetName
}

// schedules is the part of the control service for snapshot schedules.
type schedules interface {
	CreateSchedule(ctx context.Context, by string, r ScheduleRequest) (ScheduleInfo, error)
	ListSchedules(ctx context.Context) ([]ScheduleInfo, error)
	ChangeSchedule(ctx context.Context, by string, id cluster.ScheduleID, c ScheduleChange) (ScheduleInfo, error)
	DeleteSchedule(ctx context.Context, by string, id cluster.ScheduleID) (ScheduleInfo, error)
}
