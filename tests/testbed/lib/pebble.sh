# Pebble, an ACME server: strict, with waits and rejected nonces as it has them by default. It looks names up at a Knot that
# hands questions on to PowerDNS and to the other Knot, as it knows one resolver only. Sourced by testbed.

up_pebble() {
    local data=$DIR/data/pebble
    mkdir -p "$data"
    server_pki pebble IP:127.0.0.1,DNS:localhost,DNS:ca.example
    cat >"$data/pebble.json" <<EOF
{
  "pebble": {
    "listenAddress": "127.0.0.1:$(port pebble)",
    "managementListenAddress": "127.0.0.1:$(port pebble_management)",
    "certificate": "$DIR/pki/pebble.crt",
    "privateKey": "$DIR/pki/pebble.key",
    "httpPort": 5002,
    "tlsPort": 5001,
    "ocspResponderURL": "",
    "externalAccountBindingRequired": false,
    "domainBlocklist": ["blocked.$pdns_zone"],
    "retryAfter": {"authz": 3, "order": 5},
    "keyAlgorithm": "ecdsa",
    "profiles": {
      "default": {"description": "90 days", "validityPeriod": 7776000},
      "shortlived": {"description": "6 days", "validityPeriod": 518400}
    }
  }
}
EOF
    cat >"$data/resolver.conf" <<EOF
server:
    listen: 127.0.0.1@$(port pebble_dns)
    rundir: $data
    udp-workers: 1
    tcp-workers: 16
    background-workers: 1
control:
    listen: $data/control
database:
    storage: $data
log:
  - target: stderr
    any: warning
remote:
  - id: pdns
    address: 127.0.0.1@$(port pdns_dns)
  - id: knot
    address: 127.0.0.1@$(port knot)
mod-dnsproxy:
  - id: pdns
    remote: pdns
    timeout: 10000
    fallback: off
  - id: knot
    remote: knot
    timeout: 10000
    fallback: off
zone:
  - domain: $pdns_zone
    storage: $data
    module: mod-dnsproxy/pdns
  - domain: $knot_zone
    storage: $data
    module: mod-dnsproxy/knot
EOF
    start_pebble_dns
    start_pebble
}

start_pebble_dns() {
    ! alive pebble_dns || return 0
    rm -f "$DIR/data/pebble/knot.pid"
    launch pebble_dns "$(PATH=$PATH:/usr/sbin command -v knotd)" -c "$DIR/data/pebble/resolver.conf"
    ready pebble_dns "$(PATH=$PATH:/usr/sbin command -v knotc)" -s "$DIR/data/pebble/control" status
}

# What it knows is lost when it stops, its roots included.
start_pebble() {
    ! alive pebble || return 0
    launch pebble "$(tool pebble)/pebble" -strict -config "$DIR/data/pebble/pebble.json" \
        -dnsserver "127.0.0.1:$(port pebble_dns)"
    ready pebble curl -sf --cacert "$DIR/pki/pebble-ca.crt" "https://127.0.0.1:$(port pebble)/dir"
}

env_pebble() {
    echo "PEBBLE_DIRECTORY=https://127.0.0.1:$(port pebble)/dir"
    echo "PEBBLE_MANAGEMENT=https://127.0.0.1:$(port pebble_management)"
    echo "PEBBLE_CA=$DIR/pki/pebble-ca.crt"
    echo "PEBBLE_BIN=$(tool pebble)/pebble"
    echo "PEBBLE_CONFIG=$DIR/data/pebble/pebble.json"
    echo "PEBBLE_RESOLVER=127.0.0.1:$(port pebble_dns)"
}
