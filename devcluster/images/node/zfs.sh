#!/bin/sh
# The node's ZFS: this process becomes the daemon of zfs-fuse, and what it starts brings the pool "flocker" up, in a file that is made once.
set -eu
dir=/var/lib/flocker/zfs
most=64 # GiB that the pool may take; its file is sparse
mkdir -p "$dir" /run/lock /run/zfs

raise() {
    until zpool list >/dev/null 2>&1; do
        kill -0 $$ # the daemon
        sleep 0.1
    done
    if [ ! -e "$dir/pool" ]; then
        rm -f "$dir/new"
        free=$(df --output=avail -BG "$dir" | tr -dc '0-9\n' | tail -n 1)
        truncate -s "$((free < most ? free : most))G" "$dir/new"
        zpool create -m none -o cachefile=none flocker "$dir/new"
        zpool export flocker
        mv "$dir/new" "$dir/pool"
    fi
    zpool import -f -o cachefile=none -d "$dir" flocker
    echo "pool flocker is there"
}

raise &
exec zfs-fuse --no-daemon --no-kstat-mount
