// SPDX-License-Identifier: Apache-2.0

package backend

import "context"

// CanSnapshot is asked of nobody.
func (w *wrapped) CanSnapshot() error {
	if s, ok := w.inner.(VolumeSnapshotter); ok {
		return s.CanSnapshot()
	}
	return ErrUnsupported
}

func (w *wrapped) Snapshots(ctx context.Context, v Volume) (list []VolumeSnapshot, err error) {
	err = wrappedAbility(ctx, w, StoreCall{"snapshots", v}, func(ctx context.Context, s VolumeSnapshotter) (err error) {
		list, err = s.Snapshots(ctx, v)
		return err
	})
	return list, err
}

func (w *wrapped) TakeSnapshot(ctx context.Context, v Volume, name string) (taken VolumeSnapshot, err error) {
	err = wrappedAbility(ctx, w, StoreCall{"snapshot", v}, func(ctx context.Context, s VolumeSnapshotter) (err error) {
		taken, err = s.TakeSnapshot(ctx, v, name)
		return err
	})
	return taken, err
}

func (w *wrapped) DeleteSnapshot(ctx context.Context, v Volume, name string) error {
	return wrappedAbility(ctx, w, StoreCall{"delete-snapshot", v}, func(ctx context.Context, s VolumeSnapshotter) error {
		return s.DeleteSnapshot(ctx, v, name)
	})
}

func (w *wrapped) CloneVolume(ctx context.Context, v Volume, snapshot string, spec Spec) (made Volume, err error) {
	call := StoreCall{Op: "clone", Volume: Volume{Dataset: spec.Dataset, Size: spec.Size, Profile: spec.Profile}}
	err = wrappedAbility(ctx, w, call, func(ctx context.Context, s VolumeSnapshotter) (err error) {
		made, err = s.CloneVolume(ctx, v, snapshot, spec)
		return err
	})
	return made, err
}

func (w *wrapped) Differs(ctx context.Context, v Volume, snapshot string) (differs bool, err error) {
	err = wrappedAbility(ctx, w, StoreCall{"differs", v}, func(ctx context.Context, s VolumeReverter) (err error) {
		differs, err = s.Differs(ctx, v, snapshot)
		return err
	})
	return differs, err
}

func (w *wrapped) Rollback(ctx context.Context, v Volume, snapshot string) error {
	return wrappedAbility(ctx, w, StoreCall{"rollback", v}, func(ctx context.Context, s VolumeReverter) error {
		return s.Rollback(ctx, v, snapshot)
	})
}
