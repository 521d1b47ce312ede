#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# All tests in full, on real filesystems and a real cluster of containers. One package at a time: they share
# this machine's loop devices and its engine.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/root.sh
as_built
export FLOCKER_E2E=1
# A test that fails is run again, twice at most, and the summary says so: a machine that also does other work can be too
# slow for the time that a test allows.
exec scripts/cleanly.sh go tool -modfile=tools/go.mod gotestsum --format testname --hide-summary=output \
	--rerun-fails=2 --rerun-fails-max-failures=10 --packages=./... \
	-- -p 1 -count=1 -timeout 40m
