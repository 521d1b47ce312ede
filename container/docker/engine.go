// SPDX-License-Identifier: Apache-2.0

// Package docker runs containers with Docker Engine, API 1.41 and later.
package docker

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/container"
)

// Config says which engine to use, and the names of what is made on it.
type Config struct {
	// Host is the engine's address; empty is the local socket. The engine must run on this machine: the agent looks at its processes.
	Host string
	// Cluster is written on everything made here; what carries another cluster's is not ours.
	Cluster string
	// Network and Bridge name Docker's network and its interface; default "flocker" and "flocker0".
	Network, Bridge string
	// HolderImage is the tag of the image that the holders run, made here; default "flocker/holder:1".
	HolderImage string
	// SourceDir is where the links to mount sources are; it must not outlive a boot. Default "/run/flocker/sources".
	SourceDir string
	// CredentialsDir holds Docker's config.json; default $DOCKER_CONFIG, else the home directory's .docker.
	CredentialsDir string
}

// Engine is a container.Engine on Docker.
type Engine struct {
	config Config
	api    *client.Client
	log    *slog.Logger
	making making
	setup  sync.Mutex              // one makes the network and the holder image at a time
	joined container.NetworkConfig // under setup; zero before Join
	naming making                  // an application's file of names is written by one at a time, Docker included
}

var _ container.Engine = (*Engine)(nil)

// Open prepares to talk to the engine; it need not be up yet.
func Open(config Config, log *slog.Logger) (*Engine, error) {
	config = config.withDefaults()
	options := []client.Opt{client.WithHost(config.Host)}
	api, err := client.New(options...)
	if err != nil {
		return nil, fmt.Errorf("docker client for %s: %w", config.Host, err)
	}
	return &Engine{config: config, api: api, log: log, making: newMaking(), naming: newMaking()}, nil
}

// Close drops the connections to the engine; what runs there goes on.
func (e *Engine) Close() error { return e.api.Close() }

func (c Config) withDefaults() Config {
	setDefault(&c.Host, client.DefaultDockerHost)
	setDefault(&c.Network, "flocker")
	setDefault(&c.Bridge, "flocker0")
	setDefault(&c.HolderImage, "flocker/holder:1")
	setDefault(&c.SourceDir, "/run/flocker/sources")
	setDefault(&c.CredentialsDir, defaultCredentialsDir())
	return c
}

func setDefault(field *string, value string) {
	if *field == "" {
		*field = value
	}
}
