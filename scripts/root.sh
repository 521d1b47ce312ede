# SPDX-License-Identifier: Apache-2.0
# Sourced by the other scripts: how they become root and build, and where they keep what they started.

# The development cluster of `flocker dev` knows these two paths too.
state=/var/lib/flocker-dev
engine_pid=$state/dockerd.pid
engine_log=$state/dockerd.log

# Debian keeps daemons and filesystem tools where an ordinary user's PATH does not look.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { echo "${0##*/}: $*" >&2; }

die() {
	say "$@"
	exit 1
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo -H env PATH="$PATH" GOTOOLCHAIN="${GOTOOLCHAIN:-auto}" "$@"
	else
		die "'$1' needs root: run this as root, or install sudo"
	fi
}

# A daemon that answers is used as it is, wherever it listens.
engine_answers() { as_root timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# Vetting and testing what `make build` builds, with its flags, finds its packages compiled.
as_built() {
	local flags
	flags=$(go env GOFLAGS)
	export CGO_ENABLED=0 GOFLAGS="$flags -trimpath"
}

# Where this machine gets its own Debian release from, which has the others too: it may reach no other place. Nothing on another system.
own_mirror() {
	local release
	release=$(. /etc/os-release && [ "${ID:-}" = debian ] && echo "${VERSION_CODENAME:-}") || return 0
	apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' | awk -v release="$release" '$2 == release {print $1; exit}'
}
