# shellcheck shell=bash disable=SC2034 # used by the scripts that source this
# Shared by all commands of the lab: paths, liveness of processes, waiting and errors.
# Sourced, never run. Exports no variables, because `exec` passes its environment to the command.

PATH=$PATH:/usr/sbin:/sbin

# Exit codes other than 0 and 1.
readonly EXIT_USAGE=2 EXIT_DOWN=3 EXIT_NOT_PERMITTED=4

lab_dir=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
lab_name=${LAB:-default}
cache_dir=${VSIFLOW_LAB_CACHE:-/var/cache/vsiflow-lab}

say() { printf 'lab %s: %s\n' "$lab_name" "$*" >&2; }

# die [-c CODE] TEXT: every error says what to do next.
die() {
  local code=1
  if [ "$1" = -c ]; then code=$2; shift 2; fi
  say "$*"
  exit "$code"
}

# Only characters that are safe in a path. Short, because libvirt creates sockets below it.
[[ $lab_name =~ ^[a-z0-9][a-z0-9-]{0,30}$ ]] ||
  die -c "$EXIT_USAGE" "LAB must be 1 to 31 of a-z, 0-9 and '-'"
[[ $cache_dir == /* ]] || die -c "$EXIT_USAGE" "VSIFLOW_LAB_CACHE must be an absolute path"

# A checkout and a name identify a lab, so the labs of two checkouts never conflict.
checkout_hash=$(printf %s "$lab_dir" | sha256sum)
lab_id=${checkout_hash:0:8}-$lab_name

# Small files that are deleted with the lab. The folder has the same path inside and outside.
runtime_root=/run/vsiflow-lab
runtime_dir=$runtime_root/$lab_id
# Large files on disk: the pool and the folder of the web server.
disk_dir=$cache_dir/labs/$lab_id
# The actual disk folder, which differs if the lab was brought up with another cache folder.
recorded_disk_dir() { readlink "$runtime_dir/disk" || echo "$disk_dir"; }

# Fixed, because every lab has its own network.
readonly SSH_PORT=2222 HTTP_PORT=8080 HTTP_HOST=images.lab.test IMAGE_NAME=hpcr-guest.qcow2
readonly DEBIAN_IMAGE_NAME=debian-12.qcow2
image_base=http://$HTTP_HOST:$HTTP_PORT
image_url=$image_base/$IMAGE_NAME

require_root() {
  [ "$(id -u)" = 0 ] || die -c "$EXIT_NOT_PERMITTED" "needs root: namespaces and mounts are made here"
}

# True in a process that `exec` started (or the host's own): the runtime folder is a mount only there.
inside_a_lab() { grep -q " $runtime_root/[^ ]* " /proc/self/mountinfo; }

require_outside() {
  ! inside_a_lab || die -c "$EXIT_USAGE" "run this outside the lab, not through exec"
}

# The start time of a process in clock ticks (field 22 of stat, whose second field may hold spaces).
start_time() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # shellcheck disable=SC2086 # split into fields
  set -- ${stat##*) }
  # A zombie counts as dead, even if it has not been reaped.
  [[ $1 != [ZX] ]] && echo "${20}"
}

# process_alive PID START: the same process still runs; a reused pid has another start time.
process_alive() {
  local now
  now=$(start_time "$1") && [ "$now" = "$2" ]
}

# Prints the pid of the lab's first process, or fails if the lab is down.
first_process() {
  local pid start
  read -r pid start 2>/dev/null <"$runtime_dir/init" || return 1
  process_alive "$pid" "$start" && echo "$pid"
}

# True once `up` has finished its work.
is_up() { [ -e "$runtime_dir/ready" ] && first_process >/dev/null; }

require_up() {
  is_up || die -c "$EXIT_DOWN" "is down; start it with $(lab_command up)"
}

# lab_command NAME: prints how to call another lab command for this lab.
lab_command() {
  local prefix=
  [ "$lab_name" = default ] || prefix="LAB=$lab_name "
  echo "$prefix$lab_dir/$1"
}

# wait_until SECONDS CMD…: polls a condition; fails at the deadline.
wait_until() {
  local deadline=$((SECONDS + $1)); shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.05
  done
}

# with_lock NAME SECONDS CMD…: runs CMD under a lock. The lock file is in the cache, so that `down` can remove
# the runtime folder while holding it. Code that starts a daemon closes the lock in it (descriptor 9).
with_lock() {
  local name=$1 seconds=$2; shift 2
  mkdir -p "$cache_dir/lock"
  exec 9>"$cache_dir/lock/$name"
  flock -w "$seconds" 9 || die "another command has held the lock '$name' for $seconds s; wait for it or end it"
  "$@"
  exec 9>&-
}
