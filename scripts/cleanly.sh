#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# cleanly.sh COMMAND...: runs the command as root and fails if it leaves anything of ours behind on
# this machine: a loop device, a mount, a container, a volume, a network, a process or an administrator's configuration. Then stops the engine if
# it is ours. Says nothing where all is well, so that the command has the last word.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. scripts/root.sh

if [ "$(id -u)" != 0 ]; then
	as_root env FLOCKER_E2E="${FLOCKER_E2E:-}" CGO_ENABLED="${CGO_ENABLED:-}" GOFLAGS="${GOFLAGS:-}" scripts/cleanly.sh "$@"
	exit
fi

traces() {
	losetup --list --noheadings --output NAME,BACK-FILE | grep -v /var/lib/snapd/ | sed 's/^/loop device /'
	awk '$2 ~ /flocker|^\/tmp\// {print "mount", $1, $2}' /proc/self/mounts
	ps -e -o pid=,comm= | awk '$2 == "flocker" || $2 ~ /\.test$/ {print "process", $0}'
	docker ps --all --filter label=flocker.dev --format 'container {{.Names}}'
	docker volume ls --filter label=flocker.dev --format 'volume {{.Name}}'
	find ~/.flocker -mindepth 1 -maxdepth 1 -name 'dev-*' -printf 'configuration of a development cluster %p\n' 2>/dev/null
	docker network ls --filter label=flocker.dev --format 'network {{.Name}}'
}

# An interrupt ends the command; what follows it is still done.
trap : INT TERM
before=$(traces | sort)
status=0
"$@" || status=$?
left=$(comm -13 <(echo "$before") <(traces | sort))
if [ -n "$left" ]; then
	printf 'left behind by %s:\n%s\n' "$*" "$left" >&2
	[ "$status" != 0 ] || status=1
fi
scripts/stop-engine.sh || status=1
exit "$status"
