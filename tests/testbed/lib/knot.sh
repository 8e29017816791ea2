# Knot DNS, which takes UPDATE and AXFR from whoever has a key of TSIG. Sourced by testbed.

knot_zone=knot.test

# knot_key NAME prints a key in base64; openssl's word is its bytes.
knot_key() { secret "knot-$1" | tr -d '\n' | base64 -w0; }

knot_control() { "$(PATH=$PATH:/usr/sbin command -v knotc)" -c "$DIR/data/knot/knot.conf" "$@"; }

up_knot() {
    local data=$DIR/data/knot
    mkdir -p "$data/zones"
    if [ ! -e "$data/zones/$knot_zone.zone" ]; then
        printf '%s\n' "\$ORIGIN $knot_zone." "@ 3600 SOA ns1 hostmaster 1 3600 600 86400 60" \
            '@ 3600 NS ns1' 'ns1 3600 A 127.0.0.1' 'child 3600 NS ns.child' 'ns.child 3600 A 127.0.0.1' \
            >"$data/zones/$knot_zone.zone"
    fi
    cat >"$data/knot.conf" <<EOF
server:
    listen: 127.0.0.1@$(port knot)
    rundir: $data
    udp-workers: 1
    tcp-workers: 4
    background-workers: 1
control:
    listen: $data/control
log:
  - target: stderr
    any: info
database:
    storage: $data
    journal-db-max-size: 64M
key:
  - id: landfall
    algorithm: hmac-sha256
    secret: $(knot_key writer)
  - id: landfall-long
    algorithm: hmac-sha512
    secret: $(knot_key long)
  - id: landfall-reader
    algorithm: hmac-sha256
    secret: $(knot_key reader)
acl:
  - id: write
    key: [landfall, landfall-long]
    action: [query, transfer, update]
  - id: read
    key: landfall-reader
    action: [query, transfer]
template:
  - id: default
    storage: $data/zones
    acl: [write, read]
zone:
  - domain: $knot_zone
EOF
    start_knot
}

start_knot() {
    ! alive knot || return 0
    # After a SIGKILL it stays, and so may a zombie of that pid: it looks like a running server.
    rm -f "$DIR/data/knot/knot.pid"
    launch knot "$(PATH=$PATH:/usr/sbin command -v knotd)" -c "$DIR/data/knot/knot.conf"
    ready knot knot_control zone-read "$knot_zone" @ SOA
}

env_knot() {
    echo "KNOT_DNS=127.0.0.1:$(port knot)"
    echo "KNOT_ZONE=$knot_zone"
    echo KNOT_KEY_NAME=landfall
    echo "KNOT_KEY_SECRET=$(knot_key writer)"
    echo KNOT_LONG_KEY_NAME=landfall-long
    echo "KNOT_LONG_KEY_SECRET=$(knot_key long)"
    echo KNOT_READER_KEY_NAME=landfall-reader
    echo "KNOT_READER_KEY_SECRET=$(knot_key reader)"
}
