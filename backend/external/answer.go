// SPDX-License-Identifier: Apache-2.0

package external

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// errAnswer says that the driver does not keep to the protocol.
var errAnswer = errors.New("the driver's answer is not as the protocol wants it")

// Bounds of what a driver may call things.
const (
	longestName   = 255
	longestDevice = 4095
	longestText   = 1000
)

var (
	idForm      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]*$`)
	datasetForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// decode reads one JSON document with no fields but those of into. A field more could be one that is misspelled.
func decode(body []byte, into any) error {
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return fmt.Errorf("%w: want a JSON object, got %s", errAnswer, printable(string(body)))
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %w in %s", errAnswer, err, printable(string(body)))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: there is more after the JSON document: %s", errAnswer, printable(string(body)))
	}
	return once(json.NewDecoder(bytes.NewReader(body)))
}

// once refuses a document that has a key twice in one object: which of the two is meant is not known. The document is
// known to be well formed, and not deep.
func once(d *json.Decoder) error {
	token, err := d.Token()
	if err != nil {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	if token != json.Delim('{') && token != json.Delim('[') {
		return nil
	}
	for keys := map[json.Token]bool{}; d.More(); {
		if token == json.Delim('{') {
			key, err := d.Token()
			if err != nil {
				return fmt.Errorf("%w: %w", errAnswer, err)
			}
			if keys[key] {
				return fmt.Errorf("%w: %s is there twice", errAnswer, printable(fmt.Sprint(key)))
			}
			keys[key] = true
		}
		if err := once(d); err != nil {
			return err
		}
	}
	_, err = d.Token() // the end of it
	return err
}

// printable is a text of the driver's as it can stand in an error or on a terminal.
func printable(text string) string {
	short := text
	if len(short) > longestText {
		short = strings.ToValidUTF8(short[:longestText], "") + "…"
	}
	quoted := strconv.Quote(short)
	if quoted[1:len(quoted)-1] == short {
		return short
	}
	return quoted
}

func missing(field string) error { return fmt.Errorf("%w: %q is missing", errAnswer, field) }

// checkName is for names that are shown and compared, and never a path.
func checkName(field, name string, orNone bool) error {
	switch {
	case name == "" && orNone:
		return nil
	case name == "":
		return missing(field)
	case len(name) > longestName || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }):
		return fmt.Errorf("%w: %s %s is no name of up to %d printable characters", errAnswer, field, printable(name), longestName)
	}
	return nil
}

func checkID(id string) error {
	if len(id) > longestName || !idForm.MatchString(id) {
		return fmt.Errorf("%w: id %s is not made of up to %d letters, digits and . _ : -", errAnswer, printable(id), longestName)
	}
	return nil
}

func (v volume) check() error {
	if err := checkID(v.ID); err != nil {
		return err
	}
	switch {
	case !datasetForm.MatchString(string(v.Dataset)):
		return fmt.Errorf("%w: volume %s has dataset %s, which is no UUID in small letters", errAnswer, v.ID, printable(string(v.Dataset)))
	case v.Size <= 0:
		return fmt.Errorf("%w: volume %s has a size of %d bytes", errAnswer, v.ID, v.Size)
	}
	return errors.Join(checkName("profile", v.Profile, true), checkName("machine", v.Machine, true))
}

func (a volumesAnswer) check() ([]backend.Volume, error) {
	if a.Volumes == nil {
		return nil, missing("volumes")
	}
	all := make([]backend.Volume, 0, len(*a.Volumes))
	seen := make(map[string]bool, len(*a.Volumes))
	for _, v := range *a.Volumes {
		if err := v.check(); err != nil {
			return nil, err
		}
		if seen[v.ID] {
			return nil, fmt.Errorf("%w: volume %s is listed twice", errAnswer, v.ID)
		}
		seen[v.ID] = true
		all = append(all, v.plain())
	}
	return all, nil
}

// check wants the volume that was asked for.
func (a volumeAnswer) check(spec backend.Spec) (backend.Volume, error) {
	if a.Volume == nil {
		return backend.Volume{}, missing("volume")
	}
	v := *a.Volume
	if err := v.check(); err != nil {
		return backend.Volume{}, err
	}
	switch {
	case v.Dataset != spec.Dataset:
		return backend.Volume{}, fmt.Errorf("%w: volume %s is of dataset %s, not of %s", errAnswer, v.ID, v.Dataset, spec.Dataset)
	case v.Size < spec.Size:
		return backend.Volume{}, fmt.Errorf("%w: volume %s has %d bytes, less than the %d asked for", errAnswer, v.ID, v.Size, spec.Size)
	case v.Profile != "" && v.Profile != spec.Profile:
		return backend.Volume{}, fmt.Errorf("%w: volume %s has profile %q, not %q", errAnswer, v.ID, v.Profile, spec.Profile)
	}
	return v.plain(), nil
}

func checkDevice(path string) error {
	if len(path) > longestDevice || !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" || strings.ContainsRune(path, 0) {
		return fmt.Errorf("%w: device %s is no absolute path", errAnswer, printable(path))
	}
	return nil
}

func (a deviceAnswer) check() (string, error) {
	if a.Device == nil {
		return "", missing("device")
	}
	return *a.Device, checkDevice(*a.Device)
}

func (a devicesAnswer) check() (map[string]string, error) {
	if a.Devices == nil {
		return nil, missing("devices")
	}
	of := map[string]string{}
	for id, device := range *a.Devices {
		if err := errors.Join(checkID(id), checkDevice(device)); err != nil {
			return nil, err
		}
		if other, twice := of[device]; twice {
			return nil, fmt.Errorf("%w: %s is the device of both %s and %s", errAnswer, device, min(id, other), max(id, other))
		}
		of[device] = id
	}
	return *a.Devices, nil
}

func (g Greeting) check() error {
	switch {
	case g.Protocol == 0:
		return missing("protocol")
	case g.Protocol != Protocol:
		return fmt.Errorf("%w: the driver speaks version %d of the protocol, this program version %d", cluster.ErrInvalid, g.Protocol, Protocol)
	case g.Can(AbilityFence) && !g.Can(AbilityEvict):
		return fmt.Errorf("%w: ability %q without %q", errAnswer, AbilityFence, AbilityEvict)
	}
	for i, name := range g.Profiles {
		if err := cluster.ValidateDatasetName(name); err != nil || slices.Contains(g.Profiles[:i], name) {
			return fmt.Errorf("%w: profile %s is no name, or is there twice", errAnswer, printable(name))
		}
	}
	return errors.Join(checkName("driver", g.Driver, false), checkName("machine", g.Machine, false))
}

// Can says whether the driver has an ability.
func (g Greeting) Can(a Ability) bool { return slices.Contains(g.Abilities, a) }
