# A node that runs containers: controller manager, scheduler, containerd and kubelet, beside the API server. Sourced by testbed.
#
# Pods have a bridge of their own and reach this machine by its address alone (NODE_GATEWAY). There are no Services (no
# kube-proxy), no cluster DNS, and no way out.

# node_missing prints what keeps this machine from running containers; nothing where it can.
node_missing() {
    local program
    [ "$(id -u)" = 0 ] || { echo 'that needs root' && return; }
    for program in containerd runc ctr ip; do have $program || { echo "$program is missing" && return; }; done
    [ -x /usr/lib/cni/bridge ] || { echo 'the CNI plugins are missing' && return; }
    can_make_cgroups || { echo 'no cgroups can be made here' && return; }
    unshare --mount --pid --net --fork true 2>/dev/null || { echo 'namespaces cannot be made here' && return; }
    can_overlay || { echo 'overlayfs cannot be mounted here' && return; }
    ip link add lfprobe$$ type bridge 2>/dev/null || { echo 'no bridge can be made here' && return; }
    ip link del lfprobe$$
    iptables --wait --table nat --list PREROUTING --numeric >/dev/null 2>&1 || echo 'iptables changes no addresses here'
}

can_make_cgroups() {
    local at=/sys/fs/cgroup
    [ -e $at/cgroup.controllers ] || at=$at/memory
    mkdir "$at/landfall-probe-$$" 2>/dev/null && rmdir "$at/landfall-probe-$$"
}

can_overlay() {
    local dir status=0
    dir=$(mktemp -d)
    mkdir "$dir"/{lower,upper,work,all}
    unshare --mount mount -t overlay overlay \
        -o "lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work" "$dir/all" 2>/dev/null || status=1
    rm -rf "$dir"
    return $status
}

node_name() { echo testbed; }
node_bridge() { echo "lf$(port kubelet)"; }
containerd_socket() { echo "$DIR/node/containerd.sock"; }
node_ctr() { ctr --address "$(containerd_socket)" -n k8s.io "$@"; }
node_cgroup() { echo "/landfall-$(port kubelet)"; }

# Each test bed has another /24, by its port.
node_network() {
    local at=$(($(port kubelet) % 12000))
    echo "10.$((88 + at / 256)).$((at % 256))"
}

up_node() {
    mkdir -p "$DIR"/node/{cni,pods}
    if [ ! -e "/sys/class/net/$(node_bridge)" ]; then
        ip link add "$(node_bridge)" type bridge
        ip addr add "$(node_network).1/24" dev "$(node_bridge)"
        ip link set "$(node_bridge)" up
    fi
    containerd_config
    kubelet_config
    start_containerd
    start_manager
    start_scheduler
    start_kubelet
    ready kubelet "$DIR/bin/kubectl" --kubeconfig "$DIR/kube/admin" wait --for=condition=Ready "node/$(node_name)" --timeout=1s
}

containerd_config() {
    cat >"$DIR/node/containerd.toml" <<END
version = 2
root = "$DIR/node/containerd"
state = "$DIR/node/state"
[grpc]
address = "$(containerd_socket)"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
sandbox_image = "landfall.test/pause:1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$DIR/node/cni"
END
    cat >"$DIR/node/cni/10-bridge.conflist" <<END
{"cniVersion": "1.0.0", "name": "testbed", "plugins": [
  {"type": "bridge", "bridge": "$(node_bridge)", "isGateway": true, "ipMasq": false,
   "ipam": {"type": "host-local", "dataDir": "$DIR/node/ipam", "ranges": [[{"subnet": "$(node_network).0/24"}]]}}]}
END
}

kubelet_config() {
    cat >"$DIR/node/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupRoot: $(node_cgroup)
failSwapOn: false
failCgroupV1: false
enforceNodeAllocatable: []
makeIPTablesUtilChains: false
evictionHard: {memory.available: 50Mi, nodefs.available: 1Gi, imagefs.available: 1Gi}
imageGCHighThresholdPercent: 100
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
address: $(node_network).1
port: $(port kubelet)
healthzPort: $(port kubelet_health)
readOnlyPort: 0
containerRuntimeEndpoint: unix://$(containerd_socket)
podLogsDir: $DIR/node/pods
END
}

start_manager() {
    ! alive manager || return 0
    launch_kube manager kube-controller-manager --kubeconfig "$DIR/kube/admin" --leader-elect=false \
        --bind-address=127.0.0.1 --secure-port="$(port manager)" --cert-dir="$DIR/pki" --root-ca-file="$DIR/pki/ca.crt" \
        --service-account-private-key-file="$DIR/pki/accounts.key"
    ready manager curl -skf "https://127.0.0.1:$(port manager)/healthz"
}

start_scheduler() {
    ! alive scheduler || return 0
    launch_kube scheduler kube-scheduler --kubeconfig "$DIR/kube/admin" --leader-elect=false \
        --bind-address=127.0.0.1 --secure-port="$(port scheduler)" --cert-dir="$DIR/pki"
    ready scheduler curl -skf "https://127.0.0.1:$(port scheduler)/healthz"
}

start_containerd() {
    ! alive containerd || return 0
    # What it makes is the root of a container, in which others than root must find their way.
    (umask 022 && launch containerd containerd --config "$DIR/node/containerd.toml" --log-level warn)
    ready containerd node_ctr version
    node_ctr images import "$(tool pause)/pause.tar" >/dev/null
}

start_kubelet() {
    local hierarchy
    ! alive kubelet || return 0
    for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*/; do
        [ ! -e "$hierarchy/cgroup.procs" ] || mkdir -p "$hierarchy$(node_cgroup)" 2>/dev/null || true
    done
    (umask 022 && launch_kube kubelet kubelet --kubeconfig "$DIR/kube/admin" --config "$DIR/node/kubelet.yaml" \
        --root-dir "$DIR/node/kubelet" --cert-dir "$DIR/node/pki" --hostname-override "$(node_name)" --node-ip="$(node_network).1")
}

# end_node ends the pods too: they and their networks would outlive kubelet and containerd.
end_node() {
    local id networks=()
    [ -d "$DIR/node" ] || return 0
    end_processes TERM kubelet
    if alive containerd; then
        mapfile -t networks < <(for id in $(node_ctr containers list -q); do
            node_ctr containers info "$id" | jq -r '.Spec.linux.namespaces[]? | select(.type == "network") | .path // empty'
        done | sort -u)
        for id in $(node_ctr tasks list -q); do
            node_ctr tasks kill --all --signal SIGKILL "$id" >/dev/null 2>&1 || true
            node_ctr tasks delete --force "$id" >/dev/null 2>&1 || true
        done
    fi
    end_processes TERM containerd scheduler manager
    grep -o " $DIR/node/[^ ]*" /proc/self/mounts | sort -r | xargs -r umount --lazy
    for id in $(ls "$DIR/node/ipam/testbed" 2>/dev/null | grep -E '^[0-9.]+$'); do rm -f "$DIR/node/ipam/testbed/$id"; done
    for id in "${networks[@]}"; do
        [[ $id != */netns/cni-* ]] || ip netns del "${id##*/}" 2>/dev/null || true
    done
    [ ! -e "/sys/class/net/$(node_bridge)" ] || ip link del "$(node_bridge)"
    find /sys/fs/cgroup -depth -type d -path "*$(node_cgroup)*" -exec rmdir {} + 2>/dev/null || true
}

env_node() {
    echo "NODE_CONTAINERD=$(containerd_socket)"
    echo "NODE_GATEWAY=$(node_network).1"
}
