# shellcheck shell=bash disable=SC2317 # functions that callers name
# What tests/run and its parts share: running tests, counting them, and labs that are taken down. Sourced.

repository=$(dirname "$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")")
# shellcheck source=../../deploy/lib/packages.sh
. "$repository/deploy/lib/packages.sh"

work=$(mktemp -d)
: >"$work/labs"
running=
set -m # Each command gets a process group, so that all of it can be ended.

say() { printf '%s\n' "$*"; }

lab() { local command=$1; shift; "$repository/deploy/lab/$command" "$@"; }

# follow CMD…: runs it to its end, and lets an interrupt through meanwhile.
follow() {
  local code=0
  "$@" </dev/null &
  running=$!
  wait "$running" || code=$?
  running=
  return "$code"
}

# Only labs that were brought up here: another run of the tests may have its own.
labs_down() {
  local name
  while read -r name; do
    LAB=$name lab down 2>/dev/null || true
  done <"$work/labs"
}

clean_up() {
  trap - EXIT INT TERM HUP
  [ -z "$running" ] || kill -TERM -- "-$running" 2>/dev/null || true
  labs_down
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

passed=0 failed=0 skipped=0

count() {
  passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + ${3:-0}))
}

# Adds up what a log's runner says of itself, whichever runner that was.
count_log() {
  local line
  while IFS= read -r line; do
    case $line in
      *' test run:'* | *' tests run:'*) count "$(number passed)" "$(($(number failed) + $(number 'timed out')))" ;;
      # Indented, it is what nextest shows again of a test that failed.
      'test result:'*) count "$(number passed)" "$(number failed)" "$(number ignored)" ;;
    esac
  done < <(sed 's/\x1b\[[0-9;]*m//g' "$1")
}

# number WORD: the number before that word in $line, or 0.
number() {
  local pattern="([0-9]+) $1"
  if [[ $line =~ $pattern ]]; then echo "${BASH_REMATCH[1]}"; else echo 0; fi
}

# A run that fails without a failed test (a build that broke, a crash) counts as one failure.
run_and_count() {
  local code=0 before=$failed
  follow run_logged "$@" || code=$?
  count_log "$work/log"
  [ "$code" = 0 ] || [ "$failed" -gt "$before" ] || count 0 1
  return "$code"
}

run_logged() {
  set -o pipefail
  "$@" 2>&1 | tee "$work/log"
}

has_nextest() { [ -z "${VSIFLOW_NO_NEXTEST:-}" ] && cargo nextest --version >/dev/null 2>&1; }

# tests OPTION…: runs tests of the workspace.
#   --only WORD     those with the word in their name     --without WORD   those without; may be repeated
#   --long          those that are ignored otherwise      --inside LAB     inside that lab
#   --threads N     so many at once                       --package NAME   of that crate alone
tests() {
  local only='' without=() long='' inside='' threads='' packages=(--workspace)
  while [ $# -gt 0 ]; do
    case $1 in
      --only) only=$2; shift ;;
      --without) without+=("$2"); shift ;;
      --long) long=1 ;;
      --inside) inside=$2; shift ;;
      --threads) threads=$2; shift ;;
      --package) packages=(-p "$2"); shift ;;
      *) say "tests: what is $1?" >&2; return 2 ;;
    esac
    shift
  done
  local command
  if has_nextest; then nextest_command; else cargo_test_command; fi
  [ -z "$inside" ] || command=(env "LAB=$inside" VSIFLOW_LAB=1 "$repository/deploy/lab/exec" "${command[@]}")
  run_and_count "${command[@]}"
}

# Everything in one filter, because the last of several would win.
nextest_command() {
  local filter='all()' word
  [ -z "$only" ] || filter+=" & test($only)"
  for word in "${without[@]}"; do filter+=" & not test($word)"; done
  command=(cargo nextest run --locked --no-fail-fast --config-file "$repository/tests/nextest.toml"
    --status-level slow --final-status-level fail "${packages[@]}" -E "$filter")
  [ -z "$long" ] || command+=(--run-ignored only)
  [ -z "$threads" ] || command+=(--test-threads "$threads")
}

cargo_test_command() {
  local word
  command=(cargo test --locked --no-fail-fast --quiet "${packages[@]}" --all-targets --)
  [ -z "$only" ] || command+=("$only")
  for word in "${without[@]}"; do command+=(--skip "$word"); done
  [ -z "$long" ] || command+=(--ignored)
  [ -z "$threads" ] || command+=("--test-threads=$threads")
}

# lab_up NAME: brings a lab up. Fails with 4 where namespaces are not permitted.
lab_up() {
  echo "$1" >>"$work/labs"
  LAB=$1 follow lab up
}

lab_down() { LAB=$1 follow lab down; }

# on_api_server LAB floor|modern CMD…: an API server in that lab for as long as CMD runs. Without one that counts as
# a failure: where a lab is permitted, so is this.
on_api_server() {
  local name=$1 kind=() code=0
  [ "$2" = floor ] || kind=("--$2")
  shift 2
  LAB=$name follow lab kube up "${kind[@]}" || { count 0 1; return 1; }
  "$@" || code=$?
  LAB=$name follow lab kube down || code=$?
  return "$code"
}

# with_lab NAME CMD…: a lab for as long as CMD runs. Where none is permitted, CMD counts as skipped.
with_lab() {
  local name=$1 code=0; shift
  lab_up "$name" || code=$?
  if [ "$code" = 4 ]; then
    say "SKIPPED: the tests on a real host; no namespaces are permitted here, so no lab can be brought up"
    count 0 0 1
    return 0
  elif [ "$code" != 0 ]; then
    count 0 1
    return 1
  fi
  "$@" || code=$?
  lab_down "$name" || code=$?
  return "$code"
}
