# What must be on the machine before anything can be built or started. Sourced by testbed.

have() { command -v "$1" >/dev/null 2>&1; }

pg_bin() {
    local found
    for found in /usr/lib/postgresql/15/bin /usr/lib/postgresql/*/bin; do
        [ ! -x "$found/initdb" ] || { echo "$found" && return; }
    done
    if have initdb; then dirname "$(readlink -f "$(command -v initdb)")"; fi
}

pdns_schema() {
    local found
    for found in /usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql /usr/share/doc/{pdns-backend-sqlite3,pdns}/schema.sqlite3.sql; do
        [ ! -r "$found" ] || { echo "$found" && return; }
    done
}

# missing_packages prints the Debian names of what is not there. It looks for what is used, not into dpkg, so that it
# is quick and so that other systems can bring the same things by other names.
missing_packages() {
    [ -n "$(pg_bin)" ] || echo postgresql-15
    have psql || echo postgresql-client
    have pdns_server || [ -x /usr/sbin/pdns_server ] || echo pdns-server
    [ -n "$(pdns_schema)" ] || echo pdns-backend-sqlite3
    { have knotd && have knotc; } || [ -x /usr/sbin/knotd ] || echo knot
    { have knsupdate && have kdig; } || echo knot-dnsutils
    have sqlite3 || echo sqlite3
    "$python" -c 'import venv, ensurepip' 2>/dev/null || echo python3-venv
    have jq || echo jq
    have promtool || echo prometheus
    have curl || echo curl
    have openssl || echo openssl
    [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -d /etc/pki/tls/certs ] || echo ca-certificates
    have setsid && have flock && have setpriv || echo util-linux
    have pgrep || echo procps
    # What runs containers only root can use.
    [ "$(id -u)" != 0 ] || missing_of_node
}

missing_of_node() {
    have containerd || echo containerd
    have runc || echo runc
    [ -x /usr/lib/cni/bridge ] || echo containernetworking-plugins
    have ip || echo iproute2
    have iptables || echo iptables
}

install_deps() {
    local missing tool
    for tool in cargo go; do
        have $tool || { say "$tool is not on PATH: install it first" && exit 3; }
    done
    missing=$(missing_packages | xargs)
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ] || ! have apt-get; then
        say "missing, to be installed by root: $missing"
        exit 3
    fi
    mkdir -p "$cache"
    say "installing $missing (about a minute, once)"
    # shellcheck disable=SC2086
    (
        flock 9
        apt_install $missing
    ) 9>"$cache/apt.lock" >"$cache/apt.log" 2>&1 || die "could not install them: $cache/apt.log"
    missing=$(missing_packages | xargs)
    [ -z "$missing" ] || die "installed, and yet not found: $missing"
}

# apt_install PACKAGE … takes care that no service starts, now or at the next boot: tests start their own.
apt_install() {
    local policy=/usr/sbin/policy-rc.d service services=()
    for service in postgresql pdns knot containerd prometheus prometheus-node-exporter; do
        [ -e /etc/init.d/$service ] || [ -e /lib/systemd/system/$service.service ] || services+=($service)
    done
    if [ ! -e $policy ]; then
        trap "rm -f $policy" EXIT
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
    fi
    export DEBIAN_FRONTEND=noninteractive
    umask 022
    apt-get -qq update
    apt-get -qq install -y --no-install-recommends "$@" || return
    for service in "${services[@]}"; do
        ! have systemctl || systemctl disable "$service" || true
    done
}
