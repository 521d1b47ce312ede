// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	dockercontainer "github.com/moby/moby/api/types/container"
	dockernetwork "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"
)

// endpointMACSince is the first API that takes a hardware address for a container's endpoint; earlier ones ignore it there and
// take one for the whole container.
const endpointMACSince = "1.44"

// createWithMAC creates a container whose endpoints have the hardware address from the start.
func (e *Engine) createWithMAC(ctx context.Context, options client.ContainerCreateOptions, mac string) (string, error) {
	if !versions.LessThan(e.api.ClientVersion(), endpointMACSince) {
		address, err := net.ParseMAC(mac)
		if err != nil {
			return "", err
		}
		for _, endpoint := range options.NetworkingConfig.EndpointsConfig {
			endpoint.MacAddress = dockernetwork.HardwareAddr(address)
		}
		made, err := e.api.ContainerCreate(ctx, options)
		return made.ID, err
	}
	return e.createOldAPI(ctx, options, mac)
}

// oldCreateRequest has the field that the client's own types have lost.
type oldCreateRequest struct {
	*dockercontainer.Config
	MacAddress       string
	HostConfig       *dockercontainer.HostConfig
	NetworkingConfig *dockernetwork.NetworkingConfig
}

// createOldAPI asks the engine itself: the client has no way to say it.
func (e *Engine) createOldAPI(ctx context.Context, options client.ContainerCreateOptions, mac string) (id string, err error) {
	body, err := json.Marshal(oldCreateRequest{options.Config, mac, options.HostConfig, options.NetworkingConfig})
	if err != nil {
		return "", fmt.Errorf("encode container: %w", err)
	}
	address := url.URL{Scheme: "http", Host: "docker", Path: "/v" + e.api.ClientVersion() + "/containers/create", RawQuery: url.Values{"name": {options.Name}}.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	dial := e.api.Dialer()
	direct := http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true,
	}}
	reply, err := direct.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, reply.Body.Close()) }()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		return "", fmt.Errorf("read docker's answer: %w", err)
	}
	var answer struct{ ID, Message string }
	if err := json.Unmarshal(text, &answer); err != nil || reply.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("docker answers %s: %s", reply.Status, answer.Message)
	}
	return answer.ID, nil
}
