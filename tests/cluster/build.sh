# Programs: from Debian where it has them, from the Go module proxy otherwise. Sourced by `cluster`.
PACKAGES=(containerd runc buildah iptables iproute2 containernetworking-plugins debootstrap etcd-server conntrack openssl gcc libc6-dev)
KUBERNETES_PROGRAMS=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)
APT_TRIES=3
APT_PAUSE_S=5
MIN_GO=1.26

machine() { # what cannot be made good by installing something
    [ "$(uname -s)" = Linux ] || fail "this makes a node of the machine it runs on, which must be Linux; use kind elsewhere"
    [ "$EUID" -eq 0 ] || fail "a node needs root (networks, mounts, cgroups): run it as root, or use kind"
    command -v apt-get >/dev/null || fail "the packages come from Debian: no apt-get here"
}

able() { # networks, mounts and control groups of its own: many a container may not have them, though it is root's
    machine
    local why
    why=$(unshare --mount --net bash -c "$TRY_MOUNTS" 2>&1) || fail "this machine lets nobody mount in a namespace of his own: ${why##*$'\n'}"
    why=$({ mkdir "$(cgroup_root)/able.$$" && rmdir "$(cgroup_root)/able.$$"; } 2>&1) || fail "no control group can be made here: $why"
}

TRY_MOUNTS='set -e; mount -t tmpfs none /mnt; cd /mnt; mkdir lower upper work merged
    mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none merged'
cgroup_root() { if [ -d /sys/fs/cgroup/cpu ]; then echo /sys/fs/cgroup/cpu; else echo /sys/fs/cgroup; fi; }

packages() {
    dpkg -s "${PACKAGES[@]}" >/dev/null 2>&1 && return
    local try
    for ((try = 1; try <= APT_TRIES; try++)); do
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${PACKAGES[@]}" >/dev/null && return
        sleep "$APT_PAUSE_S"
    done
    fail "apt-get could not install: ${PACKAGES[*]}"
}

go_found() {
    command -v go >/dev/null || fail "Go $MIN_GO or newer is needed to build Kubernetes: https://go.dev/dl"
    # Asked beside the go.mod that names the version, an older Go brings the right one by itself.
    local found; found=$(cd "$here/kubernetes" && go env GOVERSION); found=${found#go}
    [ "$(printf '%s\n%s\n' "$MIN_GO" "$found" | sort -V | head -1)" = "$MIN_GO" ] || fail "Go $MIN_GO or newer is needed, here is $found"
}

build() {
    machine
    packages
    build_kubernetes "${KUBERNETES_PROGRAMS[@]}"
    build_programs <<<"$PROGRAMS$TOOLS"
}

build_tools() {
    build_kubernetes kubectl
    build_programs <<<"$TOOLS"
}

build_kubernetes() { # NAME...: one `go build` for all that is missing, so that they are compiled once and linked side by side
    local name missing=()
    for name in "$@"; do [ -x "$bin/$name-$KUBERNETES" ] || missing+=("$name"); done
    if [ ${#missing[@]} -gt 0 ]; then
        go_found
        grep -q "k8s.io/kubernetes $KUBERNETES$" "$here/kubernetes/go.mod" || fail "kubernetes/go.mod does not name $KUBERNETES of versions.sh"
        echo "building ${missing[*]} $KUBERNETES" >&2
        local minor flags out; minor=$(cut -d. -f2 <<<"$KUBERNETES")
        flags="-s -w -X k8s.io/component-base/version.gitVersion=$KUBERNETES -X k8s.io/component-base/version.gitMajor=1"
        flags+=" -X k8s.io/component-base/version.gitMinor=$minor -X k8s.io/client-go/pkg/version.gitVersion=$KUBERNETES"
        mkdir -p "$bin"; out=$(mktemp -d "$home/build.XXXX")
        (cd "$here/kubernetes" && CGO_ENABLED=0 go build -trimpath -ldflags "$flags" -o "$out/" "${missing[@]/#/k8s.io/kubernetes/cmd/}")
        for name in "${missing[@]}"; do mv "$out/$name" "$bin/$name-$KUBERNETES"; done
        rmdir "$out"
    fi
    for name in "$@"; do ln -sfn "$name-$KUBERNETES" "$bin/$name"; done
}

build_programs() { # lines of "program package version": built when the program there is of another version
    local name package version
    while read -r name package version; do
        [ -n "$name" ] || continue
        [ "$(built_version "$name")" = "$version" ] && continue
        go_found
        echo "building $name $version" >&2
        mkdir -p "$bin"
        GOBIN=$bin CGO_ENABLED=0 go install -trimpath -ldflags "-s -w" "$package@$version" </dev/null
    done
}

built_version() { # of a program in $bin, empty when it is not there
    [ -x "$bin/$1" ] || return 0
    command -v go >/dev/null || { cat "$bin/.$1.version" 2>/dev/null || true; return 0; }
    go version -m "$bin/$1" | awk '$1 == "mod" { print $3; exit }'
}
