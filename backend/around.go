// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"slices"
)

// StoreCall is one call of a method of Volumes.
type StoreCall struct {
	Op     string
	Volume Volume // zero for those that are not of one volume; of Create, what is asked for
}

// Around is something done around every call of a store, such as waiting, counting or trying again. It calls do as
// often as it likes.
type Around func(ctx context.Context, call StoreCall, do func(context.Context) error) error

// WrapVolumes puts arounds around every call of a store: the first is the outermost.
func WrapVolumes(store Volumes, arounds ...Around) Volumes {
	for _, around := range slices.Backward(arounds) {
		store = &wrapped{store, around}
	}
	return store
}

// VolumesAs finds an optional ability of a store, such as Evicter, behind whatever is wrapped around it.
func VolumesAs[T any](store Volumes) (T, bool) {
	inner := store
	for {
		w, is := inner.(*wrapped)
		if !is {
			break
		}
		inner = w.inner
	}
	ability, ok := inner.(T)
	if outer, is := store.(T); ok && is {
		ability = outer
	}
	return ability, ok
}

// wrapped has all methods, those too that the store behind does not have: VolumesAs knows which.
type wrapped struct {
	inner  Volumes
	around Around
}

func (w *wrapped) Machine(ctx context.Context) (name string, err error) {
	err = w.around(ctx, StoreCall{Op: "machine"}, func(ctx context.Context) (err error) {
		name, err = w.inner.Machine(ctx)
		return err
	})
	return name, err
}

func (w *wrapped) List(ctx context.Context) (all []Volume, err error) {
	err = w.around(ctx, StoreCall{Op: "list"}, func(ctx context.Context) (err error) {
		all, err = w.inner.List(ctx)
		return err
	})
	return all, err
}

func (w *wrapped) Create(ctx context.Context, spec Spec) (made Volume, err error) {
	call := StoreCall{Op: "create", Volume: Volume{Dataset: spec.Dataset, Size: spec.Size, Profile: spec.Profile}}
	err = w.around(ctx, call, func(ctx context.Context) (err error) {
		made, err = w.inner.Create(ctx, spec)
		return err
	})
	return made, err
}

func (w *wrapped) Destroy(ctx context.Context, v Volume) error {
	return w.around(ctx, StoreCall{"destroy", v}, func(ctx context.Context) error { return w.inner.Destroy(ctx, v) })
}

func (w *wrapped) Attach(ctx context.Context, v Volume) (device string, err error) {
	err = w.around(ctx, StoreCall{"attach", v}, func(ctx context.Context) (err error) {
		device, err = w.inner.Attach(ctx, v)
		return err
	})
	return device, err
}

func (w *wrapped) Detach(ctx context.Context, v Volume) error {
	return w.around(ctx, StoreCall{"detach", v}, func(ctx context.Context) error { return w.inner.Detach(ctx, v) })
}

// Attached asks the kernel alone and is no call of the store.
func (w *wrapped) Attached(ctx context.Context) (map[string]string, error) {
	return w.inner.Attached(ctx)
}

func (w *wrapped) Evict(ctx context.Context, v Volume, machine string) error {
	return wrappedAbility(ctx, w, StoreCall{"evict", v}, func(ctx context.Context, e Evicter) error { return e.Evict(ctx, v, machine) })
}

// Fences is asked of nobody.
func (w *wrapped) Fences() bool {
	evicter, ok := w.inner.(Evicter)
	return ok && evicter.Fences()
}

func (w *wrapped) Grow(ctx context.Context, v Volume, size int64) error {
	return wrappedAbility(ctx, w, StoreCall{"grow", v}, func(ctx context.Context, g Grower) error { return g.Grow(ctx, v, size) })
}

func wrappedAbility[T any](ctx context.Context, w *wrapped, call StoreCall, do func(context.Context, T) error) error {
	ability, ok := w.inner.(T)
	if !ok {
		return ErrUnsupported
	}
	return w.around(ctx, call, func(ctx context.Context) error { return do(ctx, ability) })
}
