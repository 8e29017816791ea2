# What a program finds that an engine's plugin starts in a run's pod, as an object of JSON. Arguments: the run API, another's run,
# address and port of what the other's runner serves to its own engine, and of somebody outside whom a process keeps calling that is
# to outlive the engine.
PATH=/usr/bin:/bin api=$1 run=$2 backend=$3 outside=$4
shopt -s nullglob
found=()
tell() { found+=("\"$1\":\"${*:2}\""); }

# opens FILE … prints those that can be read.
opens() {
    local file readable=()
    for file; do
        # Of a process's memory the first page is nobody's.
        (exec 3<"$file" && { [[ $file == */mem ]] || read -r -N 1 -u 3 _; }) 2>/dev/null && readable+=("$file")
    done
    echo "${readable[*]}"
}

# answers ARGUMENT … prints the status of what curl asks for; 000 where nobody answers.
answers() { curl --silent --insecure --max-time 5 --output /dev/null --write-out '%{http_code}' "$@"; }

runner='' names=''
for at in /proc/[0-9]*; do
    mapfile -d '' -t line <"$at/cmdline"
    [ "${line[0]} ${line[1]}" != 'landfall runner' ] || runner=$at
    while IFS='=' read -r -d '' name _; do names+="$name "; done <"$at/environ"
done 2>/dev/null
tell runner "${runner:+seen}"
tell of_the_runner "$(opens "$runner"/{environ,mem,maps,auxv,io,stack} "$runner"/fd/* "$runner"/root/etc/passwd "$runner"/cwd/*)"
tell variables "$names"
tell files "$(opens /var/run/secrets/kubernetes.io/serviceaccount/token /etc/landfall/{landfall.yaml,keys/k1} /etc/shadow \
    /root/.kube/config /root/.aws/credentials /etc/kubernetes/* /var/run/docker.sock /run/containerd/containerd.sock /dev/{mem,kmsg,sda,vda})"
tell runs "$(cd /work && echo *)"
tell writes "$(for at in / /etc /usr/local/bin /proc/sys/kernel/hostname; do
    (if [ -d $at ]; then : >"$at/mine"; else echo mine >$at; fi) 2>/dev/null && echo -n "$at "
done)"
while read -r name value; do
    case $name in CapEff: | CapBnd: | NoNewPrivs: | Seccomp: | Uid:) tell "${name%:}" "${value%%$'\t'*}" ;; esac
done </proc/self/status

token=$(</var/run/landfall/token)
for path in state artifacts/plan-json artifacts/snapshot control; do
    tell "$path" "$(answers --header "Authorization: Bearer $token" "$api/runs/$run/$path")"
done
tell backend "$(answers "http://$backend/state")"

exec 4<>"/dev/tcp/${outside/://}"
echo begun >&4
setsid bash -c 'while read -r _ <&4; do :; done' </dev/null >/dev/null 2>&1 &
(IFS=,; echo "{${found[*]}}")
