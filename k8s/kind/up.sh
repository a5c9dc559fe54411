#!/usr/bin/env bash
# A kind cluster with the shop's images in it and the metrics that its autoscalers read; safe to run again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
readonly CLUSTER=shop METRICS_SERVER=v0.9.0 READY_TIMEOUT=120s
registry=${IMAGE_REGISTRY:-localhost/shopkeeper}
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -1)}

for program in docker kind kubectl; do
    command -v "$program" >/dev/null || { echo "kind-up: $program is missing; docs/kubernetes.md names its page" >&2; exit 1; }
done
docker info >/dev/null 2>&1 || { echo "kind-up: docker does not run" >&2; exit 1; }

kind get clusters 2>/dev/null | grep -qx "$CLUSTER" || kind create cluster --config k8s/kind/cluster.yaml --wait "$READY_TIMEOUT"
kubectl config use-context "kind-$CLUSTER" >/dev/null
IMAGE_TOOL=docker services/images.sh build | xargs kind load docker-image --name "$CLUSTER"

if ! kubectl get --raw /apis/metrics.k8s.io/v1beta1 >/dev/null 2>&1; then
    kubectl apply -f "https://github.com/kubernetes-sigs/metrics-server/releases/download/$METRICS_SERVER/components.yaml" >/dev/null
    # kind's kubelets have certificates that nobody signed.
    kubectl -n kube-system patch deployment metrics-server --type json \
        -p '[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--kubelet-insecure-tls"}]' >/dev/null
fi
echo "kind-$CLUSTER has $registry/shop-*:$version; next: make helm-install"
