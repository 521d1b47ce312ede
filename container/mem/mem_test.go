// SPDX-License-Identifier: Apache-2.0

package mem_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/container/containertest"
	"github.com/flocker-project/flocker/container/mem"
)

const image = "probe"

// probe is the contract suite's program, on the machine's own files instead of a container's.
func probe(ctx context.Context, p mem.Process) int {
	args := p.Command
	if len(args) > 0 && args[0] == "/probe" {
		args = args[1:]
	}
	b, err := containertest.Behave(args)
	if err != nil {
		return 1
	}
	for _, line := range b.Print {
		fmt.Fprintln(p.Output, line)
	}
	if b.Write != "" && os.WriteFile(onHost(p.Spec, b.Write), []byte("written"), 0o600) != nil {
		return 1
	}
	if !b.Wait {
		return b.Exit
	}
	for {
		select {
		case signal := <-p.Signals:
			if signal == "SIGINT" {
				return containertest.InterruptCode
			}
			if !b.IgnoreTerm {
				return 0
			}
		case <-ctx.Done():
			return 128 + 9
		}
	}
}

func onHost(spec container.Spec, path string) string {
	for _, m := range spec.Mounts {
		if rest, ok := strings.CutPrefix(path, m.Target); ok {
			return filepath.Join(m.Source, rest)
		}
	}
	return path
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

var (
	network = container.NetworkConfig{Subnet: netip.MustParsePrefix("10.144.0.0/16"), Gateway: netip.MustParseAddr("10.144.0.2")}
	address = netip.MustParseAddr("10.144.0.3")
)

// joined is a machine with the image, in the cluster network.
func joined(t *testing.T, config mem.Config) *mem.Engine {
	t.Helper()
	e := mem.New(config)
	e.AddImage(image, mem.Image{ID: "id", Size: 1})
	if err := e.Join(t.Context(), network); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestContract(t *testing.T) {
	containertest.Run(t, func(t *testing.T) containertest.Subject {
		e := joined(t, mem.Config{Program: probe, Source: exists})
		return containertest.Subject{
			Engine:    e,
			Image:     image,
			Network:   network,
			Addresses: containertest.NewAddresses(network.Gateway),
			Unjoined:  func(*testing.T) container.Engine { e.Leave(); return e },
			Resolve: func(_ *testing.T, application, name string) string {
				if address, ok := e.Hosts(application)[name]; ok {
					return address.String()
				}
				return ""
			},
			Alive: func(_ *testing.T, application string) func() bool {
				return func() bool { return e.Running(application) }
			},
			RemoveImage: func(_ *testing.T, ref string) { e.RemoveImage(ref) },
			CopyImage:   func(_ *testing.T, ref string) { e.AddImage(ref, mem.Image{ID: "id", Size: 1}) },
		}
	})
}

func TestRebootEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := joined(t, mem.Config{})
		before, err := e.Create(t.Context(), container.Spec{Application: cluster.Application{Name: "app", Image: image}, Address: address})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Start(t.Context(), "app"); err != nil {
			t.Fatal(err)
		}
		e.Reboot()
		all, err := e.List(t.Context())
		if err != nil || len(all) != 1 || all[0].State != cluster.ContainerExited || all[0].Netns != "" || e.Running("app") {
			t.Fatalf("List() after a reboot = %+v, %v; want an exited container without a namespace", all, err)
		}
		if err := e.Start(t.Context(), "app"); err != nil || !e.Running("app") {
			t.Fatalf("Start() after a reboot = %v", err)
		}
		if all, err = e.List(t.Context()); err != nil || all[0].Address != before.Address {
			t.Errorf("List() = %+v, %v; want the same address", all, err)
		}
		if err := e.Remove(t.Context(), "app"); err != nil {
			t.Error(err)
		}
	})
}

func TestStopTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := joined(t, mem.Config{Program: probe})
		a := cluster.Application{Name: "app", Image: image, Command: []string{"ignore-term", "wait"}, StopTimeout: cluster.Duration(time.Minute)}
		if _, err := e.Create(t.Context(), container.Spec{Application: a, Address: address}); err != nil {
			t.Fatal(err)
		}
		if err := e.Start(t.Context(), "app"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := e.Stop(t.Context(), "app", "", 0); err != nil || time.Since(began) != time.Minute {
			t.Errorf("Stop() = %v after %v; want the application's own time-out", err, time.Since(began))
		}
	})
}
