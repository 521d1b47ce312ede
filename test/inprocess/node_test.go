// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"errors"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/mem"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	enginemem "github.com/flocker-project/flocker/container/mem"
	"github.com/flocker-project/flocker/migrate"
	netmem "github.com/flocker-project/flocker/network/mem"
	"github.com/flocker-project/flocker/pki"
)

const (
	image    = "db:1"
	diskSize = 80 << 20
)

// node is a machine: what outlives the processes of its agent.
type node struct {
	w      *world
	id     cluster.NodeID
	name   string
	creds  *pki.Credentials
	disk   *mem.Driver
	shared *mem.Attached // its second back end: network storage
	engine *enginemem.Engine
	net    *netmem.Network
	link   *link  // from other agents
	uplink *link  // to the control service
	state  string // folder of the agent
	mounts string // folder of datasets

	docker atomic.Bool // away
	broken atomic.Bool // its storage
	slow   atomic.Bool // copying files does not come to an end

	trouble atomic.Pointer[func(op string) error] // with its second back end

	mu      sync.Mutex
	boot    string
	process *process
	all     []*process           // dead ones too
	points  map[string]func()    // what happens at a point of a move, or before the agent does something, once
	ways    map[string]behaviour // of applications here
	done    map[string]int       // how often the agent did what
	late    map[api.MoveAction]func(deliver func() error)
}

// behaviour is how an application behaves on a node.
type behaviour int

const (
	well    behaviour = iota
	ends              // it ends at once, with a word
	hangs             // it runs and never listens
	refuses           // it does not even start
)

var errBroken = errors.New("the disk does not answer")

var errAway = errors.New("cannot connect to the Docker daemon")

func newNode(w *world, name string) *node {
	id := cluster.NodeID(uuid.NewString())
	n := &node{
		w: w, id: id, name: name, creds: w.credentials(w.authority.IssueNode(id)), disk: mem.New(diskSize), shared: w.shelf.Machine(name), link: newLink(w.t), uplink: newLink(w.t),
		state: w.t.TempDir(), mounts: w.t.TempDir(), boot: uuid.NewString(),
		points: map[string]func(){}, ways: map[string]behaviour{}, done: map[string]int{},
		late: map[api.MoveAction]func(func() error){},
	}
	n.engine = enginemem.New(enginemem.Config{
		Program: n.program,
		Exec: func(_ string, command []string) (int, string, error) {
			n.did("hook " + command[0])
			return 0, "", nil
		},
		Source: func(path string) bool {
			id := cluster.DatasetID(filepath.Base(filepath.Dir(path)))
			return n.diskOf(id).Writable(id)
		},
		Fault: func(method, application string) error {
			if method == "Start" && n.behaves(application) == refuses {
				return errors.New("exec: \"db\": executable file not found")
			}
			return nil
		},
	})
	n.net = netmem.New(netmem.Config{Dial: n.listens})
	n.addImage()
	n.uplink.leadTo(w.service.agents)
	return n
}

func (n *node) behaves(app string) behaviour {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ways[app]
}

func (n *node) make(app string, b behaviour) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ways[app] = b
}

// did counts what the agent does.
func (n *node) did(op string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.done[op]++
}

// changes are what the agent has done to containers, heads, mounts and gates.
func (n *node) changes() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	changes := maps.Clone(n.done)
	maps.DeleteFunc(changes, func(op string, _ int) bool { return slices.Contains(harmless(), op) })
	return changes
}

// harmless is what disturbs nothing on the node.
func harmless() []string {
	return []string{
		"List", "Events", "HasImage", "Export", "Exec", "Logs", "Join", "Live", "Lives", "SetHosts", "GateOpen", "DialInside", "TalkInside", "Listening", "Publish",
		"Confined", "Ask", "Allow", "OpenSession", "Watch", "Report", "Renew", "Transition", "Progress", "list", "space", "released", "send", "delete-snapshot",
	}
}

// looks counts how often the agent looked at its containers: at least once in each round.
func (n *node) looks() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.done["List"]
}

// looksAgain waits until the agent has looked a few times more.
func (n *node) looksAgain() {
	n.w.t.Helper()
	for range 5 {
		at := n.looks()
		n.w.until("the agent looks again", func() bool {
			n.engine.SetForeign("passer-by", "/elsewhere") // something happens
			n.engine.SetForeign("passer-by")
			return n.looks() > at
		})
	}
}

// sessions counts how often the agent has begun to follow the store.
func (n *node) sessions() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.done["Watch"]
}

// at makes f happen when a move's function next comes to a point on this node, or the agent is about to do something.
func (n *node) at(point string, f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.points[point] = f
}

// asks makes f have the next request for a transition in its hands.
func (n *node) asks(action api.MoveAction, f func(deliver func() error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.late[action] = f
}

func (n *node) asked(action api.MoveAction) func(func() error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.late[action]
	delete(n.late, action)
	return f
}

// comeTo is what the agent calls at each point.
func (n *node) comeTo(point string) {
	n.mu.Lock()
	f := n.points[point]
	delete(n.points, point)
	n.mu.Unlock()
	if f != nil {
		f()
	}
}

func (n *node) current() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process
}

// reboot is a loss of power: every process, mount and rule is gone, and the next boot is another one.
func (n *node) reboot() {
	n.current().kill()
	n.engine.Reboot()
	n.disk.Reboot()
	n.shared.Disk().Reboot()
	n.net.Reboot()
	n.mu.Lock()
	n.boot = uuid.NewString()
	n.mu.Unlock()
	n.start()
}

// found is the application's container here, as the runtime knows it.
func (n *node) found(app string) (container.Found, bool) {
	all, err := n.engine.List(n.w.t.Context())
	if err != nil {
		n.w.t.Errorf("look at %s: %v", n.name, err)
	}
	i := slices.IndexFunc(all, func(f container.Found) bool { return f.Ours && f.Application == app })
	if i < 0 {
		return container.Found{}, false
	}
	return all[i], true
}

// open is the truth about whether traffic passes between the running application and anyone.
func (n *node) open(app string) bool {
	f, here := n.found(app)
	addr, err := netip.ParseAddr(f.Address) // one that starts between two looks had none at the first
	return here && err == nil && n.engine.Running(app) && n.net.Gate(f.Netns) && n.net.MayBeHeard(addr)
}

// heard is whether a client that uses the application's published port gets an answer from this node.
func (n *node) heard(app string) bool {
	f, here := n.found(app)
	if !here || !n.engine.Running(app) || !n.net.Gate(f.Netns) {
		return false
	}
	p, leads := n.net.Leads(n.w.port(app))
	return leads && p.Application == app && p.Address == f.Address && n.net.Heard(netip.MustParseAddr(f.Address), f.Netns)
}

// listens answers a connection inside a namespace.
func (n *node) listens(netns string, _ int) error {
	all, err := n.engine.List(n.w.t.Context())
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.Netns == netns && n.engine.Running(f.Application) && n.behaves(f.Application) == well {
			return nil
		}
	}
	return netmem.ErrRefused
}

// notes are those of hand-overs that may have been sent.
func (n *node) notes() (map[cluster.MoveID]int, error) {
	notes, err := migrate.OpenNotes(n.state)
	if err != nil {
		return nil, err
	}
	return notes.List()
}

// started is when the application's process here began; the zero time where it does not run.
func (n *node) started(app string) time.Time {
	f, here := n.found(app)
	if !here || !n.engine.Running(app) {
		return time.Time{}
	}
	return f.Started
}

// diskOf is where the head of a dataset is, if it is here.
func (n *node) diskOf(id cluster.DatasetID) *mem.Driver {
	if _, err := n.shared.Disk().Files(id); err == nil {
		return n.shared.Disk()
	}
	return n.disk
}

// pools are the node's back ends, with a process's fate around each.
func (n *node) pools(around func(backend.Driver) backend.Driver) *backend.Pools {
	own := backend.NewPool(around(n.disk), backend.Options{Name: "mem", MountRoot: n.mounts})
	shared := backend.NewPool(around(n.shared), backend.Options{Name: "shared", Kind: "shelf", MountRoot: n.mounts})
	pools, err := backend.NewPools(own, shared)
	if err != nil {
		n.w.t.Error(err)
	}
	return pools
}

// copyOf is what is here of a dataset.
func (n *node) copyOf(id cluster.DatasetID) (cluster.Copy, bool) {
	all, err := n.disk.List(n.w.t.Context())
	attached, errShared := n.shared.Disk().List(n.w.t.Context())
	if err = errors.Join(err, errShared); err != nil {
		n.w.t.Errorf("look at %s: %v", n.name, err)
	}
	all = append(all, attached...)
	i := slices.IndexFunc(all, func(c cluster.Copy) bool { return c.Dataset == id })
	if i < 0 {
		return cluster.Copy{}, false
	}
	return all[i], true
}

func (n *node) addImage() { n.engine.AddImage(image, enginemem.Image{ID: "sha256:1", Size: 1 << 20}) }
