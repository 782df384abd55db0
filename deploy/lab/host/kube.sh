# shellcheck shell=bash disable=SC2154 # what common.sh, kube.sh and daemons.sh set
# The daemons of an API server: configures and starts each, and waits until it is ready. Sourced inside the
# lab. Without a front, kube-apiserver listens on $API_PORT. With one, kube-front listens there and forwards
# the requests that it does not serve.

readonly ETCD_PORT=2379 API_PORT=6443 CORE_PORT=6444
# In memory: etcd syncs each write.
etcd_data=/run/lab/etcd

kube_log() { echo "$log_dir/$1.log"; }

# launch NAME CMD…: runs CMD in its own session, so that the lab's first process adopts it.
launch() {
  local name=$1; shift
  setsid "$@" >>"$(kube_log "$name")" 2>&1 </dev/null 9>&- &
}

kubectl() { "$kube_floor/kubectl" --kubeconfig "$1" "${@:2}"; }

# kube_answers KUBECONFIG
kube_answers() { kubectl "$1" get --raw /readyz >/dev/null 2>&1; }

programs() { if is_modern; then echo "$kube_modern"; else echo "$kube_floor"; fi; }

start_etcd() {
  local peer=http://127.0.0.1:$((ETCD_PORT + 1)) client=http://127.0.0.1:$ETCD_PORT
  launch etcd "$(programs)/etcd" --data-dir "$etcd_data" --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer"
  wait_until 20 port_open "$ETCD_PORT" || die "etcd does not listen; see $(kube_log etcd)"
}

core_port() { if is_modern; then echo "$CORE_PORT"; else echo "$API_PORT"; fi; }

# The endpoint address of an aggregated API, because the API server refuses a loopback address.
readonly ENDPOINT=192.0.2.2
make_endpoint() { ip address replace "$ENDPOINT/32" dev lo; }

# The advertised address is unassigned: kube-apiserver requires one if there is no default route, and does not
# use it. Addresses of Services are not routed here, so kube-apiserver connects to their endpoints directly.
start_kube-apiserver() {
  launch kube-apiserver "$kube_floor/kube-apiserver" --etcd-servers="http://127.0.0.1:$ETCD_PORT" \
    --bind-address=127.0.0.1 --advertise-address=192.0.2.1 --secure-port="$(core_port)" \
    --tls-cert-file="$kube_dir/server.crt" --tls-private-key-file="$kube_dir/server.key" --client-ca-file="$kube_dir/ca.crt" \
    --requestheader-client-ca-file="$kube_dir/proxy-ca.crt" --requestheader-allowed-names=front-proxy \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file="$kube_dir/proxy.crt" --proxy-client-key-file="$kube_dir/proxy.key" \
    --enable-aggregator-routing=true --authorization-mode=RBAC --disable-admission-plugins=ServiceAccount --endpoint-reconciler-type=none \
    --service-cluster-ip-range=10.0.0.0/24 --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$kube_dir/sa.pub" --service-account-signing-key-file="$kube_dir/sa.key"
  wait_until 60 kube_answers "$kube_dir/core.kubeconfig" || die "kube-apiserver is not ready; see $(kube_log kube-apiserver)"
}

start_kube-front() {
  is_modern || die -c "$EXIT_USAGE" "kube-front is there with 'kube up --modern' only"
  launch kube-front "$kube_modern/kube-front" --etcd-servers="http://127.0.0.1:$ETCD_PORT" \
    --bind-address=127.0.0.1 --secure-port="$API_PORT" \
    --tls-cert-file="$kube_dir/server.crt" --tls-private-key-file="$kube_dir/server.key" --client-ca-file="$kube_dir/ca.crt" \
    --kubeconfig="$kube_dir/core.kubeconfig" --authentication-kubeconfig="$kube_dir/core.kubeconfig" \
    --authorization-kubeconfig="$kube_dir/core.kubeconfig" --authentication-skip-lookup \
    --core-proxy-cert-file="$kube_dir/proxy.crt" --core-proxy-key-file="$kube_dir/proxy.key"
  wait_until 60 kube_answers "$kubeconfig" || die "kube-front is not ready; see $(kube_log kube-front)"
}

# Starts only the controllers needed: they delete namespaces, collect garbage and make service accounts.
start_kube-controller-manager() {
  launch kube-controller-manager "$kube_floor/kube-controller-manager" --kubeconfig="$kubeconfig" --leader-elect=false \
    --secure-port=0 --port=0 --controllers=namespace,garbagecollector,serviceaccount
}

# sign NAME SUBJECT CA EXTENSION
sign() {
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr" &&
    openssl x509 -req -in "$1.csr" -CA "$3.crt" -CAkey "$3.key" -CAcreateserial -days 3650 -out "$1.crt" -extfile <(echo "$4")
}

authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=lab-$1" \
    -keyout "$1.key" -out "$1.crt"
}

make_certificates() (
  cd "$kube_dir" &&
    authority ca && authority proxy-ca &&
    sign server /CN=kube-apiserver ca 'subjectAltName=IP:127.0.0.1,IP:10.0.0.1,DNS:localhost,DNS:kubernetes.default.svc' &&
    sign admin /O=system:masters/CN=admin ca extendedKeyUsage=clientAuth &&
    sign proxy /CN=front-proxy proxy-ca extendedKeyUsage=clientAuth &&
    openssl genrsa -out sa.key 2048 && openssl rsa -in sa.key -pubout -out sa.pub
)

# write_kubeconfig FILE PORT: embeds certificates and keys, so that the file may be copied.
write_kubeconfig() {
  local data=(); local file
  for file in ca.crt admin.crt admin.key; do data+=("$(base64 -w0 "$kube_dir/$file")"); done
  cat >"$1" <<YAML
apiVersion: v1
kind: Config
current-context: lab
clusters: [{name: lab, cluster: {server: "https://127.0.0.1:$2", certificate-authority-data: ${data[0]}}}]
users: [{name: admin, user: {client-certificate-data: ${data[1]}, client-key-data: ${data[2]}}}]
contexts: [{name: lab, context: {cluster: lab, user: admin}}]
YAML
}

start_kube() {
  make_certificates 2>"$(kube_log openssl)" || die "openssl failed; see $(kube_log openssl)"
  write_kubeconfig "$kube_dir/core.kubeconfig" "$(core_port)"
  write_kubeconfig "$kubeconfig" "$API_PORT"
  make_endpoint
  start_etcd
  start_kube-apiserver
  ! is_modern || start_kube-front
  start_kube-controller-manager
  touch "$kube_dir/ready"
}
