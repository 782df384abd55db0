# shellcheck shell=bash
# Defines and boots guests without vsiflow, for the self-test. Runs inside the lab or in a shell that `exec`
# started.

pool=/var/lib/libvirt/images

# make_cidata NAME CONTRACT_TEXT
make_cidata() {
  local folder
  folder=$(mktemp -d)
  printf '%s\n' "$2" >"$folder/user-data"
  printf 'local-hostname: %s\n' "$1" >"$folder/meta-data"
  printf '#cloud-config\nusers:\n- default\n' >"$folder/vendor-data"
  xorriso -as mkisofs -quiet -V cidata -J -R -o "$pool/cidata-$1.iso" "$folder" 2>/dev/null
  rm -rf "$folder"
}

# domain_xml NAME MEMORY_MIB
domain_xml() {
  cat <<XML
<domain type='qemu'>
  <name>$1</name><memory unit='MiB'>$2</memory><vcpu>1</vcpu>
  <os><type arch='s390x' machine='s390-ccw-virtio'>hvm</type><boot dev='hd'/></os>
  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' iommu='on'/>
      <source file='$pool/boot-$1.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='raw' iommu='on'/>
      <source file='$pool/cidata-$1.iso'/><target dev='vdb' bus='virtio'/><readonly/></disk>
    <interface type='network'><source network='default'/><model type='virtio'/></interface>
    <console type='pty'><log file='$pool/console-$1.log' append='off'/><target type='sclp'/></console>
    <panic model='s390'/>
    <memballoon model='none'/>
  </devices>
</domain>
XML
}

# boot_guest IMAGE NAME MEMORY_MIB CONTRACT_TEXT: defines and starts it.
boot_guest() {
  local xml
  xml=$(mktemp)
  cp "$1" "$pool/boot-$2.qcow2"
  make_cidata "$2" "$4"
  domain_xml "$2" "$3" >"$xml"
  virsh -q -c qemu:///system "define $xml; start $2" >/dev/null
  rm -f "$xml"
}

# make_nocloud NAME ADDRESS PUBLIC_KEY
make_nocloud() {
  local folder
  folder=$(mktemp -d)
  printf 'instance-id: %s-1\nlocal-hostname: %s\npublic-keys:\n- %s\n' "$1" "$1" "$3" >"$folder/meta-data"
  printf '#cloud-config\nruncmd:\n- echo user-data was run >/var/tmp/said\n' >"$folder/user-data"
  cat >"$folder/network-config" <<YAML
version: 2
ethernets:
  first: {match: {name: "en*"}, addresses: ["$2/24"], gateway4: 192.168.122.1}
YAML
  xorriso -as mkisofs -quiet -V cidata -J -R -o "$pool/cidata-$1.iso" "$folder" 2>/dev/null
  rm -rf "$folder"
}

# boot_debian IMAGE NAME ADDRESS PUBLIC_KEY: defines and starts it, with a boot disk of 4 GiB.
boot_debian() {
  local xml
  xml=$(mktemp)
  qemu-img convert -O qcow2 "$1" "$pool/boot-$2.qcow2"
  qemu-img resize -q "$pool/boot-$2.qcow2" 4G
  make_nocloud "$2" "$3" "$4"
  cat >"$xml" <<XML
<domain type='qemu'>
  <name>$2</name><memory unit='MiB'>512</memory><vcpu>2</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
      <source file='$pool/boot-$2.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/>
      <source file='$pool/cidata-$2.iso'/><target dev='vdb' bus='virtio'/><readonly/></disk>
    <interface type='network'><source network='default'/><model type='virtio'/></interface>
    <serial type='pty'><log file='$pool/console-$2.log' append='off'/></serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='none'/>
  </devices>
</domain>
XML
  virsh -q -c qemu:///system "define $xml; start $2" >/dev/null
  rm -f "$xml"
}
