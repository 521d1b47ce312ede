#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing on this Debian or Ubuntu machine and starts Docker's engine if none answers.
#   setup.sh            everything that tests and the demo need
#   setup.sh toolchain  only what building and the fast tests need
#   setup.sh vm         only what the tests in a virtual machine need
# Does nothing, quickly, where all is there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/root.sh"

# A command, or a file, and the package that brings it.
toolchain_needs="gcc:gcc make:make git:git"
host_needs="dockerd:docker.io docker:docker-cli debootstrap:debootstrap mkfs.btrfs:btrfs-progs zfs:zfs-fuse
	mkfs.xfs:xfsprogs mkfs.ext4:e2fsprogs
	nft:nftables iptables:iptables ip:iproute2 ps:procps losetup:mount nsenter:util-linux xz:xz-utils
	qemu-storage-daemon:qemu-system-common qemu-img:qemu-utils nbdkit:nbdkit python3:python3
	rbd:ceph-common ceph-mon:ceph-mon ceph-osd:ceph-osd /usr/lib/*/qemu/block-rbd.so:qemu-block-extra"

vm_needs="qemu-system-x86_64:qemu-system-x86 debootstrap:debootstrap mkfs.ext4:e2fsprogs"

# GOTOOLCHAIN switches to the Go that go.mod names from this one on.
first_switching_go=21

wanted_go() { awk '$1 == "go" {print $2}' "$here/../go.mod"; }

missing() { # command:package...
	local pair
	for pair in "$@"; do
		case $pair in
		/*) compgen -G "${pair%%:*}" ;;
		*) command -v "${pair%%:*}" ;;
		esac >/dev/null || echo "${pair#*:}"
	done
	# The C library's headers are no command; the race detector is linked against them.
	[ -e /usr/include/stdlib.h ] || echo libc6-dev
	[ -s /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
}

available() { apt-cache show --no-all-versions "$1" 2>/dev/null | grep -q '^Package:'; }

install_missing() {
	local packages
	packages=$(missing "$@" | sort -u)
	[ -n "$packages" ] || return 0
	command -v apt-get >/dev/null || die "not a Debian or Ubuntu machine; install by hand:" $packages
	as_root apt-get update -qq
	# Before Debian 13 docker.io carries the client, and there is no docker-cli; zfs-fuse is not everywhere, and
	# its tests then say so.
	local optional
	for optional in docker-cli zfs-fuse; do
		if ! available "$optional"; then packages=$(grep -vx "$optional" <<<"$packages" || true); fi
	done
	[ -n "$packages" ] || return 0
	say "installing" $packages
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $packages >/dev/null
}

# The newest packaged Go, as golang-1.N-go; nothing if it is too old to switch.
newest_go_package() {
	apt-cache search --names-only '^golang-1\.[0-9]+-go$' | awk '{print $1}' | sort -V | tail -1 |
		awk -F '[.-]' -v first="$first_switching_go" '$3 >= first'
}

add_backports() {
	local release mirror
	release=$(. /etc/os-release && echo "${ID:-} ${VERSION_CODENAME:-}")
	[ "$release" = "debian bookworm" ] || return 0
	say "adding bookworm-backports to apt's sources: Debian 12's own Go is too old"
	mirror=$(own_mirror)
	[ -n "$mirror" ] || die "apt has no source of Debian 12 itself; install Go $(wanted_go) or later: https://go.dev/dl/"
	echo "deb $mirror bookworm-backports main" |
		as_root tee /etc/apt/sources.list.d/flocker-go.list >/dev/null
	as_root apt-get update -qq
}

install_go() {
	local package version
	command -v apt-get >/dev/null || die "install Go $(wanted_go) or later: https://go.dev/dl/"
	as_root apt-get update -qq
	package=$(newest_go_package)
	if [ -z "$package" ]; then
		add_backports
		package=$(newest_go_package)
	fi
	[ -n "$package" ] || die "no packaged Go can fetch Go $(wanted_go); install it: https://go.dev/dl/"
	say "installing $package, which fetches Go $(wanted_go) as a module"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$package" >/dev/null
	version=${package#golang-}
	as_root ln -sf "/usr/lib/go-${version%-go}/bin/go" /usr/local/bin/go
	hash -r
}

# Whether there is a Go, of 1.21 or later. Asked outside the module, it tells of itself.
go_switches() {
	local version
	version=$(cd / && GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || return
	version=${version#go1.}
	[ "${version%%[!0-9]*}" -ge "$first_switching_go" ]
}

check_go() {
	local found
	if ! go_switches; then install_go; fi
	# Asked in the module's folder, an older Go answers with the one that go.mod names.
	found=$(cd "$here/.." && GOTOOLCHAIN=${GOTOOLCHAIN:-auto} go env GOVERSION) ||
		die "$(command -v go) cannot become Go $(wanted_go); install it: https://go.dev/dl/"
	[ "$(printf '%s\n' "$(wanted_go)" "${found#go}" | sort -V | head -1)" = "$(wanted_go)" ] ||
		die "$(command -v go) is $found; Go $(wanted_go) or later is needed: https://go.dev/dl/"
}

start_engine() {
	if engine_answers; then return; fi
	if [ -d /run/systemd/system ]; then
		as_root systemctl start docker
	else
		say "starting Docker's engine; its log is $engine_log"
		as_root mkdir -p "$state"
		# Detached, without this shell's descriptors, or a pipe behind make would never close.
		as_root bash -c "setsid dockerd >>'$engine_log' 2>&1 </dev/null & echo \$! >'$engine_pid'"
	fi
	for _ in $(seq 60); do
		if engine_answers; then return; fi
		sleep 0.5
	done
	die "Docker's engine does not answer after 30 s; the end of its log:" "$(tail -5 "$engine_log" 2>/dev/null)"
}

case "${1:-all}" in
toolchain)
	install_missing $toolchain_needs
	check_go
	;;
vm)
	install_missing $toolchain_needs $vm_needs
	check_go
	;;
all)
	install_missing $toolchain_needs $host_needs
	check_go
	start_engine
	;;
*) die "usage: setup.sh [toolchain|vm]" ;;
esac
