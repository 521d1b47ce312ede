// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"strings"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/pki"
)

// Client is a connection of the cluster's administrator, for what is measured more
// finely than a program's start allows. The caller closes it.
func (l *Lab) Client() (*api.Client, error) {
	creds, err := pki.LoadCredentials(l.variable("FLOCKER_CERTS"), pki.UserName)
	if err != nil {
		return nil, fmt.Errorf("the administrator's certificate: %w", err)
	}
	return api.NewClient(strings.Split(l.variable("FLOCKER_CONTROL"), ","), pki.ClientTLS(creds, pki.ExpectControl())), nil
}

// variable is the last that was set by the name.
func (l *Lab) variable(name string) (value string) {
	for _, v := range l.env {
		if after, ok := strings.CutPrefix(v, name+"="); ok {
			value = after
		}
	}
	return value
}
