#!/usr/bin/env bash
# Installs or upgrades in the cluster of kubectl's current context: k8s/install.sh shop|operator [HELM OPTION...]
# The images are $IMAGE_REGISTRY/shop-<service>:$VERSION. Environment, with defaults:
#   shop      RELEASE (shop), NAMESPACE (shop), VALUES (charts/shop/values-kind.yaml)
#   operator  NAMESPACE (shop-operator), SHOP (k8s/samples/bookshop.yaml), which is applied in the context's namespace
# Runs with bash 3.2, as macOS has it (tests/architecture/test_shell_scripts.py).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
registry=${IMAGE_REGISTRY:-localhost/shopkeeper}
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -1)}
readonly INSTALL_TIMEOUT=10m SHOP_TIMEOUT=5m

install_shop() {
    local release=${RELEASE:-shop} namespace=${NAMESPACE:-shop} values=${VALUES:-charts/shop/values-kind.yaml}
    helm upgrade --install "$release" charts/shop --namespace "$namespace" --create-namespace --values "$values" \
        --set "global.image.registry=$registry" --set "global.image.tag=$version" --wait --timeout "$INSTALL_TIMEOUT" "$@"
}

install_operator() {
    local namespace=${NAMESPACE:-shop-operator} shop=${SHOP:-k8s/samples/bookshop.yaml}
    helm upgrade --install shop-operator charts/shop-operator --namespace "$namespace" --create-namespace \
        --set "image.registry=$registry" --set "image.tag=$version" --wait --timeout "$INSTALL_TIMEOUT" "$@"
    kubectl apply -f "$shop"
    kubectl wait -f "$shop" --for=condition=Ready "--timeout=$SHOP_TIMEOUT"
    local name; name=$(kubectl get -f "$shop" -o jsonpath='{.metadata.name}')
    printf '\nThe shop, on http://localhost:8080:\n  kubectl port-forward service/%s-gateway 8080:8000\n' "$name"
    printf "The administrator's address and password:\n  kubectl get secret %s-shop-admin -o go-template='%s'\n" "$name" \
        '{{range $k, $v := .data}}{{$k}}: {{base64decode $v}}{{"\n"}}{{end}}'
}

what=${1:-}
[ $# -eq 0 ] || shift
case $what in
    shop | operator) "install_$what" "$@" ;;
    *) sed -n '2,5s/^# //p' k8s/install.sh >&2; exit 2 ;;
esac
