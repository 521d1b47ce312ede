#!/bin/sh
# A Ceph of one monitor and one disk, all of it in one folder, for the nodes of a development cluster.
#   ceph.sh mon ADDRESS   becomes the monitor; ADDRESS is this machine's
#   ceph.sh osd           becomes the disk
#   ceph.sh pool          waits for both, and makes the pool and the user "flocker"
# Each is made once, under another name until it is complete.
set -eu
umask 077
dir=/var/lib/flocker/ceph
most=64 # GiB that the disk may take; its file is sparse
export CEPH_CONF="$dir/ceph.conf"

make_mon() {
    new="$dir.new"
    rm -rf "$new"
    mkdir -p "$new/mon"
    fsid=$(cat /proc/sys/kernel/random/uuid)
    cat /proc/sys/kernel/random/uuid > "$new/disk"
    printf '[global]\nfsid = %s\nmon_host = [v2:%s:3300]\nms_bind_ipv6 = false\n' "$fsid" "$1" > "$new/nodes.conf"
    cat "$new/nodes.conf" - > "$new/ceph.conf" <<END
public_addr = $1
mon_initial_members = a
mon_data = $dir/mon
mon_data_avail_crit = 1
mon_allow_pool_size_one = true
osd_data = $dir/osd
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_crush_chooseleaf_type = 0
bluestore_cache_autotune = false
bluestore_cache_size = 67108864
keyring = $dir/keyring
run_dir = /run
admin_socket =
log_to_file = false
log_to_stderr = true
mon_cluster_log_to_file = false
END
    ceph-authtool --create-keyring "$new/keyring" --gen-key -n mon. --cap mon 'allow *'
    ceph-authtool "$new/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *'
    monmaptool --create --fsid "$fsid" --addv a "[v2:$1:3300]" "$new/monmap"
    ceph-mon --conf "$new/ceph.conf" --mkfs -i a --mon-data "$new/mon" --monmap "$new/monmap" --keyring "$new/keyring"
    mv "$new" "$dir"
}

make_osd() {
    new="$dir/osd.new"
    rm -rf "$new"
    mkdir "$new"
    ceph --connect-timeout 60 osd new "$(cat "$dir/disk")" 0
    ceph auth get-or-create osd.0 mon 'allow profile osd' osd 'allow *' -o "$new/keyring"
    free=$(df --output=avail -BG "$dir" | tr -dc '0-9\n' | tail -n 1)
    ceph-osd -i 0 --mkfs --osd-data "$new" --osd-uuid "$(cat "$dir/disk")" --keyring "$new/keyring" \
        --bluestore-block-size "$((free < most ? free : most))G"
    mv "$new" "$dir/osd"
}

await() { # FILE
    until [ -e "$1" ]; do sleep 0.1; done
}

case "$1" in
mon)
    [ -e "$dir" ] || make_mon "$2"
    exec ceph-mon -f -i a
    ;;
osd)
    await "$dir"
    [ -e "$dir/osd" ] || make_osd
    exec ceph-osd -f -i 0 --keyring "$dir/osd/keyring"
    ;;
pool)
    await "$dir"
    ceph --connect-timeout 60 osd pool create flocker 8
    await "$dir/osd"
    rbd pool init flocker
    ceph auth get-or-create client.flocker mon 'profile rbd' osd 'profile rbd pool=flocker' -o "$dir/nodes.key"
    ;;
*)
    echo "usage: ceph.sh mon ADDRESS|osd|pool" >&2
    exit 2
    ;;
esac
