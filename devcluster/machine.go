// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/flocker-project/flocker/internal/run"
)

// suite is the Debian release that the images are made of.
const suite = "trixie"

// aptSettings is how this machine reaches its package registry; images are built in the same way.
type aptSettings struct {
	mirror, security string // of this machine's own Debian release; empty: what Debian's tools and images come with
	conf             string // lines of apt.conf
}

// carried are apt's settings that say how to reach a registry, as opposed to what to fetch from it.
var carried = regexp.MustCompile(`(?i)^Acquire::((https?|ftp|tor)::(Proxy|Verify|Timeout|User-Agent|No-Cache|Pipeline)|Check-Valid-Until|Check-Date|ForceIPv|Retries)`)

func readAptSettings(ctx context.Context) (aptSettings, error) {
	var s aptSettings
	conf, err := run.Command(ctx, "apt-config", "dump").Output()
	if errors.Is(err, run.ErrNotInstalled) {
		return s, nil // not a Debian machine: its apt has nothing to tell
	}
	if err != nil {
		return s, fmt.Errorf("read apt's configuration: %w", err)
	}
	s.conf = carriedLines(string(conf))
	targets, err := run.Command(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages").Output()
	if err != nil {
		return s, fmt.Errorf("list apt's sources: %w", err)
	}
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return s, fmt.Errorf("read this machine's release: %w", err)
	}
	s.pickMirrors(string(targets), string(release))
	return s, nil
}

func carriedLines(dump string) string {
	var b strings.Builder
	for line := range strings.Lines(dump) {
		if carried.MatchString(line) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// pickMirrors takes the sources of this machine's own Debian release; a mirror has the other releases as well.
func (s *aptSettings) pickMirrors(targets, osRelease string) {
	if !regexp.MustCompile(`(?m)^ID="?debian"?$`).MatchString(osRelease) {
		return
	}
	match := regexp.MustCompile(`(?m)^VERSION_CODENAME="?(\w+)"?$`).FindStringSubmatch(osRelease)
	if match == nil {
		return
	}
	found := map[string]string{}
	for line := range strings.Lines(targets) {
		uri, release, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(uri, "http") && found[release] == "" {
			found[release] = strings.TrimSuffix(uri, "/")
		}
	}
	if uri := found[match[1]]; uri != "" {
		s.mirror = uri
	}
	if uri := found[match[1]+"-security"]; uri != "" {
		s.security = uri
	}
}

// sources is empty where this machine names no mirror.
func (s aptSettings) sources() string {
	if s.mirror == "" {
		return ""
	}
	entry := func(uri, suites string) string {
		if uri == "" {
			return ""
		}
		return fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n", uri, suites)
	}
	return entry(s.mirror, suite+" "+suite+"-updates") + entry(s.security, suite+"-security")
}

// files are what an image's build context carries of this machine.
func (s aptSettings) files() (map[string][]byte, error) {
	files := map[string][]byte{
		"machine/apt.conf":        []byte(s.conf),
		"machine/machine.sources": []byte(s.sources()),
		"machine/ca/README":       []byte("Certificates of the machine on which this image was built.\n"),
	}
	bundle, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read this machine's certificates: %w", err)
	}
	files["machine/ca-bundle.crt"] = bundle
	own, err := filepath.Glob("/usr/local/share/ca-certificates/*.crt")
	if err != nil {
		return nil, err
	}
	for _, path := range own {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read this machine's certificates: %w", err)
		}
		files["machine/ca/"+filepath.Base(path)] = content
	}
	return files, nil
}

// proxyEnv is this process's proxy settings, in both spellings that programs look for.
func proxyEnv(direct string) map[string]string {
	env := map[string]string{}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		value := os.Getenv(name)
		if value == "" {
			value = os.Getenv(strings.ToLower(name))
		}
		if value == "" {
			continue
		}
		if name == "NO_PROXY" && direct != "" {
			value += "," + direct
		}
		env[name], env[strings.ToLower(name)] = value, value
	}
	return env
}
