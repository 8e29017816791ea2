# PowerDNS with its HTTP API over a SQLite file, all caches off: an answer is what the file holds now. Sourced by testbed.

pdns_zone=example.test

pdns_api() {
    curl -sf -H "X-API-Key: $(secret pdns)" "${@:2}" "http://127.0.0.1:$(port pdns)/api/v1/servers/localhost$1"
}

up_pdns() {
    local data=$DIR/data/pdns
    if [ ! -e "$data/ready" ]; then
        rm -rf "$data" && mkdir "$data"
        sqlite3 "$data/db" <"$(pdns_schema)"
        touch "$data/ready"
    fi
    cat >"$data/pdns.conf" <<EOF
launch=gsqlite3
gsqlite3-database=$data/db
gsqlite3-pragma-journal-mode=WAL
gsqlite3-pragma-synchronous=0
local-address=127.0.0.1
local-port=$(port pdns_dns)
socket-dir=$data
api=yes
api-key=$(secret pdns)
webserver=yes
webserver-address=127.0.0.1
webserver-port=$(port pdns)
webserver-allow-from=127.0.0.1
webserver-loglevel=normal
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
daemon=no
guardian=no
disable-syslog=yes
loglevel=5
EOF
    start_pdns
    pdns_api "/zones/$pdns_zone." -o /dev/null ||
        pdns_api /zones -o /dev/null -d "{\"name\": \"$pdns_zone.\", \"kind\": \"Native\", \"nameservers\": [\"ns1.$pdns_zone.\"]}" ||
        die "pdns did not take the zone: $DIR/log/pdns.log"
}

start_pdns() {
    ! alive pdns || return 0
    launch pdns "$(PATH=$PATH:/usr/sbin command -v pdns_server)" --config-dir="$DIR/data/pdns"
    ready pdns pdns_api /zones
}

env_pdns() {
    echo "PDNS_URL=http://127.0.0.1:$(port pdns)"
    echo "PDNS_API_KEY=$(secret pdns)"
    echo "PDNS_DNS=127.0.0.1:$(port pdns_dns)"
    echo "PDNS_ZONE=$pdns_zone"
}
