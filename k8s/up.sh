#!/usr/bin/env bash
# A local cluster with the shop in it: k8s/up.sh kind|k3d|minikube [shop|operator]
#   shop      charts/shop, on http://localhost:8080
#   operator  charts/shop-operator and the Shop of k8s/samples/bookshop.yaml
# Creates the cluster "shop" unless it exists, builds the images, loads them into the node and installs. Safe to run again.
# Runs with bash 3.2, as macOS has it (tests/architecture/test_shell_scripts.py).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly CLUSTER=shop METRICS_SERVER=v0.9.0 READY_TIMEOUT=120s
readonly WEB=127.0.0.1:8080:30080 # the gateway's NodePort in charts/shop/values-kind.yaml
usage() { sed -n '2,4s/^# //p' "k8s/up.sh" >&2; exit 2; }
fail() { echo "k8s/up.sh: $*" >&2; exit 1; }

[ $# -ge 1 ] && [ $# -le 2 ] || usage
tool=$1 what=${2:-shop}
case $tool in kind | k3d | minikube) ;; *) usage ;; esac
case $what in shop | operator) ;; *) usage ;; esac
for program in docker "$tool" kubectl helm; do
    command -v "$program" >/dev/null || fail "$program is missing; docs/kubernetes.md says where to get it"
done
docker info >/dev/null 2>&1 || fail "Docker is not running"

create_kind() {
    kind get clusters 2>/dev/null | grep -qx "$CLUSTER" || kind create cluster --config k8s/kind/cluster.yaml --wait "$READY_TIMEOUT"
    kubectl config use-context "kind-$CLUSTER" >/dev/null
}
create_k3d() {
    k3d cluster list "$CLUSTER" >/dev/null 2>&1 || k3d cluster create "$CLUSTER" --port "$WEB@server:0" --wait --timeout "$READY_TIMEOUT"
    kubectl config use-context "k3d-$CLUSTER" >/dev/null
}
create_minikube() {
    minikube --profile "$CLUSTER" status >/dev/null 2>&1 || minikube --profile "$CLUSTER" start --driver docker --ports "$WEB"
    kubectl config use-context "$CLUSTER" >/dev/null
}

load_kind() { kind load docker-image --name "$CLUSTER" "$@"; }
load_k3d() { k3d image import --cluster "$CLUSTER" "$@"; }
load_minikube() { for image in "$@"; do minikube --profile "$CLUSTER" image load "$image"; done; }

metrics_kind() {
    kubectl get --raw /apis/metrics.k8s.io/v1beta1 >/dev/null 2>&1 && return
    kubectl apply -f "https://github.com/kubernetes-sigs/metrics-server/releases/download/$METRICS_SERVER/components.yaml" >/dev/null
    # The kubelets of kind have self-signed certificates.
    kubectl -n kube-system patch deployment metrics-server --type json \
        -p '[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--kubelet-insecure-tls"}]' >/dev/null
}
metrics_k3d() { :; } # included in k3s
metrics_minikube() { minikube --profile "$CLUSTER" addons enable metrics-server >/dev/null; }

"create_$tool"
built=$(IMAGE_TOOL=docker services/images.sh build)
# Names of images contain no white space.
# shellcheck disable=SC2086
"load_$tool" $built
"metrics_$tool"
k8s/install.sh "$what"
