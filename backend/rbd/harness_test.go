// SPDX-License-Identifier: Apache-2.0

package rbd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
	"github.com/flocker-project/flocker/backend/block"
	"github.com/flocker-project/flocker/backend/rbd"
	"github.com/flocker-project/flocker/backend/userdev"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// pair is two machines of one cluster, which has a pool to share with others.
type pair struct {
	*server
	t       *testing.T
	cluster string
	names   [2]string
	dirs    [2]string
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{server: needCeph(t), t: t, cluster: uuid.NewString()}
	for i := range p.names {
		p.names[i], p.dirs[i] = uuid.NewString(), p.devices()
	}
	return p
}

// devices is a folder of devices, which end with the test.
func (p *pair) devices() string {
	p.t.Helper()
	dir, err := os.MkdirTemp("", "rbd") // the test's name would be in the path, which has to be short
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := errors.Join(endDevices(dir), os.RemoveAll(dir)); err != nil {
			p.t.Error(err)
		}
	})
	return dir
}

func endDevices(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	devices, err := userdev.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	left, err := filepath.Glob(dir + "/*")
	for _, folder := range left {
		if stop := devices.Stop(ctx, filepath.Base(folder)); !errors.Is(stop, userdev.ErrUnflushed) {
			err = errors.Join(err, stop)
		}
	}
	return err
}

func (p *pair) config(i int) rbd.Config {
	return rbd.Config{
		Pool: thePool, Conf: p.conf, User: theUser, Keyring: filepath.Join(p.dir, "user.key"),
		Machine: p.names[i], Cluster: p.cluster, Size: 128 << 20, Dir: p.dirs[i], Log: slog.New(slog.DiscardHandler),
	}
}

func (p *pair) open(config rbd.Config) *rbd.Store {
	p.t.Helper()
	s, err := rbd.Open(config)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

func (p *pair) Machine(_ *testing.T, i int) backend.Volumes { return p.open(p.config(i)) }

func (p *pair) OtherCluster(*testing.T) backend.Volumes {
	config := p.config(0)
	config.Cluster, config.Dir = uuid.NewString(), p.devices()
	return p.open(config)
}

// Foreign makes images of strangers: of another name, of a name like ours and no mark, and with a mark like ours that was copied.
func (p *pair) Foreign(t *testing.T) func() error {
	t.Helper()
	mark := fmt.Sprintf(`{"cluster":%q,"dataset":%q}`, p.cluster, uuid.NewString())
	names := map[string]string{"vm-disk-" + p.cluster: "", "flocker-" + p.cluster + "-" + uuid.NewString(): "", "backup-" + p.cluster: mark}
	for name, mark := range names {
		p.admin(t, "rbd", "create", thePool+"/"+name, "--size", "1M")
		if mark != "" {
			p.admin(t, "rbd", "image-meta", "set", thePool+"/"+name, "flocker", mark)
		}
		t.Cleanup(func() {
			if err := p.step(context.WithoutCancel(t.Context()), "rbd --conf "+p.conf+" rm --no-progress "+thePool+"/"+name); err != nil {
				t.Error(err)
			}
		})
	}
	return func() error {
		var failed error
		for name := range names {
			failed = errors.Join(failed, p.step(t.Context(), "rbd --conf "+p.conf+" info "+thePool+"/"+name))
		}
		return failed
	}
}

func (p *pair) Vanish(t *testing.T, v backend.Volume) {
	t.Helper()
	p.admin(t, "rbd", "rm", "--no-progress", thePool+"/"+v.ID)
}

func (p *pair) Twin(*testing.T, backend.Volume) bool { return false } // the name is the dataset's

func (p *pair) Mounts(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	t.Cleanup(func() {
		points, err := filepath.Glob(root + "/*")
		for _, point := range points {
			err = errors.Join(err, mount.RemovePoint(point))
		}
		if err != nil {
			t.Error(err)
		}
	})
	return root
}

func (p *pair) Smallest() int64 { return 64 << 20 }

func (p *pair) Layer(t *testing.T, store backend.Volumes, around ...backend.Around) backend.Driver {
	t.Helper()
	d, err := block.New(t.Context(), store, block.Config{Filesystem: "ext4", Around: around, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestContract(t *testing.T) {
	backendtest.RunVolumes(t, func(t *testing.T) backendtest.Store { return newPair(t) })
}

// volume is a fresh one.
func (p *pair) volume(by *rbd.Store) backend.Volume {
	p.t.Helper()
	v, err := by.Create(p.t.Context(), backend.Spec{Dataset: cluster.DatasetID(uuid.NewString()), Size: p.Smallest()})
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}
