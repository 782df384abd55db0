# shellcheck shell=bash disable=SC2154,SC2034 # what common.sh sets, and what others use
# The paths of the lab's API server. Needs lib/common.sh.

# Programs, built once on each machine.
kube_cache=$cache_dir/kube
kube_floor=$kube_cache/floor
kube_modern=$kube_cache/modern
kube_helm=$kube_cache/helm
# Certificates and the kubeconfig, which are also needed outside of the lab.
kube_dir=$runtime_dir/kube
kubeconfig=$kube_dir/kubeconfig

# In the order in which they are started.
readonly KUBE_DAEMONS=(etcd kube-apiserver kube-front kube-controller-manager)

kube_is_up() { [ -e "$kube_dir/ready" ]; }

is_modern() { [ -e "$kube_dir/modern" ]; }
