#!/bin/sh
# Installs CRIU from sid, which stable releases carry too old for recent kernels. A node without CRIU is complete
# except for live moves, so a mirror without sid is not an error; /etc/flocker-dev/criu says what was installed.
set -eu
mkdir -p /etc/flocker-dev
sed 's/^Suites:.*/Suites: sid/; s/^URIs: .*-security.*//' /etc/apt/sources.list.d/machine.sources |
    awk 'BEGIN { RS = ""; ORS = "\n\n" } /URIs:/ { print; exit }' > /etc/apt/sources.list.d/sid.sources
printf 'Package: *\nPin: release n=sid\nPin-Priority: 50\n' > /etc/apt/preferences.d/sid
if apt-get update -q &&
    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends criu/sid libnet9/sid libcompel1/sid; then
    criu --version | sed -n 's/^Version: //p' > /etc/flocker-dev/criu
else
    echo none > /etc/flocker-dev/criu
fi
rm -rf /var/lib/apt/lists/* /etc/apt/sources.list.d/sid.sources /etc/apt/preferences.d/sid
