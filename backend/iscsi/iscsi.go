// SPDX-License-Identifier: Apache-2.0

// Package iscsi attaches the volumes of a block store by iSCSI.
package iscsi

import (
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/flocker-project/flocker/backend/exports"
	"github.com/flocker-project/flocker/backend/userdev"
	"github.com/flocker-project/flocker/blockstore/client"
)

// initiator is the same everywhere: who may log in is told by the secret of the attachment.
const initiator = "iqn.2026-01.io.flocker:node"

// Open prepares for attaching; the store itself is not asked yet.
func Open(config exports.Config) (*exports.Store, error) {
	return exports.Open(exports.Protocol{Name: client.ISCSI, Spec: spec}, config)
}

func spec(host string, e client.Export, folder string, reconnect time.Duration) userdev.Spec {
	return userdev.Spec{
		Blockdev: map[string]any{
			"driver": "iscsi", "transport": "tcp", "portal": net.JoinHostPort(host, strconv.Itoa(e.Port)), "target": e.Name, "lun": 1,
			"initiator-name": initiator, "user": e.User, "password-secret": "key", "timeout": int(reconnect.Seconds()),
		},
		Objects: []map[string]any{{"qom-type": "secret", "id": "key", "file": filepath.Join(folder, "password")}},
		Files:   map[string][]byte{"password": []byte(e.Secret)},
	}
}
