#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Stops the Docker engine that setup.sh (or `flocker dev up`) started, and no other,
# and not while containers run in it: they are somebody's.
set -euo pipefail
. "$(dirname "$0")/root.sh"

[ -e "$engine_pid" ] || exit 0
pid=$(cat "$engine_pid")

running=$(as_root timeout 10 docker ps --format '{{.Names}}' 2>/dev/null) || running=
if [ -n "$running" ]; then
	say "Docker's engine stays: these run in it:" $running
	exit 0
fi

# After a reboot the number may be another program's.
if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]; then
	as_root kill -TERM "$pid"
	for _ in $(seq 150); do
		[ -e "/proc/$pid" ] || break
		sleep 0.2
	done
	[ ! -e "/proc/$pid" ] || die "Docker's engine (process $pid) does not stop; see $engine_log"
fi
as_root rm -f "$engine_pid"
