#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# All tests in full, on real filesystems and a real cluster of containers. One package at a time: they share
# this machine's loop devices and its engine.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/root.sh
as_built
export FLOCKER_E2E=1

export on_a_service='^TestAgentDies$/cutting:released|^TestFailOverOfAVolume$|^TestFrozenNodeIsShutOut$'

both() {
	local status=0
	gotestsum=(go tool -modfile=tools/go.mod gotestsum --format testname --hide-summary=output --)
	"${gotestsum[@]}" -p 1 -count=1 -timeout 40m ./... || status=$?
	# Once more on network storage, what is not about copies.
	FLOCKER_BACKEND=loopback "${gotestsum[@]}" -count=1 -timeout 20m ./test/kernel || status=$?
	# And on storage that is a service and keeps nodes out itself, what is different there: a few, to keep it short.
	FLOCKER_BACKEND=nbd "${gotestsum[@]}" -count=1 -timeout 10m -run "$on_a_service" ./test/kernel || status=$?
	FLOCKER_BACKEND=rbd "${gotestsum[@]}" -count=1 -timeout 10m -run "$on_a_service" ./test/kernel || status=$?
	return $status
}
export -f both
exec scripts/cleanly.sh bash -c both
