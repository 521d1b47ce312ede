#!/bin/sh
# Starts PostgreSQL as the official image does, for the environment variables POSTGRES_USER, POSTGRES_PASSWORD,
# POSTGRES_DB, POSTGRES_HOST_AUTH_METHOD, POSTGRES_INITDB_ARGS and PGDATA.
set -eu
case "${1:-}" in -*) set -- postgres "$@" ;; esac
[ "$1" = postgres ] || exec "$@"
case " $* " in *' --help '* | *' --version '* | *' -V '*) exec "$@" ;; esac
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chmod 0700 "$PGDATA"
    find "$PGDATA" ! -user postgres -exec chown postgres:postgres {} +
    exec setpriv --reuid postgres --regid postgres --init-groups sh "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    user=${POSTGRES_USER:-postgres} db=${POSTGRES_DB:-${POSTGRES_USER:-postgres}}
    method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$method" != trust ]; then
        echo "set POSTGRES_PASSWORD, or POSTGRES_HOST_AUTH_METHOD=trust to allow connections without one" >&2
        exit 1
    fi
    pw=$(mktemp)
    printf '%s\n' "${POSTGRES_PASSWORD:-unused}" > "$pw"
    # shellcheck disable=SC2086 # arguments are words by design
    initdb --username="$user" --pwfile="$pw" --auth-local=trust ${POSTGRES_INITDB_ARGS:-}
    rm -f "$pw"
    printf 'host all all all %s\n' "$method" >> "$PGDATA/pg_hba.conf"
    [ "$db" = postgres ] || printf 'CREATE DATABASE "%s";\n' "$db" | postgres --single -D "$PGDATA" postgres
fi
exec "$@"
