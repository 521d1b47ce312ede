#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Brings the demo's cluster up and moves its databases. The cluster stays up; demo-clean.sh takes it away.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/root.sh
as_root bin/flocker-demo ${BACKEND:+-backend "$BACKEND"} "$@"
