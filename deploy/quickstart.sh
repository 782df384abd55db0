#!/usr/bin/env bash
# From a fresh Debian 12 with Rust and root to a running VSI. Installs missing packages, builds vsiflow while
# a libvirt host comes up (deploy/lab), and provisions deploy/examples/hello.yaml over SSH. A second run is
# harmless. If namespaces are not permitted, the host is simulated.
#
# This build is quick to compile and slow to run. For production, build vsiflow as README.md says.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
# shellcheck source=lib/packages.sh
. deploy/lib/packages.sh

readonly VSIFLOW=target/quickstart/vsiflow
readonly EXAMPLE=deploy/examples/hello.yaml
# The documents by which vsiflow reaches the lab's host. The file holds the lab's key, so only its owner may
# read it.
readonly HOST_FILE=target/lab-host.yaml
readonly LAB_LOG=target/lab-up.log

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' plain=$'\e[0m'
fi

title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
# Prints a command and runs it.
show() {
  printf '%s$ %s%s\n' "$bold" "$*" "$plain"
  "$@"
}

host_file() {
  (umask 077 && deploy/lab/host-config >"$HOST_FILE.new") && mv -f "$HOST_FILE.new" "$HOST_FILE"
}

# Starts the lab in the background. await_host prints its output.
begin_host() {
  mkdir -p target
  deploy/lab/up >"$LAB_LOG" 2>&1 &
  lab_up=$!
  # If this script ends early, the start of the lab is ended in order. SIGINT does not reach background
  # processes.
  trap '[ -z "$lab_up" ] || kill "$lab_up" 2>/dev/null || true' EXIT
}

# Waits for the host. Sets `inside` (the prefix of commands that talk to the host), and `host` and `documents`
# (how vsiflow reaches it).
await_host() {
  local code=0
  wait "$lab_up" || code=$?
  lab_up=''
  cat "$LAB_LOG"
  case $code in
    0)
      inside=(deploy/lab/exec) host=() documents=(-f "$HOST_FILE")
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

title 'Building vsiflow (some minutes the first time), while a libvirt host comes up'
begin_host
show cargo build --profile quickstart --no-default-features --locked --quiet --package vsiflow

title 'A libvirt host to try things on'
await_host

title 'One YAML file becomes a running VSI'
show "${inside[@]}" "$VSIFLOW" "${host[@]}" apply "${documents[@]}" -f "$EXAMPLE" --wait --timeout 10m

title 'Every step that was taken'
show "$VSIFLOW" history hello
next_steps
