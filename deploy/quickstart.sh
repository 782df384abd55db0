#!/usr/bin/env bash
# From a fresh Debian 12 with Rust and root to a running VSI: installs what is missing, brings a libvirt host
# up (deploy/lab), builds vsiflow and has it provision deploy/examples/hello.yaml over SSH. A second run is
# harmless. Where namespaces are not permitted, the host is simulated.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
# shellcheck source=lib/packages.sh
. deploy/lib/packages.sh

readonly VSIFLOW=target/release/vsiflow
readonly EXAMPLE=deploy/examples/hello.yaml
# How vsiflow reaches the lab's host; holds the lab's key, so it is nobody else's to read.
readonly HOST_FILE=target/lab-host.yaml

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' plain=$'\e[0m'
fi

title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
# A command that is shown, then run.
show() {
  printf '%s$ %s%s\n' "$bold" "$*" "$plain"
  "$@"
}

host_file() {
  (umask 077 && deploy/lab/host-config >"$HOST_FILE.new") && mv -f "$HOST_FILE.new" "$HOST_FILE"
}

# Sets `inside`, what stands before commands that talk to the host, and the way to that host.
prepare_host() {
  local code=0
  title 'A libvirt host to try things on'
  show deploy/lab/up || code=$?
  case $code in
    0)
      inside=(deploy/lab/exec) host=() documents=(-f "$HOST_FILE")
      mkdir -p target
      host_file
      ;;
    4)
      echo 'Namespaces are not permitted here, so the host is simulated: everything but the guest is real.'
      inside=() host=(--host sim:) documents=()
      ;;
    *) return "$code" ;;
  esac
}

next_steps() {
  title 'What to try next'
  local prefix="${inside[*]:+${inside[*]} }$VSIFLOW"
  cat <<TEXT
  $prefix describe hello
  $prefix logs hello
  $VSIFLOW get -o wide
  $VSIFLOW get -o json
TEXT
  [ ${#inside[@]} = 0 ] || echo "  ${inside[*]} virsh -c qemu:///system list --all --title"
  cat <<TEXT
  $prefix delete hello --wait
TEXT
  [ ${#inside[@]} = 0 ] || echo '  deploy/lab/down'
  echo
  echo 'Kill the next apply in the middle (Ctrl-C, or kill -9) and see it go on:'
  echo "  $prefix${host[*]:+ ${host[*]}} apply ${documents[*]:+${documents[*]} }-f $EXAMPLE --wait"
}

title 'What is missing here'
find_cargo
install_packages "${BUILD_PACKAGES[@]}"
prepare_host

title 'Building vsiflow (some minutes the first time)'
show cargo build --release --locked --quiet --package vsiflow

title 'One YAML file becomes a running VSI'
show "${inside[@]}" "$VSIFLOW" "${host[@]}" apply "${documents[@]}" -f "$EXAMPLE" --wait --timeout 10m

title 'Every step that was taken'
show "$VSIFLOW" history hello
next_steps
