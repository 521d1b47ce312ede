// SPDX-License-Identifier: Apache-2.0

// Package nbd attaches the volumes of a block store by the network block device protocol.
package nbd

import (
	"strconv"
	"time"

	"github.com/flocker-project/flocker/backend/exports"
	"github.com/flocker-project/flocker/backend/userdev"
	"github.com/flocker-project/flocker/blockstore/client"
)

// Open prepares for attaching; the store itself is not asked yet.
func Open(config exports.Config) (*exports.Store, error) {
	return exports.Open(exports.Protocol{Name: client.NBD, Spec: spec}, config)
}

// spec lets nobody in who does not know the export's key, and is let in by nobody else.
func spec(host string, e client.Export, folder string, reconnect time.Duration) userdev.Spec {
	return userdev.Spec{
		Blockdev: map[string]any{
			"driver": "nbd", "export": e.Name, "tls-creds": "key", "reconnect-delay": int(reconnect.Seconds()),
			"server": map[string]any{"type": "inet", "host": host, "port": strconv.Itoa(e.Port)},
		},
		Objects: []map[string]any{{"qom-type": "tls-creds-psk", "id": "key", "endpoint": "client", "username": e.User, "dir": folder}},
		Files:   map[string][]byte{"keys.psk": []byte(e.User + ":" + e.Secret + "\n")},
	}
}
