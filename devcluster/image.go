// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"
)

// A registry that has not begun to answer after pullStart counts as out of reach, one that stalls for pullStall as well.
const (
	pullStart = 15 * time.Second
	pullStall = 60 * time.Second
)

var errNoRegistry = errors.New("registry out of reach")

// lookAlikes are the images that we build for ourselves where no registry is in reach, and their recipes.
var lookAlikes = map[string]string{"postgres:17": "postgres", "redis:8": "redis", "mariadb:11": "mariadb"}

// EnsureImage makes ref present in the engine: it pulls it, or, for postgres:17, redis:8 and mariadb:11, builds one
// that behaves alike from Debian's packages.
func (e *Engine) EnsureImage(ctx context.Context, ref string) error {
	present, madeOf, err := e.inspectImage(ctx, ref)
	if err != nil {
		return err
	}
	name, known := lookAlikes[ref]
	if present && (!known || madeOf == "") {
		return nil
	}
	if !present {
		err := e.pull(ctx, ref)
		if err == nil || !known || !errors.Is(err, errNoRegistry) {
			return err
		}
	}
	tag, err := e.build(ctx, name)
	if err != nil || tag == madeOf {
		return err
	}
	if _, err := e.docker.ImageTag(ctx, client.ImageTagOptions{Source: tag, Target: ref}); err != nil {
		return fmt.Errorf("name the image %s: %w", ref, err)
	}
	return nil
}

// inspectImage also tells which of our recipes the image was made of, if any.
func (e *Engine) inspectImage(ctx context.Context, ref string) (present bool, madeOf string, err error) {
	image, err := e.docker.ImageInspect(ctx, ref)
	if cerrdefs.IsNotFound(err) {
		return false, "", nil
	}
	if err != nil {
		return false, "", fmt.Errorf("inspect image %s: %w", ref, err)
	}
	if image.Config != nil {
		madeOf = image.Config.Labels[labelRecipe]
	}
	return true, madeOf, nil
}

func (e *Engine) pull(ctx context.Context, ref string) error {
	if e.noRegistry {
		return fmt.Errorf("pull %s: %w", ref, errNoRegistry)
	}
	e.say("pulling " + ref)
	pullCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	stalled := time.AfterFunc(pullStart, cancel)
	defer stalled.Stop()
	err := e.follow(pullCtx, ref, func() { stalled.Reset(pullStall) })
	if err == nil || ctx.Err() != nil {
		return err
	}
	// An image that is not there is the registry's answer; everything else says that there is none.
	if cerrdefs.IsNotFound(err) || cerrdefs.IsUnauthorized(err) || cerrdefs.IsPermissionDenied(err) {
		return fmt.Errorf("pull %s: %w", ref, err)
	}
	e.noRegistry = true
	return fmt.Errorf("pull %s: %w: %w", ref, errNoRegistry, err)
}

func (e *Engine) follow(ctx context.Context, ref string, alive func()) error {
	answer, err := e.docker.ImagePull(ctx, ref, client.ImagePullOptions{})
	if err != nil {
		return err
	}
	return drain(answer.JSONMessages(ctx), alive)
}

// drain reads an answer to its end; the end of what was said is in the error.
func drain(messages func(func(jsonstream.Message, error) bool), each func()) error {
	var last []string
	for m, err := range messages {
		if err != nil {
			return err
		}
		if m.Error != nil {
			return fmt.Errorf("%s; before that:\n%s", m.Error.Message, strings.Join(last, ""))
		}
		each()
		if m.Stream != "" {
			last = append(last[max(0, len(last)-20):], m.Stream)
		}
	}
	return nil
}

// below names what a recipe is built on; the base is built on Debian, and all others on the base.
func below(name string) string {
	switch name {
	case "base":
		return ""
	case cephImage:
		return nodeImage
	}
	return "base"
}

// recipeOf reads a recipe and tells what it is built from.
func recipeOf(name string) (r recipe, from string, err error) {
	from = "debian:" + suite + "-slim"
	if on := below(name); on != "" {
		base, _, err := recipeOf(on)
		if err != nil {
			return recipe{}, "", err
		}
		from = base.tag
	}
	r, err = readRecipe(name, from)
	return r, from, err
}

// build makes the image of a recipe, unless it is cached, and returns its tag.
func (e *Engine) build(ctx context.Context, name string) (tag string, err error) {
	r, from, err := recipeOf(name)
	if err != nil {
		return "", err
	}
	present, _, err := e.inspectImage(ctx, r.tag)
	if err != nil || present {
		return r.tag, err
	}
	var machine map[string][]byte
	if on := below(name); on == "" {
		from, machine, err = e.foundation(ctx, from)
	} else {
		_, err = e.build(ctx, on)
	}
	if err != nil {
		return "", err
	}
	e.say("building image " + r.tag + " (once; the result is cached)")
	return r.tag, e.buildFrom(ctx, r, from, machine)
}

func (e *Engine) buildFrom(ctx context.Context, r recipe, from string, machine map[string][]byte) error {
	files, err := tarOf(r.files, machine)
	if err != nil {
		return err
	}
	args := map[string]*string{"FROM": &from}
	for name, value := range proxyEnv("") {
		args[name] = &value
	}
	answer, err := e.docker.ImageBuild(ctx, files, client.ImageBuildOptions{
		Tags:        []string{r.tag},
		BuildArgs:   args,
		Labels:      map[string]string{labelRecipe: r.tag},
		Remove:      true,
		ForceRemove: true,
		Version:     build.BuilderV1, // needs nothing beside the engine
	})
	if err != nil {
		return fmt.Errorf("build image %s: %w", r.tag, err)
	}
	defer func() { _ = answer.Body.Close() }() // read to its end below
	if err := drain(decodeStream(answer.Body), func() {}); err != nil {
		return fmt.Errorf("build image %s: %w", r.tag, err)
	}
	return nil
}

// SaveImage writes an image of the engine as an archive.
func (e *Engine) SaveImage(ctx context.Context, ref string, w io.Writer) error {
	archive, err := e.docker.ImageSave(ctx, []string{ref})
	if err != nil {
		return fmt.Errorf("save image %s: %w", ref, err)
	}
	defer func() { _ = archive.Close() }() // read to its end or given up
	if _, err := io.Copy(w, archive); err != nil {
		return fmt.Errorf("save image %s: %w", ref, err)
	}
	return nil
}
