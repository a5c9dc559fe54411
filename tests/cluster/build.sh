# Programs: from Debian where it has them, from the Go module proxy otherwise. Sourced by `cluster`.
PACKAGES=(containerd runc buildah skopeo iptables iproute2 containernetworking-plugins debootstrap etcd-server conntrack openssl gcc libc6-dev)
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
    local found; found=$(cd "$here/programs" && go env GOVERSION); found=${found#go}
    [ "$(printf '%s\n%s\n' "$MIN_GO" "$found" | sort -V | head -1)" = "$MIN_GO" ] || fail "Go $MIN_GO or newer is needed, here is $found"
}

build() {
    machine
    packages
    build_programs <<<"$PROGRAMS$TOOLS"
}

build_tools() {
    build_programs <<<"$TOOLS"
}

build_programs() { # lines of "program package module version": one `go build` for all that is missing, so that what they share is compiled once
    local name package module version all=() missing=() packages=()
    mkdir -p "$bin"
    while read -r name package module version; do
        [ -n "$name" ] || continue
        grep -q "$module $version$" "$here/programs/go.mod" || fail "programs/go.mod does not name $module $version of versions.sh"
        all+=("$name-$version")
        [ -x "$bin/$name-$version" ] || missing+=("$name-$version") packages+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] || go_build
    for name in "${all[@]}"; do ln -sfn "$name" "$bin/${name%-v*}"; done
}

go_build() { # the programs `missing`, of `packages`
    local out number
    go_found
    echo "building ${missing[*]}" >&2
    out=$(mktemp -d "$home/build.XXXX")
    (cd "$here/programs" && CGO_ENABLED=0 go build -trimpath -tags "$BUILD_TAGS" -ldflags "$(version_flags)" -o "$out/" "${packages[@]}")
    for number in "${!missing[@]}"; do mv "$out/$(basename "${packages[$number]}")" "$bin/${missing[$number]}"; done
    rmdir "$out"
}

version_flags() { # what the programs say of themselves
    local base=k8s.io/component-base/version
    echo "-s -w -X $base.gitVersion=$KUBERNETES -X $base.gitMajor=1 -X $base.gitMinor=$(cut -d. -f2 <<<"$KUBERNETES")" \
        "-X k8s.io/client-go/pkg/version.gitVersion=$KUBERNETES -X helm.sh/helm/v4/internal/version.version=$HELM" \
        "-X github.com/prometheus/common/version.Version=${PROMETHEUS_IMAGE##*:v}"
}
