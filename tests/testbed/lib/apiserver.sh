# etcd and kube-apiserver, and a kubeconfig for each user. Sourced by testbed.

# What binaries to use: the caller's KUBEBUILDER_ASSETS, or our own.
kube_binary() {
    local assets
    assets=$(external assets)
    if [ -n "$assets" ]; then echo "$assets/$1"; else echo "$(tool controlplane)/controlplane"; fi
}

apiserver_tools() {
    is_external assets || { is_external apiserver && have kubectl; } || echo controlplane
}

# launch_kube NAME BINARY ARGUMENT … starts a component under the name that it has in either binary.
launch_kube() {
    local binary
    binary=$(kube_binary "$2")
    if is_external assets; then launch "$1" "$binary" "${@:3}"; else launch "$1" "$binary" "$2" "${@:3}"; fi
}

up_apiserver() {
    local kubectl
    kubectl=$(kube_binary kubectl)
    # Their own cluster may be newer than our client, so their client goes first.
    if is_external apiserver && ! is_external assets && have kubectl; then kubectl=$(command -v kubectl); fi
    ln -sfn "$kubectl" "$DIR/bin/kubectl"
    if is_external apiserver; then
        impersonating_kubeconfigs
        return
    fi
    make_pki
    make_users
    start_etcd
    start_apiserver
}

# The controller is the service account that the chart makes for it.
users=(admin alice bob carol controller)
user_name() { case $1 in controller) echo system:serviceaccount:landfall-system:landfall-controller ;; *) echo "$1" ;; esac; }
user_groups() {
    case $1 in
    admin) echo system:masters ;;
    controller) echo system:serviceaccounts,system:serviceaccounts:landfall-system,system:authenticated ;;
    *) echo system:authenticated ;;
    esac
}

make_users() {
    local user
    [ ! -e "$DIR/pki/tokens.csv" ] || return 0
    for user in "${users[@]}"; do
        echo "$(secret "token-$user"),$(user_name "$user"),uid-$user,\"$(user_groups "$user")\"" >>"$DIR/pki/tokens.new"
        cat >"$DIR/kube/$user" <<EOF
apiVersion: v1
kind: Config
clusters: [{name: testbed, cluster: {server: "https://127.0.0.1:$(port apiserver)", certificate-authority-data: $(base64 -w0 "$DIR/pki/ca.crt")}}]
users: [{name: $user, user: {token: $(secret "token-$user")}}]
contexts: [{name: testbed, context: {cluster: testbed, user: $user}}]
current-context: testbed
EOF
    done
    mv "$DIR/pki/tokens.new" "$DIR/pki/tokens.csv"
}

# On a cluster that the caller brought, the users are impersonated by whoever the caller is there.
impersonating_kubeconfigs() {
    local user config
    config=$(KUBECONFIG=$(external apiserver) "$DIR/bin/kubectl" config view --raw --flatten --minify -o json) ||
        die "cannot read the kubeconfig $(external apiserver)"
    for user in "${users[@]}"; do
        if [ "$user" = admin ]; then
            echo "$config"
        else
            jq --arg name "$(user_name "$user")" --arg groups "$(user_groups "$user")" \
                '.users[].user += {as: $name, "as-groups": ($groups | split(","))}' <<<"$config"
        fi >"$DIR/kube/$user"
    done
}

# An authority of our own, the API server's certificate, and the key that signs the tokens of service accounts.
make_pki() {
    local pki=$DIR/pki
    [ ! -e "$pki/server.crt" ] || return 0
    for key in ca server accounts; do openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$key.key"; done
    openssl ec -in "$pki/accounts.key" -pubout -out "$pki/accounts.pub" 2>/dev/null
    openssl req -x509 -new -key "$pki/ca.key" -days 3650 -subj /CN=testbed-ca -out "$pki/ca.crt" \
        -addext keyUsage=critical,keyCertSign,cRLSign
    openssl req -new -key "$pki/server.key" -subj /CN=kube-apiserver |
        openssl x509 -req -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 3650 -out "$pki/server.new" \
            -extfile <(printf '%s\n' 'subjectAltName=IP:127.0.0.1,IP:10.0.0.1,DNS:localhost,DNS:kubernetes.default.svc' \
                basicConstraints=critical,CA:FALSE extendedKeyUsage=serverAuth keyUsage=critical,digitalSignature) 2>/dev/null
    mv "$pki/server.new" "$pki/server.crt"
}

etcd_url() { echo "http://127.0.0.1:$(port etcd)"; }

start_etcd() {
    ! alive etcd || return 0
    if is_external assets; then
        launch_kube etcd etcd --data-dir "$DIR/data/etcd" --unsafe-no-fsync --log-level warn \
            --listen-client-urls "$(etcd_url)" --advertise-client-urls "$(etcd_url)" --listen-peer-urls http://127.0.0.1:0
    else
        launch_kube etcd etcd "$DIR/data/etcd" "$(etcd_url)"
    fi
    ready etcd curl -sf "$(etcd_url)/health"
}

# No node ever asks for the address of this API server, so that it need not publish one (it would refuse a loopback
# address, again and again).
start_apiserver() {
    ! alive apiserver || return 0
    launch_kube apiserver kube-apiserver \
        --etcd-servers="$(etcd_url)" \
        --bind-address=127.0.0.1 --secure-port="$(port apiserver)" \
        --cert-dir="$DIR/pki" --tls-cert-file="$DIR/pki/server.crt" --tls-private-key-file="$DIR/pki/server.key" \
        --client-ca-file="$DIR/pki/ca.crt" --token-auth-file="$DIR/pki/tokens.csv" \
        --authorization-mode=Node,RBAC \
        --service-account-key-file="$DIR/pki/accounts.pub" \
        --service-account-signing-key-file="$DIR/pki/accounts.key" \
        --service-account-issuer=https://kubernetes.default.svc \
        --service-cluster-ip-range=10.0.0.0/24 \
        --kubelet-preferred-address-types=InternalIP --endpoint-reconciler-type=none --enable-priority-and-fairness=false --profiling=false
    ready apiserver curl -sf --cacert "$DIR/pki/ca.crt" "https://127.0.0.1:$(port apiserver)/readyz"
    ready apiserver "$DIR/bin/kubectl" --kubeconfig "$DIR/kube/admin" get namespace default kube-system
}

env_apiserver() {
    local user
    echo "KUBECONFIG=$DIR/kube/admin"
    for user in "${users[@]:1}"; do echo "KUBECONFIG_${user^^}=$DIR/kube/$user"; done
    echo "KUBECTL=$DIR/bin/kubectl"
}
