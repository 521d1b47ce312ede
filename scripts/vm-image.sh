#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm-image.sh DIR: makes DIR/disk, DIR/vmlinuz and DIR/initrd of a Debian whose kernel has OpenZFS, as root. The module is built outside of the
# virtual machine, which is several times as fast. Leaves DIR alone where it is there; takes some ten minutes.
set -euo pipefail
. "$(dirname "$0")/root.sh"

release=bookworm
mirror=${DEBIAN_MIRROR:-$(own_mirror)} # without one, the one that debootstrap knows
image=$1
if [ -e "$image" ]; then exit 0; fi

half=$image.half
root=$half/root
log=$image.log
mkdir -p "${image%/*}"
say "making a Debian with OpenZFS in $image (once; some ten minutes)"
exec 3>&2 >"$log" 2>&1
finish() {
	local status=$?
	if mountpoint -q "$root/proc"; then umount "$root/proc"; fi
	rm -rf --one-file-system "$half"
	[ $status = 0 ] || printf 'vm-image.sh: no image; the end of %s:\n%s\n' "$log" "$(tail -5 "$log")" >&3
}
trap finish EXIT
rm -rf --one-file-system "$half"
mkdir -p "$root"

install() { chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get install -y -q --no-install-recommends "$@"; }

make_root() {
	debootstrap --variant=minbase --components=main,contrib --include=ca-certificates,kmod,udev "$release" "$root" ${mirror:+"$mirror"}
	# Nothing is started while packages are installed.
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod +x "$root/usr/sbin/policy-rc.d"
	echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/fast"
	mount -t proc proc "$root/proc"
	install linux-image-cloud-amd64 linux-headers-cloud-amd64 initramfs-tools dkms make gcc libc6-dev zstd
	install zfs-dkms zfsutils-linux
	umount "$root/proc"
	compgen -G "$root/lib/modules/*/updates/dkms/zfs.ko*"
	# What only building needed.
	rm -rf "$root"/usr/src "$root"/var/lib/dkms "$root"/usr/lib/gcc "$root"/var/cache/apt "$root"/var/lib/apt/lists "$root"/usr/share/doc
}

# Process 1 of the machine: it unpacks the second disk, an archive, and runs what is in it. The first serial port has the kernel's messages,
# the second what the tests print.
write_init() {
	cat >"$root/sbin/vm-init" <<'INIT'
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mount -t tmpfs tmp /run
mount -t tmpfs tmp /tmp
exec </dev/null >/dev/ttyS1 2>&1
modprobe zfs && mkdir /run/test && tar -xf /dev/vdb -C /run/test && cd /run/test && ./run
echo "vm-init: $?"
sync
echo o >/proc/sysrq-trigger
sleep 60
INIT
	chmod +x "$root/sbin/vm-init"
	rm -f "$root/etc/fstab"
}

make_root
write_init
mv "$root"/boot/vmlinuz-* "$half/vmlinuz"
mv "$root"/boot/initrd.img-* "$half/initrd"
truncate -s 8G "$half/disk" # of which as much is used as is in it
mkfs.ext4 -q -F -d "$root" "$half/disk"
rm -rf --one-file-system "$root"
mv "$half" "$image"
rm -f "$log"
