# The cluster's processes: started, waited for, ended. Sourced by `cluster`.
PROCESSES=(volumes etcd kube-apiserver kube-controller-manager kube-scheduler containerd kubelet kube-proxy)
PORTS=(2379 2380 6443 10250)
# What the node's programs change in the kernel; `down` puts it back.
SYSCTLS=(net.ipv4.ip_forward net.ipv4.conf.all.route_localnet net.bridge.bridge-nf-call-iptables net.ipv4.vs.conntrack
    vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes
    net.netfilter.nf_conntrack_tcp_timeout_established net.netfilter.nf_conntrack_tcp_timeout_close_wait net.netfilter.nf_conntrack_max)
# Where the controller manager makes its volumes; the name is fixed in Kubernetes.
VOLUMES=/tmp/hostpath_pv
READY_TIMEOUT_S=90
STOP_TIMEOUT_S=10
POLLS_PER_S=5 # `sleep 0.2`
# What else runs on this machine must not decide a test: the node's programs and the pods, all together, go first.
NICENESS=-10
POD_SHARES=20480 # cgroup v1; the kubelet's own number is 1024 per core
POD_WEIGHT=1000  # cgroup v2; about 40 per core

certificates() { # NODE_IP
    mkdir -p "$pki"; cd "$pki"
    [ -f ca.crt ] && return
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=shopkeeper-tests -days 365 \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null # Python ≥3.13 insists
    issue apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:$API_IP,IP:$1"
    issue admin /O=system:masters/CN=admin DNS:admin
    issue controller-manager /CN=system:kube-controller-manager DNS:controller-manager
    issue scheduler /CN=system:kube-scheduler DNS:scheduler
    issue kubelet /O=system:nodes/CN=system:node:node1 "DNS:node1,IP:$1,IP:127.0.0.1"
    issue proxy /CN=system:kube-proxy DNS:proxy
    issue front-proxy /CN=front-proxy DNS:front-proxy
    openssl genrsa -out sa.key 2048 2>/dev/null
    openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
    local user
    for user in admin controller-manager scheduler kubelet proxy; do kubeconfig "$user"; done
}

issue() { # NAME SUBJECT ALTERNATIVE-NAMES
    openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -out "$1.crt" -days 365 -extfile \
        <(printf 'subjectAltName=%s\nkeyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' "$3") 2>/dev/null
}

kubeconfig() { # USER
    {
        kubectl config --kubeconfig="$1.kubeconfig" set-cluster shopkeeper-tests --server=https://127.0.0.1:6443 --certificate-authority=ca.crt --embed-certs
        kubectl config --kubeconfig="$1.kubeconfig" set-credentials "$1" --client-certificate="$1.crt" --client-key="$1.key" --embed-certs
        kubectl config --kubeconfig="$1.kubeconfig" set-context shopkeeper-tests --cluster=shopkeeper-tests --user="$1"
        kubectl config --kubeconfig="$1.kubeconfig" use-context shopkeeper-tests
    } >/dev/null
}

start() { # NAME COMMAND...: in the background; its pid and time of start are kept for `down`
    local name=$1; shift
    setsid nohup nice -n "$NICENESS" "$@" >"$state/logs/$name.log" 2>&1 </dev/null &
    echo "$! $(started "$!")" >"$state/pids/$name"
}

started() { # PID: the kernel's time of its start, which tells a process from a later one with the same number
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
}

pid_of() { # NAME: its pid when that process still runs, status 1 otherwise
    local pid time
    [ -f "$state/pids/$1" ] || return 1
    read -r pid time <"$state/pids/$1"
    [ -n "$time" ] && [ "$(started "$pid")" = "$time" ] && echo "$pid"
}

wait_for() { # SECONDS DESCRIPTION COMMAND...
    local left=$(($1 * POLLS_PER_S)) what=$2; shift 2
    for ((; left > 0; left--)); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done
    fail "timed out waiting for $what; logs in $state/logs"
}

control_plane() {
    start etcd etcd --data-dir "$state/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync --quota-backend-bytes 8589934592
    start kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --service-cluster-ip-range=$SERVICE_CIDR \
        --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" \
        --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" --service-account-issuer=https://kubernetes.default.svc \
        --authorization-mode=Node,RBAC --allow-privileged --enable-aggregator-routing --kubelet-preferred-address-types=InternalIP \
        --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key" \
        --requestheader-client-ca-file="$pki/ca.crt" --requestheader-allowed-names=front-proxy --requestheader-username-headers=X-Remote-User \
        --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- \
        --proxy-client-cert-file="$pki/front-proxy.crt" --proxy-client-key-file="$pki/front-proxy.key"
    wait_for $READY_TIMEOUT_S kube-apiserver kubectl get --raw /readyz
    # There is one of each: a lease that is renewed late on a busy machine would only end it, for good.
    start kube-controller-manager kube-controller-manager --leader-elect=false --kubeconfig "$pki/controller-manager.kubeconfig" --use-service-account-credentials \
        --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" --cluster-cidr=$CLUSTER_CIDR --allocate-node-cidrs \
        --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" --enable-hostpath-provisioner \
        --horizontal-pod-autoscaler-sync-period=5s --horizontal-pod-autoscaler-initial-readiness-delay=5s \
        --horizontal-pod-autoscaler-cpu-initialization-period=10s
    start kube-scheduler kube-scheduler --leader-elect=false --kubeconfig "$pki/scheduler.kubeconfig"
}

open_volumes() { # the provisioner's folders are root's alone, and of folders the kubelet changes no group: all may write, as kind has it
    start volumes bash -c 'while sleep 0.3; do find "$0" -mindepth 1 -maxdepth 1 ! -perm 0777 -exec chmod 0777 {} +; done' "$state/volumes"
}

container_runtime() {
    mkdir -p "$state/cni" "$state/containerd"
    cat >"$state/cni/10-bridge.conflist" <<C
{"cniVersion": "0.4.0", "name": "shopkeeper", "plugins": [
  {"type": "bridge", "bridge": "$BRIDGE", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$state/ipam", "ranges": [[{"subnet": "$POD_CIDR"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
C
    # Without CAP_SYS_RESOURCE an oom_score_adj can only be raised. The network namespaces' mounts are kept with the state: `down` finds them.
    cat >"$state/containerd.toml" <<C
version = 2
root = "$home/containerd"
state = "$state/containerd"
[grpc]
  address = "$sock"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  sandbox_image = "$PAUSE_IMAGE"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$state/cni"
C
    start containerd containerd --config "$state/containerd.toml"
    wait_for 20 containerd ctr -a "$sock" version
    pause_image
    scratch_image "$COREDNS_IMAGE" "$bin/coredns"
    scratch_image "$METRICS_SERVER_IMAGE" "$bin/metrics-server" "USER 65534:65534"
}

node() {
    modprobe br_netfilter 2>/dev/null || true
    sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 || true
    cat >"$state/kubelet.yaml" <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
clusterDNS: [$DNS_IP]
clusterDomain: cluster.local
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
featureGates: {KubeletInUserNamespace: true}
containerRuntimeEndpoint: unix://$sock
tlsCertFile: $pki/kubelet.crt
tlsPrivateKeyFile: $pki/kubelet.key
enforceNodeAllocatable: []
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
maxPods: 250
registryPullQPS: 0
serializeImagePulls: false
C
    start kubelet kubelet --config "$state/kubelet.yaml" --kubeconfig "$pki/kubelet.kubeconfig" --hostname-override node1 --root-dir "$state/kubelet"
    start kube-proxy kube-proxy --kubeconfig "$pki/proxy.kubeconfig" --cluster-cidr $CLUSTER_CIDR --hostname-override node1 --conntrack-max-per-core 0 --proxy-mode iptables
    keep_service_addresses_here
    wait_for $READY_TIMEOUT_S "the node" kubectl wait --for=condition=Ready node/node1 --timeout=1s
    prefer_pods
}

# A Service whose last endpoint goes has for a moment no rule at all, and its address would be asked for outside, where
# somebody may answer. `down` finds the rule by its comment, as it finds those of Kubernetes.
keep_service_addresses_here() {
    iptables -w -I FORWARD -d $SERVICE_CIDR -m comment --comment "KUBE-shopkeeper: no Service" -j REJECT
}

prefer_pods() { # over what else runs here, if this machine's control groups let us
    echo $POD_SHARES 2>/dev/null >/sys/fs/cgroup/cpu/kubepods/cpu.shares || true
    echo $POD_WEIGHT 2>/dev/null >/sys/fs/cgroup/kubepods/cpu.weight || true
}

up() {
    able
    export KUBECONFIG=$pki/admin.kubeconfig
    if running; then echo "$KUBECONFIG"; return; fi
    [ ! -d "$state" ] || down # what an interrupted `up`, or a restart of the machine, left behind
    build
    base_image
    stand_ins
    free
    mkdir -p "$state"/{logs,pids,volumes}
    chmod 700 "$state"
    keep_sysctls
    ln -s "$state/volumes" $VOLUMES
    open_volumes
    (certificates "$(hostname -I | awk '{print $1}')")
    control_plane
    container_runtime
    load_missing "$POSTGRES_IMAGE" "$VALKEY_IMAGE" "$NATS_IMAGE"
    node
    addons
    echo "$KUBECONFIG"
}

running() {
    local name
    for name in "${PROCESSES[@]}"; do pid_of "$name" >/dev/null || return 1; done
    kubectl get --raw /readyz >/dev/null 2>&1
}

free() { # nothing of another cluster is in the way
    local port
    for port in "${PORTS[@]}"; do
        ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "port $port is taken: does another Kubernetes run here? KUBECONFIG=... make e2e uses it"
    done
    ! ip link show "$BRIDGE" >/dev/null 2>&1 || fail "there is a bridge $BRIDGE that is not ours"
    [ ! -e $VOLUMES ] && [ ! -L $VOLUMES ] || fail "$VOLUMES is there and not ours"
}

load_missing() { local ref; for ref in "$@"; do is_loaded "$ref" || load "$ref"; done; }

addons() {
    sed "s/@COREDNS@/$COREDNS/; s/@METRICS_SERVER@/$METRICS_SERVER/; s/@DNS_IP@/$DNS_IP/" "$here/addons.yaml" | kubectl apply -f - >/dev/null
    kubectl apply -f "$here/storage.yaml" >/dev/null
    kubectl -n kube-system rollout status deploy/coredns deploy/metrics-server --timeout=${READY_TIMEOUT_S}s >/dev/null
    wait_for $READY_TIMEOUT_S "the metrics API" kubectl get --raw /apis/metrics.k8s.io/v1beta1/nodes
}

keep_sysctls() { local name; for name in "${SYSCTLS[@]}"; do sysctl -e "$name" 2>/dev/null || true; done >"$state/sysctls"; }

stop() { # NAME: SIGTERM, then SIGKILL
    local pid left
    pid=$(pid_of "$1") || return 0
    kill "$pid" 2>/dev/null || return 0
    for ((left = STOP_TIMEOUT_S * POLLS_PER_S; left > 0; left--)); do pid_of "$1" >/dev/null || return 0; sleep 0.2; done
    kill -9 "$pid" 2>/dev/null || true
}

down() {
    [ -d "$state" ] || return 0
    machine
    local name
    for name in kubelet kube-proxy; do stop "$name"; done
    end_containers
    for name in kube-scheduler kube-controller-manager kube-apiserver etcd containerd volumes; do stop "$name"; done
    end_shims
    awk -v s="$state/" 'index($2, s) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r -n1 umount -l || true
    ip link del "$BRIDGE" 2>/dev/null || true
    remove_rules iptables
    remove_rules ip6tables
    find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2>/dev/null || true
    [ ! -f "$state/sysctls" ] || sysctl -q -e -p "$state/sysctls" >/dev/null 2>&1 || true
    [ "$(readlink $VOLUMES || true)" != "$state/volumes" ] || rm -f $VOLUMES
    rm -rf "$state"
    left_behind
}

end_containers() {
    local id
    ctr -a "$sock" version >/dev/null 2>&1 || return 0
    ctr -a "$sock" -n k8s.io tasks ls -q | xargs -r -n1 ctr -a "$sock" -n k8s.io tasks rm -f >/dev/null 2>&1 || true
    ctr -a "$sock" -n k8s.io containers ls -q | xargs -r -n1 ctr -a "$sock" -n k8s.io containers rm >/dev/null 2>&1 || true
}

end_shims() { # those that outlived their container; they name our containerd's socket
    shims | xargs -r kill -9 2>/dev/null || true
}

shims() {
    local file
    for file in /proc/[0-9]*/cmdline; do
        ! grep -qzxF -- "$sock" "$file" 2>/dev/null || basename "$(dirname "$file")"
    done
}

remove_rules() { # PROGRAM: rules and chains whose names only Kubernetes and CNI use
    local rules
    rules=$("$1-save" 2>/dev/null) || return 0
    grep -qE 'KUBE-|CNI-' <<<"$rules" || return 0
    grep -vE 'KUBE-|CNI-' <<<"$rules" | "$1-restore"
}

left_behind() { # says what is still there, which would be a mistake in `down`
    local found="" rules
    rules=$(iptables-save 2>/dev/null || true)
    [ -z "$(shims)" ] || found+=" processes:$(shims | tr '\n' ',')"
    ! grep -q " $home/state/" /proc/mounts || found+=" mounts"
    ! ip link show "$BRIDGE" >/dev/null 2>&1 || found+=" $BRIDGE"
    ! grep -qE 'KUBE-|CNI-' <<<"$rules" || found+=" iptables"
    [ -z "$found" ] || fail "left behind:$found"
}
