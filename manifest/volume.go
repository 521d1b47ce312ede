// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"crypto/md5" //nolint:gosec // the original's way to an id; nothing rests on its strength
	"math"
	"strings"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/cluster"
)

// originalID is the id that the original gives to the dataset of an application's only volume.
func originalID(application string) cluster.DatasetID {
	id := uuid.UUID(md5.Sum([]byte(application)))
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return cluster.DatasetID(id.String())
}

// volume reads the original's single volume.
func (f *applicationFile) volume(a *cluster.Application, app, v *object) {
	app.rename("volumes[0]", "volume")
	app.rename("volumes[0].mountpoint", "volume.mountpoint")
	app.rename("volumes[0].dataset", "volume.dataset_id")
	v.need("mountpoint")
	set := cluster.Dataset{
		ID: originalID(a.Name), Name: a.Name, Metadata: map[string]string{"name": a.Name}, Size: v.size("maximum_size"),
	}
	if v.has("dataset_id") {
		given := v.text("dataset_id")
		set.ID, set.Name, set.Metadata = cluster.DatasetID(strings.ToLower(given)), "", nil
		if !isUUID(given) && given != "" {
			v.bad("dataset_id", f.doc.lines[v.at("dataset_id")], "%.80q is not a UUID", given)
		}
	}
	a.Volumes = append(a.Volumes, cluster.Volume{Dataset: keyOf(set), MountPoint: v.text("mountpoint")})
	f.declare(a.Name, set, v)
	v.end("mountpoint", "maximum_size", "dataset_id")
}

// listedVolume reads one of several volumes.
func (f *applicationFile) listedVolume(a *cluster.Application, v *object, of int) {
	v.need("mountpoint")
	set := cluster.Dataset{Name: a.Name, Size: v.size("size"), Backend: v.text("backend"), Profile: v.text("profile"), Root: v.root()}
	switch name := v.text("dataset"); {
	case isUUID(name):
		set.ID, set.Name = cluster.DatasetID(strings.ToLower(name)), ""
	case v.has("dataset"):
		set.Name = name
		for _, e := range cluster.FieldErrors(cluster.ValidateDatasetName(name)) {
			if !f.doc.failed[v.at("dataset")] {
				v.bad("dataset", f.doc.lines[v.at("dataset")], "%s", e.Problem)
			}
		}
	case of > 1:
		v.need("dataset")
	}
	volume := cluster.Volume{Dataset: keyOf(set), MountPoint: v.text("mountpoint"), ReadOnly: v.flag("read_only")}
	a.Volumes = append(a.Volumes, volume)
	// Nobody could write to a dataset that is made for a reader alone: its name is taken for one that exists.
	if !volume.ReadOnly {
		f.declare(a.Name, set, v)
	} else {
		for _, key := range []string{"size", "backend", "profile", "uid", "gid", "mode"} {
			if v.has(key) {
				v.bad(key, f.doc.lines[v.at(key)], "goes with a volume that is written to")
			}
		}
	}
	v.end("dataset", "mountpoint", "size", "backend", "profile", "uid", "gid", "mode", "read_only")
}

// root reads whose the folder of a dataset that is made is to be.
func (v *object) root() cluster.Root {
	r := cluster.Root{Mode: v.text("mode")}
	for key, id := range map[string]*uint32{"uid": &r.UID, "gid": &r.GID} {
		n := v.whole(key)
		if n < 0 || n > math.MaxUint32 {
			v.bad(key, v.doc.lines[v.at(key)], "%d is out of range", n)
			continue
		}
		*id = uint32(n)
	}
	if _, err := r.Permissions(); err != nil {
		for _, e := range cluster.FieldErrors(err) {
			v.bad(e.Field, v.doc.lines[v.at(e.Field)], "%s", e.Problem)
		}
	}
	return r
}

// keyOf is how volumes call a dataset.
func keyOf(d cluster.Dataset) cluster.DatasetID {
	if d.Name == "" {
		return d.ID
	}
	return cluster.DatasetID(d.Name)
}

// declare notes a dataset that is to be made where it does not exist.
func (f *applicationFile) declare(application string, set cluster.Dataset, v *object) {
	key := string(keyOf(set))
	if key == "" || f.doc.failed[v.at("dataset")] || f.doc.failed[v.at("dataset_id")] {
		return
	}
	switch first := f.writers[key]; first {
	case "":
		f.writers[key] = application
		f.datasets = append(f.datasets, set)
	case application: // said when the application is judged as a whole
	default:
		f.doc.bad(v.path, v.line, "dataset %s is written by application %s too; all but one may use it with read_only: true", key, first)
	}
}

func isUUID(s string) bool {
	id, err := uuid.Parse(s)
	return err == nil && strings.EqualFold(id.String(), s)
}
