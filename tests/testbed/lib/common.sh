# Messages, the state directory and what is kept in it. Sourced by testbed.

say() { echo "testbed: $*" >&2; }

die() {
    say "$*"
    exit 1
}

# open_dir DIR [create] sets DIR to its absolute path.
open_dir() {
    [ -n "$1" ] || die "which directory?"
    [ "${2:-}" != create ] || mkdir -p "$1"
    DIR=$(cd "$1" 2>/dev/null && pwd) || die "there is no directory $1"
    [[ $DIR != *[[:space:]]* ]] || die "a path with a space does not fit into an env file: $DIR"
    [ "${2:-}" = create ] || [ -e "$DIR/external" ] || die "$DIR is no test bed"
    mkdir -p "$DIR"/{bin,data,kube,log,pki,run,secret}
}

# secret NAME prints a random word that stays the same for this directory.
secret() {
    [ -s "$DIR/secret/$1" ] || openssl rand -hex 16 >"$DIR/secret/$1"
    cat "$DIR/secret/$1"
}

# decide_external notes, once for the life of DIR, what the caller brings along. Later calls may then have the
# directory's own env in their environment without mistaking it for the caller's. A shell that has the environment of
# `make up` (LANDFALL_DEV) brings nothing.
decide_external() {
    [ ! -e "$DIR/external" ] || return 0
    if [ -n "${LANDFALL_DEV:-}" ]; then
        : >"$DIR/external"
        return
    fi
    {
        [ -z "${KUBECONFIG:-}" ] || echo "apiserver=$KUBECONFIG"
        [ -z "${KUBEBUILDER_ASSETS:-}" ] || echo "assets=$KUBEBUILDER_ASSETS"
        [ -z "${DATABASE_SUPERUSER_URL:-}" ] || echo "postgres=$DATABASE_SUPERUSER_URL"
    } >"$DIR/external"
    [ -z "${KUBECONFIG:-}" ] || echo "testbed: uses the cluster of KUBECONFIG=$KUBECONFIG; what is applied there stays" >&2
    [ -z "${DATABASE_SUPERUSER_URL:-}" ] || echo 'testbed: uses the server of DATABASE_SUPERUSER_URL; what is made there stays' >&2
}

external() { sed -n "s|^$1=||p" "$DIR/external"; }
is_external() { [ -n "$(external "$1")" ]; }

check_process() {
    [[ " ${processes[*]} " == *" $1 "* ]] || die "no process named '$1'; there are: ${processes[*]}"
    [ "$1" != etcd ] || set -- apiserver
    ! is_external "$1" || die "$1 was brought by the caller, and is left alone"
}

# pick_ports [FROM] gives each process its port, once. Free ports are looked for below the range that the system hands
# out for outgoing connections, so that nothing takes one while its process is stopped; $cache/ports says who has which.
pick_ports() {
    [ ! -e "$DIR/ports" ] || return 0
    mkdir -p "$cache/ports"
    "$python" - "$DIR" "$cache/ports" "$1" etcd apiserver postgres pdns pdns_dns knot pebble \
        pebble_management pebble_dns moto manager scheduler kubelet kubelet_health <<'EOF'
import os, random, socket, sys

home, registry, first, *names = sys.argv[1:]

def free(port):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True

def claim(port):
    entry = f"{registry}/{port}"
    try:
        owner = os.readlink(entry)
        if os.path.exists(f"{owner}/ports") or owner == home:
            return False
        os.unlink(entry)  # its directory is gone
    except OSError:
        pass
    try:
        os.symlink(home, entry)
        return True
    except OSError:
        return False

def candidates():
    if first:
        yield from range(int(first), int(first) + len(names))
    else:
        while True:
            yield random.randrange(20000, 32000)

ports = {}
for port in candidates():
    if not free(port):
        if first:
            sys.exit(f"testbed: port {port} is taken")
    elif first or claim(port):
        ports[names[len(ports)]] = port
        if len(ports) == len(names):
            break
with open(f"{home}/ports.new", "w") as f:
    f.writelines(f"{name}={port}\n" for name, port in ports.items())
os.rename(f"{home}/ports.new", f"{home}/ports")
EOF
}

port() { sed -n "s/^$1=//p" "$DIR/ports"; }

release_ports() {
    local number
    [ -e "$DIR/ports" ] || return 0
    while IFS== read -r _ number; do
        [ "$(readlink "$cache/ports/$number" || true)" != "$DIR" ] || rm -f "$cache/ports/$number"
    done <"$DIR/ports"
}

# write_env COMPONENTS writes what tests read, for these components and those that earlier calls asked for. Each prints
# its own keys.
write_env() {
    local name all
    all=$({ cat "$DIR/components" 2>/dev/null || true; xargs -n1 <<<"$1"; } | awk '!seen[$0]++')
    echo "$all" >"$DIR/components"
    {
        echo "PATH_PREFIX=$DIR/bin"
        # kubectl remembers by address what a server serves, and addresses come again.
        echo "KUBECACHEDIR=$DIR/kube/cache"
        for name in $all; do "env_$name"; done
    } >"$DIR/env.new"
    mv "$DIR/env.new" "$DIR/env"
}

# server_pki NAME ALTERNATIVES makes an authority, DIR/pki/NAME-ca.crt, and a server's certificate of it, NAME.crt with NAME.key.
server_pki() {
    local pki=$DIR/pki name=$1 key
    [ ! -e "$pki/$name.crt" ] || return 0
    mkdir -p "$pki"
    for key in "$name-ca" "$name"; do openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$key.key"; done
    openssl req -x509 -new -key "$pki/$name-ca.key" -days 3650 -subj "/CN=$name-ca" -out "$pki/$name-ca.crt" \
        -addext keyUsage=critical,keyCertSign,cRLSign
    openssl req -new -key "$pki/$name.key" -subj "/CN=$name" |
        openssl x509 -req -CA "$pki/$name-ca.crt" -CAkey "$pki/$name-ca.key" -CAcreateserial -days 3650 \
            -out "$pki/$name.new" -extfile <(printf '%s\n' "subjectAltName=$2" \
                basicConstraints=critical,CA:FALSE extendedKeyUsage=serverAuth keyUsage=critical,digitalSignature) 2>/dev/null
    mv "$pki/$name.new" "$pki/$name.crt"
}
