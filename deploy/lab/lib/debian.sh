# shellcheck shell=bash disable=SC2154 # what common.sh sets
# Builds the image of the Debian guest in the cache, once, at its first use. Needs lib/apt.sh.

debian_build_packages=(mmdebstrap fdisk mtools e2fsprogs qemu-utils)

# Prints the path of the image. Its name contains a hash of the inputs, so checkouts do not conflict.
debian_image() {
  local hash
  hash=$(cat "$lab_dir"/debian/* | sha256sum)
  echo "$cache_dir/debian-${hash:0:16}.qcow2"
}

# Writes a source list of bookworm, whatever release this machine runs, with the machine's own mirror.
write_debian_sources() {
  local options uri
  IFS=$'\x1f' read -r options uri _ < <(main_source "$(debian_codename)" | tr '\t' '\037')
  [ -n "${uri:-}" ] || die 'found no source for Debian with component main in /etc/apt; add one'
  source_line "$options" "$uri" bookworm main '' >"$1"
}

build_debian() {
  local image log=$cache_dir/debian.log
  image=$(debian_image)
  [ ! -e "$image" ] || return 0
  say 'building the Debian guest (once a machine; a minute of processor time)'
  "$lab_dir/install" "${debian_build_packages[@]}"
  write_debian_sources "$cache_dir/debian.list"
  "$lab_dir/debian/build" "$cache_dir/debian.list" "$image" >"$log" 2>&1 9>&- || {
    tail -n 15 "$log" >&2
    die "building failed; the whole output is in $log"
  }
}

# A link instead of a copy, because the image is large. Tests that spoil an image use the other one.
publish_debian() { ln -sfn "$(debian_image)" "$(recorded_disk_dir)/www/$DEBIAN_IMAGE_NAME"; }
