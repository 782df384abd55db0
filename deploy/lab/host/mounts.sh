# shellcheck shell=bash disable=SC2154 # what common.sh sets
# The host's file system: the machine's own, with separate folders wherever libvirt, sshd or the resolver
# store files. Sourced by host/init.

# All private files are in one small file system in memory; the pool and the web folder are on disk.
make_mounts() {
  make_run
  mount -t proc -o nosuid,nodev,noexec proc /proc
  # sysfs shows the network cards of the namespace in which it was mounted.
  mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
  make_libvirt_folders
  make_pool
  make_etc
  hide_kvm
  # Mounts made by one command in the lab are now visible to the others. /proc stays private, because `exec`
  # mounts another one over it.
  mount --make-rshared /
  mount --make-private /proc
}

# Makes a private /run, in which the runtime folder is still at the same path. It is built aside, then moved.
make_run() {
  local stage=$runtime_dir/stage
  mkdir -p "$stage"
  mount -n -t tmpfs -o mode=755 lab-run "$stage"
  mkdir -p "$stage/lock" "$stage/sshd" "$stage/lab" "$stage${runtime_dir#/run}"
  mount -n --bind "$runtime_dir" "$stage${runtime_dir#/run}"
  # -n, because there is no /run yet in which mount could store its table.
  mount -n --move "$stage" /run
  rmdir "$stage"
}

make_libvirt_folders() {
  mkdir -p "$runtime_dir/log/libvirt/qemu" /run/lab/{etc-libvirt,var-lib-libvirt,var-cache-libvirt}
  mkdir -p /run/lab/var-lib-libvirt/{images,dnsmasq,qemu,network,boot}
  cp "$lab_dir"/host/{qemu,libvirtd}.conf /run/lab/etc-libvirt/
  mount --bind /run/lab/etc-libvirt /etc/libvirt
  mount --bind /run/lab/var-lib-libvirt /var/lib/libvirt
  mount --bind /run/lab/var-cache-libvirt /var/cache/libvirt
  mount --bind "$runtime_dir/log/libvirt" /var/log/libvirt
}

# LAB_POOL_SIZE makes a small pool for tests that fill it.
make_pool() {
  if [ -n "${LAB_POOL_SIZE:-}" ]; then
    mount -t tmpfs -o "size=$LAB_POOL_SIZE,mode=755" lab-pool /var/lib/libvirt/images
  else
    mount --bind "$disk_dir/images" /var/lib/libvirt/images
  fi
}

# Hides /dev/kvm: guests may not boot on nested KVM, but emulated guests boot everywhere. KVM is requested if
# the device exists, so a /dev without it replaces the machine's.
hide_kvm() {
  local stage=/run/lab/dev entry
  [ -e /dev/kvm ] || return 0
  mkdir -p "$stage"
  mount -n -t tmpfs -o mode=755 lab-dev "$stage"
  for entry in /dev/*; do
    if [ "$entry" = /dev/kvm ]; then
      continue
    elif [ -d "$entry" ] && mountpoint -q "$entry"; then
      mkdir -p "$stage/${entry#/dev/}"
      mount -n --rbind "$entry" "$stage/${entry#/dev/}"
    else
      cp -a "$entry" "$stage/"
    fi
  done
  mount -n --move "$stage" /dev
  rmdir "$stage"
}

make_etc() {
  mkdir -p /run/lab/etc
  { cat /etc/hosts; echo "127.0.0.1 $HTTP_HOST"; } >/run/lab/etc/hosts
  # sshd refuses a user whose password is locked, even with a key.
  { sed 's/^root:[^:]*:/root:*:/' /etc/shadow && echo 'lab:*:20000:0:99999:7:::'; } >/run/lab/etc/shadow
  chmod 600 /run/lab/etc/shadow
  # An account without root, whose group may use libvirt's socket.
  { cat /etc/passwd; echo 'lab:x:64999:0::/:/bin/sh'; } >/run/lab/etc/passwd
  local file
  for file in hosts passwd shadow; do
    mount --bind "/run/lab/etc/$file" "/etc/$file"
  done
}
