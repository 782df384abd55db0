# shellcheck shell=bash disable=SC2154 # what common.sh sets
# Ends a lab in any state and removes its files. Used by `down`, and by `up` if it fails.

# Prints the pids of all processes that see the lab's mounts: those of its pid namespace and those that `exec`
# started. In no other process is the runtime folder a mount. Zombies show no mounts.
members() {
  grep -lsF " $runtime_dir " /proc/[0-9]*/mountinfo | sed -E 's,^/proc/([0-9]+)/.*,\1,' || true
}

no_members() { [ -z "$(members)" ]; }

# Prints the pids of commands started by `exec`, which are outside the pid namespace and may end in order
# first. It compares pid_for_children, because the lab's own `unshare` is also outside, and only its children
# are inside.
guests_of_exec() {
  local own p
  own=$(readlink /proc/self/ns/pid_for_children)
  for p in $(members); do
    [ "$(readlink "/proc/$p/ns/pid_for_children" 2>/dev/null)" != "$own" ] || echo "$p"
  done
}

no_guests_of_exec() { [ -z "$(guests_of_exec)" ]; }

signal() {
  local name=$1 p; shift
  for p in "$@"; do kill -s "$name" "$p" 2>/dev/null || true; done
}

end_processes() {
  local first
  # shellcheck disable=SC2046 # a list of numbers
  signal TERM $(guests_of_exec)
  wait_until 3 no_guests_of_exec || true
  ! first=$(first_process) || signal KILL "$first"
  # The remaining processes ignore TERM.
  # shellcheck disable=SC2046
  wait_until 1 no_members || signal KILL $(members)
  wait_until 20 no_members || die "these processes do not end: $(members | xargs); look at them and repeat $(lab_command down)"
}

remove_files() {
  rm -rf --one-file-system "$(recorded_disk_dir)" "$disk_dir"
  # Last, so that an interrupted removal can be repeated.
  rm -rf --one-file-system "$runtime_dir"
  rmdir "$runtime_root" "$cache_dir/labs" 2>/dev/null || true
}

teardown() {
  end_processes
  remove_files
}
