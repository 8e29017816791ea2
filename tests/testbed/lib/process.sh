# Processes that outlive this script, known by pid and start time. Sourced by testbed.

# start_time PID prints when the process began, in clock ticks since boot, and nothing when it is gone or a zombie.
start_time() {
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
    stat=${stat##*) } # what stands before may hold spaces: the name of the program
    # shellcheck disable=SC2086
    set -- $stat
    [ "$1" = Z ] || [ "$1" = X ] || echo "${20}"
}

pid_of() { cut -d' ' -f1 "$DIR/run/$1"; }

# alive NAME is true while the very process that was started runs.
alive() {
    local pid began
    [ -s "$DIR/run/$1" ] && read -r pid began <"$DIR/run/$1" && [ "$(start_time "$pid")" = "$began" ]
}

# launch NAME COMMAND … starts a session of its own. No file of the caller stays open in it: who waits for the end of a
# pipe must not wait for us.
launch() {
    local name=$1 pid
    shift
    (
        exec </dev/null >>"$DIR/log/$name.log" 2>&1
        for fd in /proc/"$BASHPID"/fd/*; do
            fd=${fd##*/}
            [ "$fd" -le 2 ] || eval "exec $fd>&-"
        done
        exec setsid "$@"
    ) &
    pid=$!
    echo "$pid $(start_time $pid)" >"$DIR/run/$name"
}

# ready NAME COMMAND … waits until the command succeeds. It gives up after a minute, or when the process has ended.
ready() {
    local name=$1 deadline=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        alive "$name" || die "$name ended before it was ready: $DIR/log/$name.log"
        [ $SECONDS -lt $deadline ] || die "$name was not ready within a minute: $DIR/log/$name.log"
        sleep 0.05
    done
}

# end_processes SIGNAL NAME … ends those, all at once, and waits for each and its children. Who does not listen within 15
# seconds is killed.
end_processes() {
    local signal=$1 name pid deadline=$((SECONDS + 15)) family=() own=()
    shift
    for name; do
        alive "$name" || continue
        pid=$(pid_of "$name")
        # The workers of a Postgres may live on for a moment, and keep the next one from starting.
        # shellcheck disable=SC2207
        own=("$pid" $(pgrep -P "$pid" || true))
        for pid in "${own[@]}"; do family+=("$pid $(start_time "$pid")"); done
        pid=${own[0]}
        if [ "$signal" = KILL ]; then
            kill -KILL "${own[@]}" 2>/dev/null || true
        elif [ "$name" = postgres ]; then
            kill -INT "$pid" 2>/dev/null || true # TERM would wait for every client to leave
        else
            kill -"$signal" "$pid" 2>/dev/null || true
        fi
    done
    for name; do
        while alive "$name"; do
            [ $SECONDS -lt $deadline ] || end_processes KILL "$name"
            sleep 0.02
        done
    done
    for name in "${family[@]}"; do
        while [ -n "${name#* }" ] && [ "$(start_time "${name% *}")" = "${name#* }" ]; do
            [ $SECONDS -lt $deadline ] || kill -KILL "${name% *}" 2>/dev/null || true
            sleep 0.02
        done
    done
}

# end_all leaves nothing of this directory running. The API server goes first, as it complains without its etcd.
end_all() {
    end_node
    end_processes TERM apiserver postgres pdns knot pebble pebble_dns moto
    end_processes TERM etcd
}
