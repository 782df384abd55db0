#!/usr/bin/env bash
# The careful alternative without vsiflow: makes and deletes VSIs with virsh over SSH, in parallel, checking
# every step.
#
#   COUNT=N URL=… KEYS=… FOLDER=… virsh.sh create|delete
set -euo pipefail

readonly POOL=images BASE=peer-base.qcow2 READY=HPL10001I PATH_OF_POOL=/var/lib/libvirt/images
work=${FOLDER:?}/peer
mkdir -p "$work"

# All commands share one connection; otherwise each virsh would log in again.
cat >"$work/ssh" <<SSH
#!/bin/sh
exec ssh -i $KEYS/id_ed25519 -o UserKnownHostsFile=$KEYS/known_hosts -o BatchMode=yes -o IdentitiesOnly=yes \\
  -o ControlMaster=auto -o ControlPath=$work/%C -o ControlPersist=60 -p 2222 "\$@"
SSH
chmod +x "$work/ssh"
export LIBVIRT_DEFAULT_URI="qemu+ssh://root@127.0.0.1:2222/system?command=$work/ssh"

host() { "$work/ssh" root@127.0.0.1 "$@"; }

size_of() { stat -c %s "$1"; }

# Uploads the base image once and verifies it on the host before disks are made from it.
base() {
  curl -sSf -o "$work/$BASE" "$URL"
  virsh -q vol-create-as "$POOL" "$BASE" "$(size_of "$work/$BASE")" --format raw
  virsh -q vol-upload --pool "$POOL" --sparse "$BASE" "$work/$BASE"
  virsh -q pool-refresh "$POOL"
  local here there
  here=$(sha256sum <"$work/$BASE")
  there=$(host "sync $PATH_OF_POOL/$BASE && sha256sum <$PATH_OF_POOL/$BASE")
  [ "$here" = "$there" ]
}

cidata() {
  local folder=$work/$1.cidata
  mkdir "$folder"
  printf 'env: |\n  type: env\nworkload: |\n  type: workload\n' >"$folder/user-data"
  printf 'local-hostname: %s\n' "$1" >"$folder/meta-data"
  printf '#cloud-config\nusers:\n- default\n' >"$folder/vendor-data"
  xorriso -as mkisofs -quiet -V cidata -J -R -o "$work/$1.iso" "$folder" 2>/dev/null
  rm -r "$folder"
}

domain() {
  cat <<XML
<domain type='qemu'>
  <name>$1</name><memory unit='MiB'>512</memory><vcpu>1</vcpu>
  <os><type arch='s390x' machine='s390-ccw-virtio'>hvm</type><boot dev='hd'/></os>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' iommu='on'/>
      <source file='$PATH_OF_POOL/$1.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='raw' iommu='on'/>
      <source file='$PATH_OF_POOL/$1.iso'/><target dev='vdb' bus='virtio'/><readonly/></disk>
    <interface type='network'><source network='default'/><model type='virtio'/></interface>
    <console type='pty'><log file='$PATH_OF_POOL/$1.log' append='off'/><target type='sclp'/></console>
    <memballoon model='none'/>
  </devices>
</domain>
XML
}

# Retries CMD, because libvirt refuses a copy in the pool while another one is in progress.
patiently() {
  local tries=0
  until "$@" 2>"$work/$name.err"; do
    grep -q 'asynchronous jobs\|still in use\|being allocated' "$work/$name.err" || { cat "$work/$name.err" >&2; return 1; }
    tries=$((tries + 1))
    [ "$tries" -lt 600 ]
    sleep 0.1
  done
}

create() {
  local name=$1
  cidata "$name"
  patiently virsh -q vol-clone --pool "$POOL" "$BASE" "$name.qcow2" >/dev/null
  virsh -q vol-create-as "$POOL" "$name.iso" "$(size_of "$work/$name.iso")" --format raw >/dev/null
  virsh -q vol-upload --pool "$POOL" "$name.iso" "$work/$name.iso"
  host "sync $PATH_OF_POOL/$name.qcow2 $PATH_OF_POOL/$name.iso"
  domain "$name" >"$work/$name.xml"
  virsh -q define --validate "$work/$name.xml" >/dev/null
  virsh -q start "$name" >/dev/null
  host "for i in \$(seq 1200); do grep -q $READY $PATH_OF_POOL/$name.log 2>/dev/null && exit; sleep 0.25; done; exit 1"
}

delete() {
  local name=$1 tries=0
  virsh -q shutdown "$name" >/dev/null
  until [ "$(virsh -q domstate "$name")" = 'shut off' ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 240 ]; then virsh -q destroy "$name" >/dev/null; fi
    sleep 0.25
  done
  virsh -q undefine "$name" >/dev/null
  virsh -q pool-refresh "$POOL" >/dev/null 2>&1 || true
  local volume
  for volume in "$name.qcow2" "$name.iso" "$name.log"; do
    patiently virsh -q vol-delete --pool "$POOL" "$volume" >/dev/null
  done
}

# Runs each VSI in its own process and fails if one fails.
all() {
  local verb=$1 pids=() pid i
  for ((i = 0; i < COUNT; i++)); do
    "$verb" "peer-$i" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid"; done
}

# Opens the connection for later commands. It outlives this process and must not hold its output open.
host true </dev/null >/dev/null 2>&1
case $1 in
  create)
    base >/dev/null
    all create
    ;;
  delete)
    all delete
    virsh -q vol-delete --pool "$POOL" "$BASE" >/dev/null
    host -O exit 2>/dev/null || true
    rm -rf "$work"
    ;;
esac
