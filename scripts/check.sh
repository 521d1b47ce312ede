#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What can be said about the code without running it. Goes on after a failure, so that one run tells all.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. scripts/root.sh
as_built

tool() { go tool -modfile=tools/go.mod "$@"; }

# silent NAME COMMAND...: a complaint is a failure, or anything printed but on standard error, where go tells of downloads.
silent() {
	local name=$1 said
	shift
	say "$name"
	said=$("$@") && [ -z "$said" ] && return
	printf '%s\n%s: failed\n' "$said" "$name" >&2
	failed=1
}

tidy() { go mod tidy -diff && (cd tools && go mod tidy -diff); }

formatted() { # every file of ours that gofumpt would change
	git ls-files -z --cached --others --exclude-standard -- '*.go' |
		while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
		xargs -0 -r go tool -modfile=tools/go.mod gofumpt -l
}

scripts_parse() {
	local script
	for script in .ci/run $(git ls-files --cached --others --exclude-standard -- '*.sh'); do
		[ ! -e "$script" ] || bash -n "$script" || return
	done
}

failed=0
silent "format (make format mends it)" formatted
silent "modules are tidy" tidy
silent "scripts parse" scripts_parse
silent "go vet" go vet ./...
silent "golangci-lint" tool golangci-lint run --show-stats=false ./...
silent "no dead code" tool deadcode -test ./...
exit $failed
