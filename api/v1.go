// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// v1 serves the original's API in its shapes.
type v1 struct {
	Services
	access access
}

func registerV1(mux *http.ServeMux, s Services, a access) {
	h := v1{s, a}
	mux.HandleFunc("GET /v1/version", h.version)
	mux.HandleFunc("GET /v1/state/nodes", h.nodes)
	mux.HandleFunc("GET /v1/state/nodes/by_era/{era}", h.nodeByEra)
	mux.HandleFunc("GET /v1/configuration/datasets", h.listDatasets)
	mux.HandleFunc("POST /v1/configuration/datasets", h.createDataset)
	mux.HandleFunc("POST /v1/configuration/datasets/{dataset}", h.updateDataset)
	mux.HandleFunc("DELETE /v1/configuration/datasets/{dataset}", h.deleteDataset)
	mux.HandleFunc("GET /v1/state/datasets", h.datasetState)
	mux.HandleFunc("GET /v1/configuration/containers", h.listContainers)
	mux.HandleFunc("POST /v1/configuration/containers", h.createContainer)
	mux.HandleFunc("POST /v1/configuration/containers/{name}", h.moveContainer)
	mux.HandleFunc("DELETE /v1/configuration/containers/{name}", h.deleteContainer)
	mux.HandleFunc("GET /v1/state/containers", h.containerState)
}

// v1Error is an error in the original's shape.
type v1Error struct {
	status      int
	Description string   `json:"description"`
	Errors      []string `json:"errors,omitempty"`
}

func (e *v1Error) Error() string { return e.Description }

// v1Schema is the original's answer to a body that its schema refuses.
func v1Schema(problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	return &v1Error{status: http.StatusBadRequest, Description: "The provided JSON doesn't match the required schema.", Errors: problems}
}

// answer lets in who has the role, and writes what the request leads to.
func (h v1) answer(w http.ResponseWriter, r *http.Request, role pki.Role, do func(by string) (int, any, error)) {
	id, err := h.access.user(r, role)
	if err != nil {
		writeV1Error(w, err)
		return
	}
	status, v, err := do(id.String())
	if err != nil {
		writeV1Error(w, err)
		return
	}
	writeV1(w, status, v)
}

func writeV1(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the peer is gone when this fails
}

func writeV1Error(w http.ResponseWriter, err error) {
	e := new(v1Error)
	if !errors.As(err, &e) {
		e = &v1Error{status: ProblemOf(err).Status, Description: err.Error()}
		switch e.status {
		case http.StatusUnprocessableEntity:
			e.status = http.StatusBadRequest
		case http.StatusPreconditionFailed: // there, it is about configuration tags
			e.status = http.StatusConflict
		}
	}
	writeV1(w, e.status, e)
}

// readV1 reads a body as the original's schemas do: an object without unknown keys.
func readV1(r *http.Request, v any) error {
	err := readJSON(r.Body, v)
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*Problem)):
		return err
	case errors.As(err, new(*json.SyntaxError)), !strings.Contains(err.Error(), "json:"):
		return &v1Error{status: http.StatusBadRequest, Description: "The request body could not be decoded: " + err.Error()}
	}
	return v1Schema([]string{err.Error()})
}

// v1UUID is the original's pattern.
func v1UUID(field, text string, problems *[]string) {
	if !regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$`).MatchString(text) {
		*problems = append(*problems, fmt.Sprintf("%s: %.80q is not a UUID of version 4", field, text))
	}
}

func (h v1) version(w http.ResponseWriter, r *http.Request) {
	h.answer(w, r, pki.RoleRead, func(string) (int, any, error) {
		v, err := h.Overview.Version(r.Context())
		return http.StatusOK, map[string]string{"flocker": v.Flocker}, err
	})
}

type v1Node struct {
	UUID cluster.NodeID `json:"uuid"`
	Host string         `json:"host,omitempty"`
}

func (h v1) nodes(w http.ResponseWriter, r *http.Request) {
	h.answer(w, r, pki.RoleRead, func(string) (int, any, error) {
		all, err := h.Nodes.ListNodes(r.Context())
		list := []v1Node{}
		for _, n := range all {
			if n.IsAlive {
				list = append(list, v1Node{UUID: n.ID, Host: n.Address})
			}
		}
		return http.StatusOK, list, err
	})
}

func (h v1) nodeByEra(w http.ResponseWriter, r *http.Request) {
	h.answer(w, r, pki.RoleRead, func(string) (int, any, error) {
		all, err := h.Nodes.ListNodes(r.Context())
		if err != nil {
			return 0, nil, err
		}
		for _, n := range all {
			if n.IsAlive && strings.EqualFold(n.BootID, r.PathValue("era")) {
				return http.StatusOK, v1Node{UUID: n.ID}, nil
			}
		}
		return 0, nil, &v1Error{status: http.StatusNotFound, Description: "No node found with given era."}
	})
}
