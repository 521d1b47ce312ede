#!/bin/sh
# Installs CRIU from sid, which stable releases carry too old for recent kernels. A node without CRIU is complete
# except for live moves, so a mirror without sid is not an error; /etc/flocker-dev/criu says what was installed.
# One library more is of sid: CRIU's libnl is, and what Ceph needs of that must be of the same version.
set -eu
mkdir -p /etc/flocker-dev
mirror=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null | sed -n 's/^URIs: *//p' | grep -v security | head -n 1)
[ -n "$mirror" ] || mirror=$(sed -n 's/^deb \(\[[^]]*\] *\)\{0,1\}\([^ ]*\) .*/\2/p' /etc/apt/sources.list | head -n 1)
printf 'Types: deb\nURIs: %s\nSuites: sid\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
    "$mirror" > /etc/apt/sources.list.d/sid.sources
printf 'Package: *\nPin: release n=sid\nPin-Priority: 50\n' > /etc/apt/preferences.d/sid
if apt-get update -q &&
    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends criu/sid libnet9/sid libcompel1/sid libnl-route-3-200/sid; then
    criu --version | sed -n 's/^Version: //p' > /etc/flocker-dev/criu
else
    echo none > /etc/flocker-dev/criu
fi
rm -rf /var/lib/apt/lists/* /etc/apt/sources.list.d/sid.sources /etc/apt/preferences.d/sid
