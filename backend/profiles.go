// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flocker-project/flocker/cluster"
)

// Profiler is for drivers that can make a dataset in more than one way.
type Profiler interface {
	// Profiles are those that there are here, in the order of their names. Create, and only Create, refuses any other: a
	// dataset of a profile that there is no more is cloned and received as one without.
	Profiles() []cluster.Profile
}

// StoreProfiler is for stores of network storage that have profiles of their own, which no operator has to name.
type StoreProfiler interface {
	StoreProfiles() []string
}

// Profiles are an operator's names for ways of making a dataset, with the driver's options that each stands for.
type Profiles map[string]map[string]string

// ProfileOption is something that a driver lets a profile choose.
type ProfileOption struct {
	Name  string
	About string
	Check func(value string) error // says what is wrong with a value
}

// Check says of each name, option and value what a driver with these options cannot have.
func (p Profiles) Check(options []ProfileOption) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(p)) {
		field := "profiles." + name
		for _, e := range cluster.FieldErrors(cluster.ValidateDatasetName(name)) { // as in a dataset's record
			errs = append(errs, &cluster.FieldError{Field: field, Problem: e.Problem})
		}
		for _, option := range slices.Sorted(maps.Keys(p[name])) {
			if err := checkOption(options, option, p[name][option]); err != nil {
				errs = append(errs, &cluster.FieldError{Field: field + "." + option, Problem: err.Error()})
			}
		}
	}
	return errors.Join(errs...)
}

func checkOption(options []ProfileOption, name, value string) error {
	var known []string
	for _, o := range options {
		if o.Name == name {
			return o.Check(value)
		}
		known = append(known, o.Name)
	}
	if len(known) == 0 {
		return errors.New("unknown option: a profile has none here")
	}
	return fmt.Errorf("unknown option: there are %s", strings.Join(known, ", "))
}

// List describes the profiles, in the order of their names.
func (p Profiles) List() []cluster.Profile {
	var list []cluster.Profile
	for _, name := range slices.Sorted(maps.Keys(p)) {
		list = append(list, cluster.Profile{Name: name, Options: maps.Clone(p[name])})
	}
	return list
}

// OneOf lets an option have one of some values.
func OneOf(values ...string) func(string) error {
	return func(value string) error {
		if slices.Contains(values, value) {
			return nil
		}
		return fmt.Errorf("%.80q is none of %s", value, strings.Join(values, ", "))
	}
}

func (p *Pool) profiles() []cluster.Profile {
	profiler, ok := as[Profiler](p.driver)
	if !ok {
		return nil
	}
	return profiler.Profiles()
}

// mayCreate refuses a profile that nothing is known of: what is made without it is not what was asked for.
func (p *Pool) mayCreate(profile string) error {
	there := p.profiles()
	if (cluster.Storage{Profiles: there}).HasProfile(profile) {
		return nil
	}
	return fmt.Errorf("profile %q: %w: %s", profile, ErrUnsupported, cluster.ProfilesAre(there))
}
