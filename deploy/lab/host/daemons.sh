# shellcheck shell=bash disable=SC2154 # what common.sh sets
# The host's daemons: configures and starts each, and waits until it is ready. Sourced inside the lab.

ssh_dir=$runtime_dir/ssh
ssh_home=$runtime_dir/ssh/home
log_dir=$runtime_dir/log
uri=qemu:///system

pid_file() {
  case $1 in
    libvirtd | virtlogd) echo "/run/$1.pid" ;;
    *) echo "/run/lab/$1.pid" ;;
  esac
}

libvirt_answers() { virsh -q -c "$uri" uri >/dev/null 2>&1; }

# port_open PORT: whether a process listens on the loopback address.
port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start_virtlogd() { virtlogd -d -p "$(pid_file virtlogd)"; }

start_libvirtd() {
  libvirtd -d -p "$(pid_file libvirtd)"
  wait_until 30 libvirt_answers || die "libvirtd does not answer; see $log_dir/libvirt/libvirtd.log"
}

# libvirt needs 2 s to probe emulators. The result is cached for the next lab, and libvirt itself checks
# whether it is still valid. If another lab cuts a copy short, this only costs these seconds again.
found_capabilities=/var/cache/libvirt/qemu/capabilities
kept_capabilities=$cache_dir/qemu-capabilities

recall_capabilities() {
  mkdir -p "$(dirname "$found_capabilities")"
  [ ! -d "$kept_capabilities" ] || cp -r "$kept_capabilities" "$found_capabilities" || true
}

keep_capabilities() {
  ! diff -rq "$found_capabilities" "$kept_capabilities" >/dev/null 2>&1 || return 0
  { rm -rf "$kept_capabilities" && cp -r "$found_capabilities" "$kept_capabilities.$lab_id" &&
    mv -T "$kept_capabilities.$lab_id" "$kept_capabilities"; } || rm -rf "$kept_capabilities.$lab_id"
}

start_sshd() {
  "$(command -v sshd)" -f "$ssh_dir/sshd_config" -E "$log_dir/sshd.log"
  wait_until 10 port_open "$SSH_PORT" || die "sshd does not listen; see $log_dir/sshd.log"
}

start_lighttpd() {
  cat >"/run/lab/lighttpd.conf" <<CONF
server.modules = ("mod_accesslog")
server.document-root = "$disk_dir/www"
server.bind = "127.0.0.1"
server.port = $HTTP_PORT
server.pid-file = "$(pid_file lighttpd)"
server.errorlog = "$log_dir/lighttpd.log"
accesslog.filename = "$log_dir/http-access.log"
mimetype.assign = ("" => "application/octet-stream")
CONF
  lighttpd -f /run/lab/lighttpd.conf
  wait_until 10 port_open "$HTTP_PORT" || die "the web server does not listen; see $log_dir/lighttpd.log"
}

# Makes keys of three types on both sides, so that any client finds one it supports.
make_keys() {
  local type pids=()
  mkdir -m 700 "$ssh_dir" "$ssh_home"
  for type in ed25519 ecdsa rsa; do
    ssh-keygen -q -t "$type" -N '' -C lab-host -f "$ssh_dir/host_$type" & pids+=("$!")
    ssh-keygen -q -t "$type" -N '' -C lab-client -f "$ssh_dir/id_$type" & pids+=("$!")
  done
  for type in "${pids[@]}"; do wait "$type"; done
  cat "$ssh_dir"/id_*.pub >"$ssh_dir/authorized_keys"
  # sshd reads them as the account that logs in; that without root has root's group.
  chmod g+x "$ssh_dir"
  for type in ed25519 ecdsa rsa; do
    echo "[127.0.0.1]:$SSH_PORT $(cut -d' ' -f1,2 "$ssh_dir/host_$type.pub")"
  done >"$ssh_dir/known_hosts"
  write_sshd_config
}

write_sshd_config() {
  cat >"$ssh_dir/sshd_config" <<CONF
Port $SSH_PORT
ListenAddress 127.0.0.1
HostKey $ssh_dir/host_ed25519
HostKey $ssh_dir/host_ecdsa
HostKey $ssh_dir/host_rsa
AuthorizedKeysFile $ssh_dir/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitUserRC no
UsePAM no
StrictModes no
PidFile $(pid_file sshd)
Subsystem sftp internal-sftp
# The start-up files of the machine's own root are none of the host's: whatever they do, they may hang.
SetEnv HOME=$ssh_home
CONF
}

make_network_and_pool() {
  virsh -q -c "$uri" "net-define $lab_dir/host/default-network.xml; net-autostart default; net-start default;
    pool-define-as images dir --target /var/lib/libvirt/images; pool-autostart images; pool-start images"
}
