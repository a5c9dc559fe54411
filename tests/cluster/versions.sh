# Every version that this cluster is made of, and nowhere else. A changed one is built again by the next `cluster build`.
# They also stand in programs/go.mod, whose `replace` lines follow Kubernetes; `cluster build` refuses when they differ.
KUBERNETES=v1.36.3
COREDNS=v1.15.0
METRICS_SERVER=v0.9.0
HELM=v4.3.1
PROMETHEUS=v0.313.2 # the module of Prometheus 3.13.2

# program, package, and the module and version that programs/go.mod names for it.
PROGRAMS="
kube-apiserver          k8s.io/kubernetes/cmd/kube-apiserver            k8s.io/kubernetes                $KUBERNETES
kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager   k8s.io/kubernetes                $KUBERNETES
kube-scheduler          k8s.io/kubernetes/cmd/kube-scheduler            k8s.io/kubernetes                $KUBERNETES
kubelet                 k8s.io/kubernetes/cmd/kubelet                   k8s.io/kubernetes                $KUBERNETES
kube-proxy              k8s.io/kubernetes/cmd/kube-proxy                k8s.io/kubernetes                $KUBERNETES
coredns                 ./coredns                                       github.com/coredns/coredns       $COREDNS
metrics-server          sigs.k8s.io/metrics-server/cmd/metrics-server   sigs.k8s.io/metrics-server       $METRICS_SERVER
prometheus-kubernetes   github.com/prometheus/prometheus/cmd/prometheus github.com/prometheus/prometheus $PROMETHEUS
"
# Prometheus with the discovery by Kubernetes, which Debian's lacks, and without those of the clouds.
BUILD_TAGS=remove_all_sd,enable_kubernetes_sd
TOOLS="
kubectl                 k8s.io/kubernetes/cmd/kubectl                   k8s.io/kubernetes                $KUBERNETES
helm                    helm.sh/helm/v4/cmd/helm                        helm.sh/helm/v4                  $HELM
"

# The public images that a chart names, and what stands in for them: Debian packages, and the PostgreSQL and NATS of uv.lock.
PYTHON_IMAGE=docker.io/library/python:3.13-slim
POSTGRES_IMAGE=docker.io/library/postgres:18
VALKEY_IMAGE=docker.io/valkey/valkey:8.1
NATS_IMAGE=docker.io/library/nats:2.15-alpine
HELM_IMAGE=docker.io/alpine/helm:${HELM#v}
# Those of charts/observability, under the names in its values.
PROMETHEUS_IMAGE=docker.io/prom/prometheus:v3.13.2
ALERTMANAGER_IMAGE=docker.io/prom/alertmanager:v0.28.1
ADAPTER_IMAGE=registry.k8s.io/prometheus-adapter/prometheus-adapter:v0.12.0
DEBIAN=trixie
PAUSE_IMAGE=docker.io/library/pause:1
COREDNS_IMAGE=docker.io/library/coredns:$COREDNS
METRICS_SERVER_IMAGE=docker.io/library/metrics-server:$METRICS_SERVER

SERVICE_CIDR=10.96.0.0/16
API_IP=10.96.0.1
DNS_IP=10.96.0.10
POD_CIDR=10.244.0.0/24
CLUSTER_CIDR=10.244.0.0/16
BRIDGE=cni0
