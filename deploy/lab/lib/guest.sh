# shellcheck shell=bash disable=SC2154 # what common.sh sets
# Fetches and builds the guest image in the cache if its inputs changed. Needs lib/apt.sh.

s390x_dir=$cache_dir/s390x
guest_minmem=${LAB_GUEST_MINMEM:-400}

# Prints the path of the image. Its name contains a hash of the inputs, so checkouts do not conflict.
guest_image() {
  local hash
  hash=$( { cat "$lab_dir"/guest/*; ls "$s390x_dir/root/lib/modules"; echo "$guest_minmem"; } 2>/dev/null | sha256sum)
  echo "$cache_dir/guest-${hash:0:16}.qcow2"
}

# Downloads and unpacks Debian's s390x kernel and static busybox, without installing them.
fetch_s390x() {
  local options uri kernel dir=$s390x_dir deb
  [ ! -d "$dir/root" ] || return 0
  say "fetching Debian's s390x kernel and busybox"
  rm -rf "$dir"
  mkdir -p "$dir/debs" "$dir/root.new"
  IFS=$'\x1f' read -r options uri _ < <(main_source "$(debian_codename)" | tr '\t' '\037')
  source_line "$options" "$uri" "$(debian_codename)" main arch=s390x >"$dir/sources.list"
  s390x_apt apt-get update -qq
  kernel=$(s390x_apt apt-cache depends linux-image-s390x | awk '/Depends: linux-image-[0-9]/ { print $2; exit }')
  [ -n "$kernel" ] || die "the machine's mirror offers no s390x kernel; use a mirror that carries s390x"
  (cd "$dir/debs" && s390x_apt apt-get download -qq "$kernel" busybox-static)
  for deb in "$dir"/debs/*.deb; do dpkg-deb -x "$deb" "$dir/root.new"; done
  mv "$dir/root.new" "$dir/root"
  rm -rf "$dir"/{debs,lists,cache}
}

# Runs apt for s390x. It ignores the packages installed on this machine, because it installs nothing.
s390x_apt() {
  local command=$1; shift
  lab_apt "$s390x_dir" "$command" -o APT::Architecture=s390x -o APT::Architectures=s390x \
    -o Dir::State::status=/dev/null "$@" 9>&-
}

build_guest() {
  local image
  fetch_s390x
  image=$(guest_image)
  if [ ! -e "$image" ]; then
    say 'building the guest image'
    "$lab_dir/guest/build" "$s390x_dir/root" "$image" "$guest_minmem"
  fi
}
