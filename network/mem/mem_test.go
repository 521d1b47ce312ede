// SPDX-License-Identifier: Apache-2.0

package mem_test

import (
	"context"
	"testing"

	"github.com/flocker-project/flocker/network"
	"github.com/flocker-project/flocker/network/mem"
	"github.com/flocker-project/flocker/network/networktest"
)

func TestContract(t *testing.T) {
	networktest.Run(t, func(*testing.T) networktest.Subject {
		const namespace, port = "mem/1", 7000
		n := mem.New(mem.Config{Dial: func(asked string, number int) error {
			if asked != namespace || number != port {
				return mem.ErrRefused
			}
			return nil
		}})
		return networktest.Subject{
			Gates: n, Ports: n, Namespace: namespace, Address: "10.99.0.2", Port: port,
			Reach: func(_ context.Context, port int) error {
				if _, led := n.Leads(network.Port{Protocol: "tcp", Number: port}); !led || !n.Gate(namespace) {
					return mem.ErrRefused
				}
				return nil
			},
		}
	})
}
