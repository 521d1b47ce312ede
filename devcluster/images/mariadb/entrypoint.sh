#!/bin/sh
# Starts MariaDB as the official image does, for the environment variables MARIADB_ROOT_PASSWORD,
# MARIADB_ALLOW_EMPTY_ROOT_PASSWORD, MARIADB_DATABASE, MARIADB_USER and MARIADB_PASSWORD (or MYSQL_ for MARIADB_).
set -eu
data=/var/lib/mysql
case "${1:-}" in -*) set -- mariadbd "$@" ;; esac
case "$1" in mariadbd | mysqld) shift ;; *) exec "$@" ;; esac
if [ "$(id -u)" = 0 ]; then
    find "$data" ! -user mysql -exec chown mysql:mysql {} +
    exec setpriv --reuid mysql --regid mysql --init-groups sh "$0" mariadbd "$@"
fi
root=${MARIADB_ROOT_PASSWORD:-${MYSQL_ROOT_PASSWORD:-}}
db=${MARIADB_DATABASE:-${MYSQL_DATABASE:-}}
user=${MARIADB_USER:-${MYSQL_USER:-}}
pass=${MARIADB_PASSWORD:-${MYSQL_PASSWORD:-}}
# Unlike echo, keeps backslashes as they are.
say() { printf '%s\n' "$1"; }
quoted() { printf '%s' "$1" | sed "s/[\\\\']/\\\\&/g"; }
if [ ! -d "$data/mysql" ]; then
    if [ -z "$root${MARIADB_ALLOW_EMPTY_ROOT_PASSWORD:-${MYSQL_ALLOW_EMPTY_PASSWORD:-}}" ]; then
        echo "set MARIADB_ROOT_PASSWORD, or MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=1 to allow none" >&2
        exit 1
    fi
    mariadb-install-db --datadir="$data" --auth-root-authentication-method=normal --skip-test-db > /dev/null
    {
        say "FLUSH PRIVILEGES;"
        say "ALTER USER 'root'@'localhost' IDENTIFIED BY '$(quoted "$root")';"
        say "CREATE USER 'root'@'%' IDENTIFIED BY '$(quoted "$root")';"
        say "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
        [ -z "$db" ] || say "CREATE DATABASE \`$db\`;"
        [ -z "$user" ] || say "CREATE USER '$user'@'%' IDENTIFIED BY '$(quoted "$pass")';"
        [ -z "$user" ] || [ -z "$db" ] || say "GRANT ALL ON \`$db\`.* TO '$user'@'%';"
    } | mariadbd --datadir="$data" --bootstrap
fi
exec mariadbd --datadir="$data" "$@"
