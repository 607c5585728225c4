#!/bin/sh
# Installs what Kafka and PostgreSQL need where it is absent: Debian or Ubuntu, root. Anywhere else it does nothing:
# whoever starts a server says what is missing for it. With `pooler`, what the tests put before PostgreSQL too.
set -eu
with=${1:-}

stop() {
    printf '%s\n' "$*" >&2
    exit 1
}

absent() {
    missing=
    command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="postgresql"
    [ "$with" != pooler ] || [ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null ||
        missing="$missing pgbouncer"
    command -v java >/dev/null || missing="$missing default-jre-headless"
    command -v mvn >/dev/null || missing="$missing maven"
    printf '%s' "${missing# }"
}

packages=$(absent)
[ -n "$packages" ] || exit 0
command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || exit 0

log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive

install() {
    apt-get -q install -y --no-install-recommends "$@" 2>&1 </dev/null | tee "$log" |
        awk '/^Get:/ && ++fetched % 20 == 0 { print "  " fetched " fetched"; fflush() }
            /^Setting up/ && ++ready % 20 == 0 { print "  " ready " installed"; fflush() }'
}

echo "Installing $packages ..."
apt-get -qq update >"$log" 2>&1 || stop "apt-get update failed; is there a network? $(tail -n 1 "$log")"
case $packages in *postgresql*)
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        # Or installing would start a server of the machine's own, now and at each boot.
        install postgresql-common
        echo 'create_main_cluster = false' >>/etc/postgresql-common/createcluster.conf
    fi
    ;;
esac
# shellcheck disable=SC2086 # several names
install $packages
case $packages in *pgbouncer*)
    # Installing it may have started one of the machine's own, and does at each boot.
    service pgbouncer stop >/dev/null 2>&1 || true
    update-rc.d pgbouncer disable >/dev/null 2>&1 || true
    ;;
esac
[ -z "$(absent)" ] || stop "apt-get install $packages failed: $(tail -n 3 "$log")"
