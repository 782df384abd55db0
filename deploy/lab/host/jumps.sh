# shellcheck shell=bash disable=SC2154 # what common.sh and daemons.sh set
# Jump hosts: SSH servers in separate network namespaces. The further addresses of the host can be reached
# only through them. One cable connects each two neighbouring namespaces, and none of them forwards packets:
#
#   lab 10.98.1.1 ─── 10.98.1.2 jump1 10.98.2.1 ─── 10.98.2.2 hidden
#                               jump1 10.98.3.1 ─── 10.98.3.2 jump2 10.98.4.1 ─── 10.98.4.2 hidden
#
# `hidden` is the host itself, with its files, its libvirt and its keys. A jump host accepts only its own key,
# id_NAME. jump2 also has a certificate of the authority in ca_hosts.pub. Sourced inside the lab.

readonly JUMP_HOSTS=(jump1 jump2 hidden)

make_jump_network() {
  local name
  for name in "${JUMP_HOSTS[@]}"; do
    ip netns add "$name"
    ip -n "$name" link set lo up
  done
  ip link add to-jump1 type veth peer name to-lab netns jump1
  ip addr add 10.98.1.1/30 dev to-jump1
  ip link set to-jump1 up
  jump_address jump1 to-lab 10.98.1.2
  jump_cable jump1 10.98.2.1 hidden 10.98.2.2
  jump_cable jump1 10.98.3.1 jump2 10.98.3.2
  jump_cable jump2 10.98.4.1 hidden 10.98.4.2
}

# jump_address NAMESPACE DEVICE ADDRESS
jump_address() {
  ip -n "$1" addr add "$3/30" dev "$2"
  ip -n "$1" link set "$2" up
}

# jump_cable NAMESPACE ADDRESS NAMESPACE ADDRESS
jump_cable() {
  ip -n "$1" link add "to-$3" type veth peer name "to-$1" netns "$3"
  jump_address "$1" "to-$3" "$2"
  jump_address "$3" "to-$1" "$4"
}

make_jump_keys() {
  local name
  ssh-keygen -q -t ed25519 -N '' -C lab-authority -f "$ssh_dir/ca_hosts"
  for name in jump1 jump2; do
    ssh-keygen -q -t ed25519 -N '' -C "lab-$name" -f "$ssh_dir/host_$name"
    ssh-keygen -q -t ed25519 -N '' -C "lab-client-$name" -f "$ssh_dir/id_$name"
  done
  ssh-keygen -q -s "$ssh_dir/ca_hosts" -I jump2 -h -n 10.98.3.2 "$ssh_dir/host_jump2.pub"
  {
    echo "[10.98.1.2]:$SSH_PORT $(cut -d' ' -f1,2 "$ssh_dir/host_jump1.pub")"
    echo "[10.98.3.2]:$SSH_PORT $(cut -d' ' -f1,2 "$ssh_dir/host_jump2.pub")"
  } >"$ssh_dir/known_hosts_jumps"
  sed 's/^\[127.0.0.1\]:[0-9]*/[10.98.2.2]:2222,[10.98.4.2]:2222/' "$ssh_dir/known_hosts" >"$ssh_dir/known_hosts_hidden"
}

# write_jump_config NAME ADDRESSES: prints the host's sshd configuration with the jump host's own values.
write_jump_config() {
  local address
  grep -vE '^(ListenAddress|PidFile)' "$ssh_dir/sshd_config" | if [ "$1" = hidden ]; then cat; else
    sed -E "/^HostKey .*_(ecdsa|rsa)$/d; s,^(HostKey) .*,\1 $ssh_dir/host_$1,; s,^(AuthorizedKeysFile) .*,\1 $ssh_dir/id_$1.pub,"
  fi
  echo "PidFile $(pid_file "$1")"
  for address in $2; do echo "ListenAddress $address"; done
}

make_jumps() {
  make_jump_network
  make_jump_keys
  write_jump_config jump1 10.98.1.2 >"$ssh_dir/sshd_config_jump1"
  { write_jump_config jump2 10.98.3.2; echo "HostCertificate $ssh_dir/host_jump2-cert.pub"; } >"$ssh_dir/sshd_config_jump2"
  write_jump_config hidden '10.98.2.2 10.98.4.2' >"$ssh_dir/sshd_config_hidden"
}

# start_jump NAME: starts sshd under the jump host's name, which distinguishes its processes from the host's
# SSH server. No wait is needed: it listens before it detaches, and a killed one frees its port immediately.
start_jump() {
  ln -sf "$(command -v sshd)" "/run/lab/$1"
  nsenter --net="/run/netns/$1" "/run/lab/$1" -f "$ssh_dir/sshd_config_$1" -E "$log_dir/$1.log"
}

start_jump1() { start_jump jump1; }
start_jump2() { start_jump jump2; }
start_hidden() { start_jump hidden; }
