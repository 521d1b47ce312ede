// SPDX-License-Identifier: Apache-2.0

// Package rbd keeps volumes as images of a Ceph cluster, and fences with its blocklist.
package rbd

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/userdev"
	"github.com/flocker-project/flocker/cluster"
)

// What is used where the operator says nothing else.
const (
	DefaultConf = "/etc/ceph/ceph.conf"
	DefaultUser = "admin"
	DefaultSize = 10 << 30 // of a volume for which no size was asked
)

// folderLetters are enough to tell machines apart.
const folderLetters = 16

// Config says which pool it is, and who asks.
type Config struct {
	Pool    string
	Conf    string // Ceph's configuration file; DefaultConf when empty
	User    string // as in client.USER; DefaultUser when empty
	Keyring string // the user's; where Ceph looks for it when empty
	Machine string // this node's name in locks
	Cluster string // the UUID of the cluster whose volumes these are
	Size    int64  // of a volume for which no size was asked; DefaultSize when 0
	Dir     string // where devices are; a folder of userdev.DefaultDir when empty
	// Profiles are the operator's; of their options the store uses its own ProfileOptions.
	Profiles backend.Profiles
	Log      *slog.Logger
}

// Store is one machine's view of a pool.
type Store struct {
	ceph     ceph
	machine  string
	cluster  string
	size     int64
	profiles backend.Profiles
	devices  *userdev.Devices
	log      *slog.Logger
	locks    sync.Map // by dataset, a *sync.Mutex
	marks    sync.Map // by the image's id, which Ceph gives once, its mark
}

var (
	poolForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`) // no part of an image's name: / and @
	wordForm = regexp.MustCompile(`^[A-Za-z0-9_.][A-Za-z0-9_.-]*$`)
)

// Open prepares for attaching; Ceph itself is not asked yet.
func Open(config Config) (*Store, error) {
	config.Conf, config.User = cmp.Or(config.Conf, DefaultConf), cmp.Or(config.User, DefaultUser)
	for _, word := range []struct {
		what, is string
		form     *regexp.Regexp
	}{
		{"pool", config.Pool, poolForm},
		{"user", config.User, wordForm},
		{"name of this machine", config.Machine, wordForm},
		{"cluster", config.Cluster, wordForm},
	} {
		if !word.form.MatchString(word.is) {
			return nil, fmt.Errorf("%s %q: %w: letters, digits, dots, dashes and underscores make one", word.what, word.is, cluster.ErrInvalid)
		}
	}
	if config.Dir == "" {
		config.Dir = filepath.Join(userdev.DefaultDir, folderOf(config.Machine))
	}
	devices, err := userdev.Open(config.Dir, config.Log)
	if err != nil {
		return nil, err
	}
	return &Store{
		ceph:    ceph{pool: config.Pool, conf: config.Conf, user: config.User, keyring: config.Keyring},
		machine: config.Machine, cluster: config.Cluster, size: cmp.Or(config.Size, DefaultSize),
		profiles: config.Profiles, devices: devices, log: config.Log,
	}, nil
}

// folderOf is where a machine's devices are. Machines that share a kernel, as containers do, see each other's loop devices and
// must tell them apart by the path alone, and a path has to leave room for a socket's name.
func folderOf(machine string) string {
	short := strings.ReplaceAll(machine, "-", "")
	return "rbd-" + short[:min(len(short), folderLetters)]
}

// Machine is the name that the machine's locks carry.
func (s *Store) Machine(context.Context) (string, error) { return s.machine, nil }

// imageOf names a dataset's image: for ever the same one, so that there are never two.
func (s *Store) imageOf(id cluster.DatasetID) string {
	return s.prefix() + string(id)
}

func (s *Store) prefix() string { return "flocker-" + s.cluster + "-" }

// datasetOf is whose image it is, if it is one of this cluster's.
func (s *Store) datasetOf(image string) (cluster.DatasetID, bool) {
	id, ours := strings.CutPrefix(image, s.prefix())
	return cluster.DatasetID(id), ours && wordForm.MatchString(id)
}

// lock lets one change of a volume happen at a time.
func (s *Store) lock(id cluster.DatasetID) (unlock func()) {
	mutex, _ := s.locks.LoadOrStore(id, &sync.Mutex{})
	mutex.(*sync.Mutex).Lock()
	return mutex.(*sync.Mutex).Unlock
}

func busy(image string, why any) error {
	return fmt.Errorf("volume %s: %w: %v", image, backend.ErrBusy, why)
}

func absent(image string) error {
	return fmt.Errorf("volume %s: %w", image, backend.ErrNotFound)
}
