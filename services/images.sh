#!/usr/bin/env bash
# The services' images and the operator's, with docker where it runs and buildah otherwise: services/images.sh build|push|sizes [SERVICE|operator...], save SERVICE|operator FILE
# They are named $IMAGE_REGISTRY/shop-<service>:$VERSION. Runs with bash 3.2, as macOS has it (tests/architecture/test_shell_scripts.py).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
registry=${IMAGE_REGISTRY:-localhost/shopkeeper}
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -1)}
revision=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)

if [ -z "${IMAGE_TOOL:-}" ]; then
    if docker info >/dev/null 2>&1; then IMAGE_TOOL=docker
    elif command -v buildah >/dev/null; then IMAGE_TOOL=buildah
    else echo "images: needs docker (running) or buildah" >&2; exit 1; fi
fi

nouns() {
    local file
    # A service has a manifest; the libraries have none.
    for file in services/*/pyproject.toml; do
        if grep -q '^\[tool\.shop\]' "$file"; then basename "$(dirname "$file")"; fi
    done
    echo operator
}

ref() { echo "$registry/shop-$1:$version"; }

run_buildah() {
    # Overlay and chroot work as root inside a virtual machine or container, where nested namespaces may not.
    if [ "$EUID" -eq 0 ]; then buildah --storage-driver overlay "$@"; else buildah "$@"; fi
}

stage_ref() { echo "$registry/stage-$1:$version"; }

build_stages() { # what all images share, once
    local stage options=(--build-arg SERVICE=none -f services/Dockerfile -q)
    [ "$IMAGE_TOOL" = buildah ] || return 0
    [ "$EUID" -ne 0 ] || options+=(--isolation chroot)
    for stage in kit runtime; do
        run_buildah bud --layers "${options[@]}" --target "$stage" -t "$(stage_ref "$stage")" . >/dev/null
    done
}

build() { # SERVICE
    local options=(--build-arg "SERVICE=$1" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" -f services/Dockerfile -t "$(ref "$1")" -q)
    [ "$1" != operator ] || options+=(--target operator)
    case $IMAGE_TOOL in
        docker) docker build "${options[@]}" . ;;
        buildah)
            [ "$EUID" -ne 0 ] || options+=(--isolation chroot)
            options+=(--build-arg "KIT_IMAGE=$(stage_ref kit)" --build-arg "RUNTIME_IMAGE=$(stage_ref runtime)")
            run_buildah bud --layers "${options[@]}" . ;;
    esac >/dev/null
    ref "$1"
}

push() { # SERVICE
    case $IMAGE_TOOL in
        docker) docker push -q "$(ref "$1")" ;;
        buildah) run_buildah push -q "$(ref "$1")" ;;
    esac
    ref "$1"
}

save() { # SERVICE FILE, an archive as docker writes it
    case $IMAGE_TOOL in
        docker) docker save -o "$2" "$(ref "$1")" ;;
        buildah) run_buildah push -q "$(ref "$1")" "docker-archive:$2" ;;
    esac
}

sizes() {
    case $IMAGE_TOOL in
        docker) docker images --filter "reference=$registry/shop-*:$version" --format 'table {{.Repository}}\t{{.Size}}' ;;
        buildah) run_buildah images --filter "reference=$registry/shop-*" --format '{{.Name}}:{{.Tag}} {{.Size}}' ;;
    esac
}

command=${1:-}; shift || true
case $command in
    build | push)
        # Nouns are single words.
        # shellcheck disable=SC2046
        [ $# -gt 0 ] || set -- $(nouns)
        [ "$command" != build ] || build_stages
        for noun in "$@"; do "$command" "$noun"; done ;;
    save) [ $# -eq 2 ] || { echo "images: save needs a service and a file" >&2; exit 2; }; save "$@" ;;
    sizes) sizes ;;
    *) sed -n "2,3s/^# //p" services/images.sh >&2; exit 2 ;;
esac
