#!/bin/sh
# Starts Redis as the official image does: as user redis, data in /data, protected mode off unless it is asked for.
set -eu
case "${1:-}" in -* | *.conf) set -- redis-server "$@" ;; esac
[ "$1" = redis-server ] || exec "$@"
if [ "$(id -u)" = 0 ]; then
    find . ! -user redis -exec chown redis:redis {} +
    exec setpriv --reuid redis --regid redis --init-groups sh "$0" "$@"
fi
umask 0077
case " $* " in
*" --protected-mode "*) exec "$@" ;;
*) exec "$@" --protected-mode no ;;
esac
