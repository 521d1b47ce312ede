// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Properties of ours. They count only where they are set on the filesystem itself.
const (
	parentMark   = "org.flocker:parent"   // on the parent: the owner's UUID
	incomingMark = "org.flocker:incoming" // on the folder of what is half made
	datasetMark  = "org.flocker:dataset"  // on a line: the dataset's UUID
	headMark     = "org.flocker:head"     // on a line that is the head: its record
	endingMark   = "org.flocker:ending"   // on a line: what is being done to it
	goneMark     = "org.flocker:gone"     // on a snapshot that is deleted, and stays only for its clones
)

// Values of endingMark.
const (
	endingHead  = "head"  // the head goes, the snapshots stay
	endingWhole = "whole" // all of it goes
)

const (
	incomingName = "flocker.incoming"
	// ownPrefix begins the names of snapshots that are ours and not whole, or not wanted any more.
	ownPrefix = "flocker."
	// clonePrefix begins the names of half made clones of encrypted lines, beside these.
	clonePrefix = "flocker.clone."
	// holdTag pins snapshots.
	holdTag = "flocker"
)

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// enter finds out what this version can do, and takes the parent.
func (d *Driver) enter(ctx context.Context) error {
	pool, _, inside := strings.Cut(d.parent, "/")
	altroot, err := d.zpool(ctx, "get", "altroot", pool)
	if err != nil {
		return err
	}
	if d.altroot = lastColumns(altroot)["altroot"]; d.altroot == "-" {
		d.altroot = ""
	}
	if _, err := d.relative(d.mountRoot); err != nil {
		return err
	}
	if _, err := d.zfs(ctx, "get", "-Hp", "-o", "value", "type", d.parent); errors.Is(err, backend.ErrNotFound) && inside {
		if err := d.makeParent(ctx); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if err := d.mark(ctx); err != nil {
		return err
	}
	if err := d.hold(); err != nil {
		return err
	}
	if d.can, err = d.probe(ctx); err == nil {
		err = d.makeIncoming(ctx)
	}
	if err != nil {
		return errors.Join(err, d.lock.Close())
	}
	return nil
}

// makeParent makes the parent in a pool that somebody has for other things too.
func (d *Driver) makeParent(ctx context.Context) error {
	_, err := d.zfs(ctx, "create", "-o", "mountpoint=none", "-o", "canmount=off", "-o", "com.sun:auto-snapshot=false",
		"-o", parentMark+"="+uuid.NewString(), d.parent)
	return err
}

// mark reads the parent's mark. Only a filesystem that is empty is marked here: of any other it is not certain that it is meant.
func (d *Driver) mark(ctx context.Context) error {
	own, err := d.own(ctx, parentMark, d.parent)
	if err != nil {
		return err
	}
	if own == "" {
		names, err := d.zfs(ctx, "list", "-H", "-o", "name", "-r", "-t", "filesystem,volume", d.parent)
		if err != nil {
			return err
		}
		if below := strings.Count(string(names), "\n") - 1; below > 0 {
			return fmt.Errorf("%w: %s has %d filesystems in it and is not marked as Flocker's; name one inside it (pool: %s/flocker), or mark it: zfs set %s=%s %s",
				cluster.ErrInvalid, d.parent, below, d.parent, parentMark, uuid.NewString(), d.parent)
		}
		own = uuid.NewString()
		if err := d.set(ctx, d.parent, parentMark, own); err != nil {
			return err
		}
	}
	if !uuidForm.MatchString(own) {
		return fmt.Errorf("%w: %s of %s is %q, not a UUID", cluster.ErrInvalid, parentMark, d.parent, own)
	}
	d.owner = own
	return nil
}

func (d *Driver) incoming() string { return d.parent + "/" + incomingName }

func (d *Driver) makeIncoming(ctx context.Context) error {
	own, err := d.own(ctx, incomingMark, d.incoming())
	switch {
	case errors.Is(err, backend.ErrNotFound):
		_, err := d.zfs(ctx, "create", "-o", "mountpoint=none", "-o", "canmount=off", "-o", incomingMark+"=on", d.incoming())
		return err
	case err == nil && own == "":
		return fmt.Errorf("%w: %s is there and is not marked as Flocker's", backend.ErrExists, d.incoming())
	}
	return err
}

// own is a property that is set on the filesystem itself; inherited or received ones are empty.
func (d *Driver) own(ctx context.Context, property, name string) (string, error) {
	out, err := d.zfs(ctx, "get", "-Hp", "-o", "value,source", property, name)
	if err != nil {
		return "", err
	}
	value, source, _ := strings.Cut(strings.TrimSuffix(string(out), "\n"), "\t")
	if source != "local" {
		return "", nil
	}
	return value, nil
}

// relative is a mount point as the property has it.
func (d *Driver) relative(point string) (string, error) {
	if d.altroot == "" || d.altroot == "/" {
		return point, nil
	}
	rest, below := strings.CutPrefix(point, strings.TrimSuffix(d.altroot, "/"))
	if !below || !strings.HasPrefix(rest, "/") {
		return "", fmt.Errorf("%w: mount point %s is not below the pool's altroot %s", cluster.ErrInvalid, point, d.altroot)
	}
	return rest, nil
}
