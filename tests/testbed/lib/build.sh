# Tools that are built once and kept in the cache under a hash of all that went into them. Sourced by testbed.
# For each tool: build_TOOL OUT makes it, inputs_TOOL names the files, expect_TOOL says how long it takes.

expect_controlplane='5 minutes'
inputs_controlplane() { echo "$tests"/controlplane/{main.go,go.mod,go.sum}; }
build_controlplane() {
    local version=v1.34.4
    go_build "$tests/controlplane" -o "$1/controlplane" -ldflags "-s -w \
        -X k8s.io/component-base/version.gitVersion=$version -X k8s.io/client-go/pkg/version.gitVersion=$version" .
}

# What holds the namespaces of a pod: as an image that containerd imports.
expect_pause='5 seconds'
inputs_pause() { echo "$tests"/tools/pause/{main.go,go.mod}; }
build_pause() {
    CGO_ENABLED=0 go_build "$tests/tools/pause" -o "$1/pause" -ldflags '-s -w' .
    "$tests/image/archive" "$1/pause.tar" landfall.test/pause:1 '{"Entrypoint": ["/pause"]}' "/pause=$1/pause"
}

expect_opentofu='3 minutes'
inputs_opentofu() { echo "$tests"/tools/opentofu/{go.mod,go.sum}; }
build_opentofu() {
    local package=github.com/opentofu/opentofu
    CGO_ENABLED=0 go_build "$tests/tools/opentofu" -o "$1/tofu" \
        -ldflags "-s -w -X $package/version.dev=no" $package/cmd/tofu
}

expect_providers='2 minutes'
inputs_providers() { echo "$tests"/tools/providers/{go.mod,go.sum}; }
build_providers() {
    local system here=$1/registry.terraform.io/hashicorp
    system=$(go env GOOS)_$(go env GOARCH)
    CGO_ENABLED=0 go_build "$tests/tools/providers" -ldflags '-s -w' \
        -o "$here/time/0.14.2/$system/terraform-provider-time_v0.14.2" github.com/hashicorp/terraform-provider-time
    CGO_ENABLED=0 go_build "$tests/tools/providers" -ldflags '-s -w' \
        -o "$here/local/1.4.0/$system/terraform-provider-local_v1.4.0" github.com/terraform-providers/terraform-provider-local
    CGO_ENABLED=0 go_build "$tests/tools/providers" -ldflags '-s -w' \
        -o "$here/external/1.2.0/$system/terraform-provider-external_v1.2.0" github.com/terraform-providers/terraform-provider-external
    mkdir "$1/registry.opentofu.org"
    cp -al "$here" "$1/registry.opentofu.org/"
}

expect_pebble='10 seconds'
inputs_pebble() { echo "$tests"/tools/pebble/{go.mod,go.sum}; }
build_pebble() {
    CGO_ENABLED=0 go_build "$tests/tools/pebble" -o "$1/pebble" -ldflags '-s -w' github.com/letsencrypt/pebble/v2/cmd/pebble
}

expect_helm='1 minute'
inputs_helm() { echo "$tests"/tools/helm/{go.mod,go.sum}; }
build_helm() {
    # Without these it takes the cluster that it renders for to be 1.20.
    local package=helm.sh/helm/v3/pkg part flags=''
    for part in chartutil lint/rules; do flags+=" -X $package/$part.k8sVersionMajor=1 -X $package/$part.k8sVersionMinor=34"; done
    CGO_ENABLED=0 go_build "$tests/tools/helm" -o "$1/helm" -ldflags "-s -w$flags" helm.sh/helm/v3/cmd/helm
}

# The environment is moved after it was made, so only its python is to be called, never a script in its bin.
expect_moto='1 minute'
inputs_moto() { echo "$tests/tools/moto/requirements.txt"; }
build_moto() {
    "$python" -m venv "$1"
    "$1/bin/python" -m pip --disable-pip-version-check --no-input install -q -r "$tests/tools/moto/requirements.txt"
}

expect_cargo_deny='2 minutes'
inputs_cargo_deny() { :; }
build_cargo_deny() { cargo install -q --locked --debug --root "$1" --version 0.20.2 cargo-deny; }

expect_postgres='3 seconds'
inputs_postgres() { :; }
build_postgres() { init_postgres "$1"; }

# go_build DIRECTORY ARGUMENT … runs one build at a time on this machine, untouched by the caller's settings. What a debugger reads
# is left out from the beginning, and the compiler collects its garbage seldom: each saves a quarter of the time or more.
go_build() {
    (
        cd "$1"
        flock 7
        GOGC=400 GOFLAGS='' GOWORK=off go build -trimpath -buildvcs=false -gcflags=all=-dwarf=false "${@:2}"
    ) 7>"$cache/go.lock"
}

# tool TOOL prints the directory that the tool has, or will have.
tool() {
    local hash files
    files=$("inputs_$1")
    # shellcheck disable=SC2086
    hash=$({
        declare -f "build_$1"
        [ "$1" != postgres ] || { declare -f init_postgres && "$(pg_bin)/postgres" --version; }
        [ -z "$files" ] || cat $files
    } | sha256sum)
    echo "$cache/$1-${hash:0:16}"
}

# build TOOL builds it unless it is there. What is half made has another name, and who comes second waits.
build() {
    local target
    target=$(tool "$1")
    [ ! -d "$target" ] || return 0
    mkdir -p "$cache"
    (
        flock 9
        [ ! -d "$target" ] || exit 0
        expect=expect_$1
        say "building $1 (about ${!expect}, once)"
        new=$(mktemp -d "$cache/.$1.XXXXXX")
        trap 'rm -rf "$new"' EXIT
        ("build_$1" "$new") 9>&- >"$cache/$1.log" 2>&1 &
        wait $! || die "could not build $1: $cache/$1.log"
        mv "$new" "$target"
    ) 9>"$cache/$1.lock"
}
