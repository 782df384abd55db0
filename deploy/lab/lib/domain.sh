# shellcheck shell=bash
# A guest written by hand, as the self-test boots it. Runs inside the lab, or in a shell that `exec` started.

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
