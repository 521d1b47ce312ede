#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Takes the demo's cluster away, then the engine if it was started for it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/root.sh

if engine_answers; then
	[ -x bin/flocker ] || make build
	as_root bin/flocker dev down --name demo
fi
scripts/stop-engine.sh
