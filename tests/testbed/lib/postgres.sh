# A Postgres that forgets fsync, and nothing else. Sourced by testbed.

# Postgres refuses to be root, and its user may not be able to reach DIR or the cache; a socket's path must also be
# short. So its files are in a directory of its own under /tmp, and DIR/data/postgres points there.
as_postgres() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && exec setpriv --reuid=postgres --regid=postgres --init-groups "$@")
    else
        "$@"
    fi
}

own_postgres() { [ "$(id -u)" != 0 ] || chown -R postgres: "$1"; }

# init_postgres OUT makes the empty cluster that is copied for each test bed.
init_postgres() {
    local work
    work=$(mktemp -d /tmp/landfall-postgres.XXXXXX)
    own_postgres "$work"
    as_postgres "$(pg_bin)/initdb" -D "$work/data" -U postgres -E UTF8 --locale=C.UTF-8 --no-sync \
        --auth-local=trust --auth-host=scram-sha-256
    cp -a "$work/data" "$1/"
    rm -rf "$work"
}

up_postgres() {
    local work=$DIR/data/postgres
    ! is_external postgres || return 0
    if [ ! -e "$work/data/PG_VERSION" ]; then
        work=$(mktemp -d /tmp/landfall-postgres.XXXXXX)
        mkdir "$work/socket"
        own_postgres "$work"
        cp -a "$(tool postgres)/data" "$work/"
        ln -sfn "$work" "$DIR/data/postgres"
    fi
    start_postgres
    echo "ALTER ROLE postgres PASSWORD '$(secret postgres)'" |
        psql -qX -v ON_ERROR_STOP=1 -h "$DIR/data/postgres/socket" -p "$(port postgres)" -U postgres -d postgres
}

start_postgres() {
    local work port command
    ! alive postgres || return 0
    work=$(readlink -f "$DIR/data/postgres")
    port=$(port postgres)
    # After a SIGKILL these files stay, and so may a zombie of that pid where nobody reaps: it looks like a running server.
    rm -f "$work"/{data/postmaster.pid,socket/.s.PGSQL.*}
    server_pki postgres IP:127.0.0.1
    cp "$DIR"/pki/postgres.{crt,key} "$work/"
    chmod 600 "$work"/postgres.{crt,key}
    own_postgres "$work/postgres.crt"
    own_postgres "$work/postgres.key"
    command=("$(pg_bin)/postgres" -D "$work/data" -p "$port" -k "$work/socket"
        -c listen_addresses=127.0.0.1 -c max_connections=300 -c fsync=off -c full_page_writes=off
        -c ssl=on -c "ssl_cert_file=$work/postgres.crt" -c "ssl_key_file=$work/postgres.key")
    [ "$(id -u)" != 0 ] || command=(setpriv --reuid=postgres --regid=postgres --init-groups "${command[@]}")
    launch postgres "${command[@]}"
    ready postgres psql -qX -h "$work/socket" -p "$port" -U postgres -d postgres -c 'SELECT 1'
}

purge_postgres() {
    local work
    work=$(readlink "$DIR/data/postgres") || return 0
    [[ $work != /tmp/landfall-postgres.* ]] || rm -rf "$work"
}

env_postgres() {
    local url
    url=$(external postgres)
    # TLS is for who asks for it.
    echo "DATABASE_SUPERUSER_URL=${url:-postgres://postgres:$(secret postgres)@127.0.0.1:$(port postgres)/postgres?sslmode=disable}"
    [ -n "$url" ] || echo "DATABASE_CA=$DIR/pki/postgres-ca.crt"
}
