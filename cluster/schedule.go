// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"regexp"
	"time"
)

// ScheduleID is the UUID of a snapshot schedule.
type ScheduleID string

// Schedule has snapshots taken of a dataset, or of all datasets of an application at one instant, and removes those that it
// has made and need not keep.
type Schedule struct {
	ID   ScheduleID `json:"id"`
	Name string     `json:"name"` // unique among those of its dataset or application
	// Dataset or Application is what snapshots are taken of.
	Dataset     DatasetID `json:"dataset,omitempty"`
	Application string    `json:"application,omitempty"`
	Every       Every     `json:"every"`
	// Quiesce has the applications' hooks run before each.
	Quiesce bool      `json:"quiesce,omitempty"`
	Keep    Retention `json:"keep"`
	// Paused has nothing taken and nothing removed.
	Paused  bool      `json:"paused,omitempty"`
	By      string    `json:"by,omitempty"`
	Created time.Time `json:"created,omitzero"`
	// Done is the last due time that needs no snapshot any more: it was asked for, or the schedule was not there or paused.
	Done time.Time `json:"done,omitzero"`
	// Asked is the last due time at which one was asked for.
	Asked time.Time `json:"asked,omitzero"`
	// Reason says why the one that is due cannot be asked for, and Since since when.
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

// Scheduled says of a snapshot which schedule asked for it, and for when.
type Scheduled struct {
	Schedule ScheduleID `json:"schedule"`
	Name     string     `json:"name"` // the schedule's
	// Due moves on as long as the snapshot is not taken: one answers all that are due meanwhile.
	Due time.Time `json:"due"`
}

// Due is the newest due time that still needs a snapshot; those before it that were missed need none of their own.
func (s Schedule) Due(now time.Time) (time.Time, bool) {
	due := s.Every.Last(now)
	return due, !s.Paused && due.After(s.Done)
}

// Next is when the next snapshot is due; zero while the schedule is paused.
func (s Schedule) Next(now time.Time) time.Time {
	switch due, open := s.Due(now); {
	case s.Paused:
		return time.Time{}
	case open:
		return due
	case s.Done.After(now): // the clock was ahead then
		return s.Every.Next(s.Done)
	}
	return s.Every.Next(now)
}

// Made says whether the schedule asked for a snapshot.
func (s Schedule) Made(k KeptSnapshot) bool {
	return k.Scheduled != nil && k.Scheduled.Schedule == s.ID
}

// Validate finds what is wrong with the schedule as a value; each problem is a FieldError.
func (s Schedule) Validate() error {
	var p problems
	if s.ID != "" && !regexp.MustCompile(uuids).MatchString(string(s.ID)) {
		p.add("id", "%.80q is not a UUID in lower case", s.ID)
	}
	p.take("name", validateName(s.Name, datasetNames, maxScheduleName))
	if err := s.Every.Validate(); err != nil {
		p.found = append(p.found, err)
	}
	s.Keep.validate(&p)
	return errors.Join(p.found...)
}

// maxScheduleName leaves room for the time in the names of snapshots.
const maxScheduleName = 100

// Every is how often a schedule is due: hourly, daily, weekly, monthly, or a duration such as 15m. All are of UTC: weeks begin on Monday,
// and durations count from midnight where they divide the day.
type Every string

// The calendar's.
const (
	Hourly  Every = "hourly"
	Daily   Every = "daily"
	Weekly  Every = "weekly"
	Monthly Every = "monthly"
)

// Bounds of a duration between snapshots.
const (
	shortestEvery = time.Minute
	longestEvery  = 366 * 24 * time.Hour
)

// Validate says why the text is no interval.
func (e Every) Validate() error {
	switch e {
	case Hourly, Daily, Weekly, Monthly:
		return nil
	case "":
		return &FieldError{Field: "every", Problem: "is missing: hourly, daily, weekly, monthly, or a duration such as 15m"}
	}
	d, err := time.ParseDuration(string(e))
	problem := ""
	switch {
	case err != nil:
		problem = fmt.Sprintf("%.80q is not hourly, daily, weekly, monthly, or a duration such as 15m", string(e))
	case d < shortestEvery:
		problem = fmt.Sprintf("%s is shorter than %s", e, shortestEvery)
	case d > longestEvery:
		problem = fmt.Sprintf("%s is longer than a year", e)
	case d%time.Second != 0:
		problem = fmt.Sprintf("%s is not a whole number of seconds", e)
	default:
		return nil
	}
	return &FieldError{Field: "every", Problem: problem}
}

// Last is the newest due time that is not after t; zero where e is not valid.
func (e Every) Last(t time.Time) time.Time {
	t = t.UTC()
	period := e.period()
	switch {
	case e == Monthly:
		return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	case period <= 0:
		return time.Time{}
	}
	return t.Truncate(period) // counted from a Monday
}

// Next is the first due time after t; zero where e is not valid.
func (e Every) Next(t time.Time) time.Time {
	last, period := e.Last(t), e.period()
	switch {
	case e == Monthly:
		return last.AddDate(0, 1, 0)
	case period <= 0:
		return time.Time{}
	}
	return last.Add(period)
}

// period is the time between two due times; 0 where that is not always the same, or e is not valid.
func (e Every) period() time.Duration {
	switch e {
	case Hourly:
		return time.Hour
	case Daily:
		return 24 * time.Hour
	case Weekly:
		return 7 * 24 * time.Hour
	case Monthly:
		return 0
	}
	if e.Validate() != nil {
		return 0
	}
	d, _ := time.ParseDuration(string(e)) // validated
	return d
}
