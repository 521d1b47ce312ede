// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/internal/run"
)

// How long Ceph may take to answer. Its programs wait for ever for a cluster that is away.
const (
	answers = 30 * time.Second
	removes = 15 * time.Minute // every object of an image
)

// ceph runs Ceph's own programs.
type ceph struct {
	pool, conf, user, keyring string
}

func (c *ceph) rbd(ctx context.Context, args ...string) ([]byte, error) {
	return c.run(ctx, answers, "rbd", args...)
}

// rbdJSON decodes what the program says into a value. It says nothing at all of an image without metadata.
func (c *ceph) rbdJSON(ctx context.Context, into any, args ...string) error {
	out, err := c.rbd(ctx, append(args, "--format", "json")...)
	if err != nil || len(out) == 0 {
		return err
	}
	return decode("rbd "+args[0], out, into)
}

func decode(what string, out []byte, into any) error {
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("what %s says: %w", what, err)
	}
	return nil
}

// image is how the program names an image.
func (c *ceph) image(name string) string { return c.pool + "/" + name }

func (c *ceph) run(ctx context.Context, patience time.Duration, program string, args ...string) ([]byte, error) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	words := append([]string{"--conf", c.conf, "--id", c.user}, args...)
	if c.keyring != "" {
		words = append(words, "--keyring", c.keyring)
	}
	out, err := run.Command(bounded, program, words...).Output()
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return out, fmt.Errorf("%w: %w", ctx.Err(), err)
	case bounded.Err() != nil:
		return out, fmt.Errorf("%w: no answer within %v: %w", backend.ErrTemporary, patience, err)
	case status(err) == int(unix.ETIMEDOUT):
		return out, fmt.Errorf("%w: %w", backend.ErrTemporary, err)
	case status(err) == int(unix.ENOSPC):
		return out, fmt.Errorf("%w: %w", backend.ErrNoSpace, err)
	}
	return out, err
}

// status is what the program ended with, which is the number of an error of the system.
func status(err error) int {
	if failure, ok := errors.AsType[*run.Error](err); ok {
		return failure.ExitCode()
	}
	return -1
}

// noImage says that a command failed because the image is not there; a pool or a key that is not there has the same number.
func noImage(err error) bool {
	failure, ok := errors.AsType[*run.Error](err)
	return ok && failure.ExitCode() == int(unix.ENOENT) &&
		(strings.Contains(failure.Stderr, "error opening image") || strings.Contains(failure.Stderr, "delete error"))
}

// refused says that a command failed because of what somebody else has of the image.
func refused(err error) bool {
	return status(err) == int(unix.EBUSY) || status(err) == int(unix.ENOTEMPTY)
}

func inBytes(n int64) string { return strconv.FormatInt(n, 10) + "B" }
