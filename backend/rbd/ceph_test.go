// SPDX-License-Identifier: Apache-2.0

package rbd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/internal/run/runtest"
)

// server is a real Ceph of one monitor and one disk, which all tests of this package share.
type server struct {
	dir     string
	conf    string // the administrator's
	started error
	daemons []*run.Cmd
	pipes   []*os.File // to the daemons, which end with them, and so with this process, however that ends
	once    sync.Once
}

var theCeph server

const (
	thePool  = "flocker"
	dataPool = "flocker-data"
	theUser  = "flocker" // with the rights that the documentation names
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := theCeph.end(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// ceph starts Ceph for the first test that asks.
func needCeph(t *testing.T) *server {
	t.Helper()
	runtest.Need(t, "ceph-mon", "ceph-osd", "rbd", "qemu-storage-daemon")
	theCeph.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		theCeph.started = theCeph.start(ctx)
	})
	if theCeph.started != nil {
		t.Fatal("start Ceph: ", theCeph.started)
	}
	return &theCeph
}

const cephConf = `[global]
fsid = %[1]s
mon_initial_members = a
mon_host = [v2:127.0.0.1:%[2]d]
public_addr = 127.0.0.1
ms_bind_ipv6 = false
run_dir = %[3]s
admin_socket =
log_file = %[3]s/$name.log
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
mon_data = %[3]s/mon
osd_data = %[3]s/osd
osd_objectstore = bluestore
bluestore_block_size = 4294967296
keyring = %[3]s/keyring
`

func (c *server) start(ctx context.Context) (err error) {
	if c.dir, err = os.MkdirTemp("", "ceph"); err != nil {
		return err
	}
	c.conf = filepath.Join(c.dir, "ceph.conf")
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	fsid, disk := uuid.NewString(), uuid.NewString()
	text := fmt.Sprintf(cephConf, fsid, port, c.dir)
	if err := errors.Join(l.Close(), os.WriteFile(c.conf, []byte(text), 0o600),
		os.Mkdir(filepath.Join(c.dir, "mon"), 0o700), os.Mkdir(filepath.Join(c.dir, "osd"), 0o700)); err != nil {
		return err
	}
	keyring := filepath.Join(c.dir, "keyring")
	steps := []string{
		"ceph-authtool --create-keyring KEYS --gen-key -n mon. --cap mon allow+*",
		"ceph-authtool KEYS --gen-key -n client.admin --cap mon allow+* --cap osd allow+*",
		"monmaptool --create --fsid " + fsid + " --addv a [v2:127.0.0.1:" + strconv.Itoa(port) + "] DIR/monmap",
		"ceph-mon --conf CONF --mkfs -i a --monmap DIR/monmap --keyring KEYS",
		"& ceph-mon --conf CONF -f -i a",
		"ceph --conf CONF --connect-timeout 60 osd new " + disk,
		"ceph --conf CONF auth get-or-create osd.0 mon allow+profile+osd osd allow+* -o DIR/osd.key",
		"ceph-osd --conf CONF -i 0 --mkfs --osd-uuid " + disk + " --keyring DIR/osd.key",
		"& ceph-osd --conf CONF -f -i 0 --keyring DIR/osd.key",
		"ceph --conf CONF osd pool create " + thePool + " 8",
		"ceph --conf CONF osd pool create " + dataPool + " 8",
		"rbd --conf CONF pool init " + thePool,
		"ceph --conf CONF auth get-or-create client." + theUser + " mon profile+rbd osd profile+rbd+pool=" + thePool + ",profile+rbd+pool=" + dataPool + " -o DIR/user.key",
	}
	words := strings.NewReplacer("KEYS", keyring, "CONF", c.conf, "DIR", c.dir)
	for _, step := range steps {
		if err := c.step(ctx, words.Replace(step)); err != nil {
			return err
		}
	}
	return nil
}

// step runs a command; a plus is a space within a word, and an ampersand leaves it running.
func (c *server) step(ctx context.Context, line string) error {
	words := strings.Fields(line)
	for i, w := range words {
		words[i] = strings.ReplaceAll(w, "+", " ")
	}
	if words[0] == "&" {
		return c.daemon(context.WithoutCancel(ctx), words[1:])
	}
	return run.Command(ctx, words[0], words[1:]...).Run()
}

// daemon leaves a program running until the pipe is closed that its shell reads.
func (c *server) daemon(ctx context.Context, words []string) error {
	shell := []string{"-c", `"$@" & read -r _; kill -9 $!; wait`, "sh"}
	cmd := run.Command(ctx, "sh", append(shell, words...)...)
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	c.daemons, c.pipes = append(c.daemons, cmd), append(c.pipes, w)
	cmd.Stdin = r
	return errors.Join(cmd.Start(), r.Close())
}

func (c *server) end() error {
	var failed error
	for i, d := range c.daemons {
		failed = errors.Join(failed, c.pipes[i].Close())
		_ = d.Wait() // the daemon was killed
	}
	if c.dir != "" {
		failed = errors.Join(failed, os.RemoveAll(c.dir))
	}
	return failed
}

// admin runs a program as Ceph's administrator.
func (c *server) admin(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := run.Command(t.Context(), program, append([]string{"--conf", c.conf}, args...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
