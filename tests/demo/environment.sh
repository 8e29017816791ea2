# A control plane, Postgres, PowerDNS and engines of one's own, with Landfall installed and running. Sourced by demo.

say() { printf '%s\n' "$*"; }

# within SECONDS COMMAND … waits until the command succeeds.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.2
    done
}

not() { ! "$@"; }

# controller_lives DIR is true while the controller that was started there runs; its pid may be another's by now.
controller_lives() { [ "$(readlink "/proc/$(cat "$1/controller.pid" 2>/dev/null)/exe")" = "$1/bin/landfall" ]; }

# sessions_of_runs DIR names the sessions of the runs there that have a living member, each by its number, which is its
# runner's pid. A number that another process has by now is nobody's of ours.
sessions_of_runs() {
    local dir=$1 holder pid program
    for holder in "$dir"/runs/*/holder.json; do
        pid=$(jq -r '.pid // empty' "$holder" 2>/dev/null) || continue
        [ -n "$pid" ] && pgrep -r R,S,D,T,t -s "$pid" >/dev/null || continue
        program=$(readlink "/proc/$pid/exe") || program=
        [ -n "$program" ] && [ "$program" != "$dir/bin/landfall" ] || echo "$pid"
    done
}

no_runs() { [ -z "$(sessions_of_runs "$1")" ]; }

# end_runs DIR asks the runners there to stop, which gives their states to the controller, and ends what is left after a while.
end_runs() {
    # A bare `return` would answer what the shell is ending with, for this runs in a trap.
    local dir=$1 session
    no_runs "$dir" && return 0
    say '.. stopping the runs under way'
    for session in $(sessions_of_runs "$dir"); do kill -TERM "$session" 2>/dev/null || true; done
    within 20 no_runs "$dir" && return 0
    for session in $(sessions_of_runs "$dir"); do
        # shellcheck disable=SC2046
        kill -KILL $(pgrep -s "$session") 2>/dev/null || true
    done
    within 10 no_runs "$dir" || say 'a run does not end'
}

# environment_up DIR builds and starts everything; DIR/env says where it is. With profile=release the program is one to be
# measured.
environment_up() {
    local dir=$1 built
    # What is written here holds passwords and keys.
    umask 077
    mkdir -p "$dir"
    if [ -e "$dir/env" ]; then
        environment_again "$dir"
        return
    fi
    # What an interrupted one left.
    environment_down "$dir"
    mkdir -p "$dir"
    "$testbed" deps
    "$testbed" build
    say '.. building landfall (a few minutes the first time)'
    built=$(cargo metadata --format-version 1 --no-deps | jq -r .target_directory)
    if [ "${profile:-dev}" = release ]; then
        cargo build --locked -q --release
        built=$built/release
    else
        cargo build --locked -q
        built=$built/debug
    fi
    mkdir -p "$dir/bin"
    cp "$built/landfall" "$dir/bin/landfall"
    say '.. starting control plane, Postgres, PowerDNS, a CA, AWS'
    "$testbed" up "$dir/bed"
    set -a
    # shellcheck disable=SC1091
    . "$dir/bed/env"
    set +a
    PATH=$dir/bin:$PATH_PREFIX:$PATH
    install_landfall "$dir"
    start_controller "$dir"
    write_env "$dir"
}

# environment_again DIR starts what has ended of an environment that was up.
environment_again() {
    local dir=$1 gone
    gone=$("$testbed" status "$dir/bed" | awk '$2 == "down" {print $1}')
    "$testbed" up "$dir/bed"
    set -a
    # shellcheck disable=SC1091
    . "$dir/bed/env"
    # shellcheck disable=SC1091
    . "$dir/env"
    set +a
    if ! controller_lives "$dir"; then
        gone="$gone controller"
        launch_controller "$dir"
    fi
    # shellcheck disable=SC2086
    if [ -n "$gone" ]; then say "up again, having started:" $gone; else say "up already: $dir/env"; fi
}

install_landfall() {
    local dir=$1 password
    kubectl apply --server-side -k manifests/install >"$dir/install.log" 2>&1 || failed "install: $(tail -n 1 "$dir/install.log")"
    # The API server tells of new kinds a moment after it has them.
    within 60 kubectl get landfall -A || failed 'the API server does not tell of the kinds'
    kubectl create namespace team-a >/dev/null
    local user
    for user in alice:landfall-approver alice:landfall-bypass alice:landfall-credential-user bob:landfall-editor bob:landfall-credential-user; do
        kubectl create rolebinding "${user/:/-}" -n team-a --user="${user%%:*}" --clusterrole="${user#*:}" >/dev/null
    done
    kubectl create role web-token -n team-a --verb=get,create --resource=secrets --resource-name=web --resource-name=web-outputs --resource-name=hello-outputs >/dev/null
    kubectl create rolebinding web-token -n team-a --user=alice --user=bob --role=web-token >/dev/null
    DATABASE_URL=$DATABASE_SUPERUSER_URL landfall migrate >>"$dir/install.log" 2>&1 || failed "migrate: $(tail -n 1 "$dir/install.log")"
    password=$(openssl rand -hex 16)
    psql -qX "$DATABASE_SUPERUSER_URL" -v ON_ERROR_STOP=1 >/dev/null <<SQL
CREATE ROLE landfall LOGIN PASSWORD '$password' IN ROLE landfall_writer;
SQL
    DATABASE_URL=$(sed -E "s#//[^@/]*@#//landfall:$password@#" <<<"$DATABASE_SUPERUSER_URL")
    export DATABASE_URL
}

start_controller() {
    local dir=$1 port
    export LANDFALL_CONFIG=$dir/landfall.yaml
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    openssl rand -base64 32 >"$dir/kek"
    {
        echo 'namespace: landfall-system'
        echo "listen: 127.0.0.1:$port"
        echo "allowedEndpoints: ['$PDNS_URL', '$AWS_ENDPOINT', 'dns://$KNOT_DNS', '${PEBBLE_DIRECTORY%/dir}']"
        echo "dns: {authorities: [{zone: $PDNS_ZONE, servers: ['$PDNS_DNS']}, {zone: $KNOT_ZONE, servers: ['$KNOT_DNS']}]}"
        echo "encryption: {current: demo, keys: {demo: $dir/kek}}"
        echo "engines: {OpenTofu: $TOFU${TERRAFORM:+, Terraform: $TERRAFORM}}"
        echo "engineCliConfig: $ENGINE_CLI_CONFIG"
        echo "executor: {type: local, workDir: $dir/runs}"
    } >"$dir/landfall.yaml"
    launch_controller "$dir"
}

launch_controller() {
    local dir=$1 listen deadline=$((SECONDS + 60))
    listen=$(sed -n 's/^listen: //p' "$dir/landfall.yaml")
    KUBECONFIG=$KUBECONFIG_CONTROLLER setsid landfall controller >>"$dir/controller.log" 2>&1 </dev/null &
    echo $! >"$dir/controller.pid"
    # It is ended by pid. The shell has nothing to tell of its end.
    disown
    until curl -fsS -o /dev/null "http://$listen/readyz" 2>/dev/null; do
        { kill -0 "$(cat "$dir/controller.pid")" 2>/dev/null && [ $SECONDS -lt $deadline ]; } ||
            failed "the controller is not ready: $(tail -n 1 "$dir/controller.log")"
        sleep 0.2
    done
}

write_env() {
    local dir=$1 key
    for key in KUBECONFIG KUBECONFIG_ALICE KUBECONFIG_BOB KUBECONFIG_CAROL DATABASE_URL DATABASE_SUPERUSER_URL PDNS_URL \
        PDNS_API_KEY PDNS_ZONE PDNS_DNS PEBBLE_DIRECTORY PEBBLE_MANAGEMENT PEBBLE_CA KUBECACHEDIR LANDFALL_CONFIG AWS_ENDPOINT AWS_TEST_ACCESS_KEY_ID AWS_TEST_SECRET_ACCESS_KEY; do
        echo "$key=${!key}"
    done >"$dir/env.new"
    echo "LANDFALL_DEV=$dir" >>"$dir/env.new"
    echo "PATH=$PATH" >>"$dir/env.new"
    mv "$dir/env.new" "$dir/env"
}

# environment_down DIR ends what environment_up started there, by pid, and removes its data.
environment_down() {
    local dir=$1
    # While there is somebody to take their states, and again for one that was begun meanwhile.
    end_runs "$dir"
    if controller_lives "$dir"; then
        kill "$(cat "$dir/controller.pid")" 2>/dev/null || true
        within 30 not controller_lives "$dir" || say 'the controller does not end'
    fi
    end_runs "$dir"
    [ ! -d "$dir/bed" ] || "$testbed" down "$dir/bed" --purge
    rm -rf "${dir:?}"/{bed,bin,runs,env,kek,landfall.yaml,controller.pid,controller.log,install.log}
}
