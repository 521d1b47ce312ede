#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# test-vm.sh [FLAG...]: the tests of backend/zfs with OpenZFS, in a virtual machine, so that this one's kernel needs no ZFS. Flags are those of a test
# binary, such as -test.run=TestContract. ACCEL=kvm is several times as fast where this machine lets guests have it; WITHIN bounds the whole.
# The machine's disk is kept in /var/cache/flocker-test-vm; what is written to it goes with the machine.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/root.sh

if [ "$(id -u)" != 0 ]; then
	as_root env ACCEL="${ACCEL:-}" WITHIN="${WITHIN:-}" DEBIAN_MIRROR="${DEBIAN_MIRROR:-}" scripts/test-vm.sh "$@"
	exit
fi

# Another way of making it makes another image.
image=/var/cache/flocker-test-vm/$(sha256sum scripts/vm-image.sh | cut -c1-12)
within=${WITHIN:-90m}
accel=${ACCEL:-tcg,thread=multi}

scripts/vm-image.sh "$image"
work=$(mktemp -d /var/tmp/flocker-test-vm-XXXXXX)
trap 'rm -rf "$work"' EXIT
mkdir "$work/second"
CGO_ENABLED=0 go test -c -trimpath -ldflags '-s -w' -o "$work/second/zfs.test" ./backend/zfs
{
	printf '#!/bin/sh\n./zfs.test -test.v -test.timeout %q' "$within"
	[ $# = 0 ] || printf ' %q' "$@"
	echo
} >"$work/second/run"
chmod +x "$work/second/run"
tar -C "$work/second" -cf "$work/second.tar" .

say "the tests of backend/zfs in a virtual machine with OpenZFS, $accel"
status=0
: >"$work/said"
TMPDIR=$work timeout --kill-after=30s "$within" qemu-system-x86_64 -M pc -accel "$accel" -cpu max -smp 2 -m 2048 -nodefaults -no-user-config \
	-display none -no-reboot -nic none -kernel "$image/vmlinuz" -initrd "$image/initrd" \
	-append "root=/dev/vda rw init=/sbin/vm-init console=ttyS0 quiet panic=-1 net.ifnames=0" \
	-drive "file=$image/disk,if=virtio,format=raw,snapshot=on" -drive "file=$work/second.tar,if=virtio,format=raw,readonly=on" \
	-device virtio-rng-pci -serial "file:$work/console" -serial "file:$work/said" &
qemu=$!
trap 'kill $qemu 2>/dev/null || :; wait $qemu || :; rm -rf "$work"' EXIT
tail -n +1 -f --pid=$qemu "$work/said" | sed -u '/^=== /d'
wait $qemu || status=$?
trap 'rm -rf "$work"' EXIT
case $(tail -1 "$work/said" | tr -d '\r') in
"vm-init: 0") exit 0 ;;
"vm-init: "*) die "tests failed" ;;
esac
die "the machine ended ($status) before its tests did; its last messages:" "$(tail -20 "$work/console")"
