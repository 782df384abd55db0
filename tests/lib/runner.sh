# shellcheck shell=bash disable=SC2317 # functions that callers name
# Shared by tests/run and its parts: runs tests, counts them, brings labs up and takes them down. Sourced.

repository=$(dirname "$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")")
# shellcheck source=../../deploy/lib/packages.sh
. "$repository/deploy/lib/packages.sh"

work=$(mktemp -d)
: >"$work/labs"
failures=$work/failures
: >"$failures"
running='' aside=''
set -m # Each command gets a process group, so that all its processes can be ended.

say() { printf '%s\n' "$*"; }

lab() { local command=$1; shift; "$repository/deploy/lab/$command" "$@"; }

# follow CMD…: runs CMD to its end. An interrupt is handled while it runs.
follow() {
  local code=0
  "$@" </dev/null &
  running=$!
  wait "$running" || code=$?
  running=
  return "$code"
}

# Takes down only the labs that this run brought up, because another run may have its own.
labs_down() {
  local name
  while read -r name; do
    LAB=$name lab down 2>/dev/null || true
  done <"$work/labs"
}

clean_up() {
  local group
  trap - EXIT INT TERM HUP
  for group in $running $aside; do
    kill -TERM -- "-$group" 2>/dev/null || true
  done
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

# has_failed TEXT: remembers what failed, for the end of the output, which is all that some systems keep.
has_failed() { say "$*" >>"$failures"; }

# Adds the counts in a log's summaries, of cargo or of nextest, and remembers the tests that failed.
count_log() {
  local line
  while IFS= read -r line; do
    case $line in
      *' test run:'* | *' tests run:'*) count "$(number passed)" "$(($(number failed) + $(number 'timed out')))" ;;
      *' FAIL ['* | *' TIMEOUT ['* | *' SIG'*' ['* | *' LEAK-FAIL ['* | 'test '*' ... FAILED')
        # Without times and counts, which differ when nextest repeats the line at its end.
        has_failed "${line##*\) }"
        ;;
      # nextest repeats the output of failed tests indented, and that does not match here.
      'test result:'*) count "$(number passed)" "$(number failed)" "$(number ignored)" ;;
    esac
  done < <(sed 's/\x1b\[[0-9;]*m//g' "$1")
}

# number WORD: the number before that word in $line, or 0.
number() {
  local pattern="([0-9]+) $1"
  if [[ $line =~ $pattern ]]; then echo "${BASH_REMATCH[1]}"; else echo 0; fi
}

# A run that fails without a failed test (a broken build, a crash) counts as one failure.
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

# beside CMD…: runs CMD in the background with low priority. Its counts are separate until `joined` adds them.
beside() {
  local own=$work/aside
  mkdir "$own"
  apart "$own" "$@" </dev/null >"$own/output" 2>&1 &
  aside=$!
}

# apart FOLDER CMD…: runs CMD in a background process, with its files and its counts in FOLDER.
apart() {
  # Its children stay in its process group, so they end with it.
  set +m
  renice -n 19 -p "$BASHPID" >/dev/null 2>&1 || true
  work=$1 passed=0 failed=0 skipped=0 took=()
  shift
  "$@"
  printf '%s\n' "${took[@]}" >"$work/took"
  times >"$work/times"
  echo "$passed $failed $skipped" >"$work/counts"
}

# Whether the command of `beside` has ended, so that this shell's times include its own.
beside_has_ended() {
  [ -e "$work/aside/counts" ] && { [ -z "$aside" ] || ! jobs -rp | grep -qx "$aside"; }
}

# joined: waits for the command of `beside`, prints its output and adds its counts. Without counts it has
# failed.
joined() {
  local own=$work/aside counts
  [ -n "$aside" ] || return 0
  wait "$aside" || true
  aside=''
  cat "$own/output"
  if read -r -a counts 2>/dev/null <"$own/counts"; then
    count "${counts[@]}"
    mapfile -t -O "${#took[@]}" took <"$own/took"
  else
    count 0 1
  fi
}

has_nextest() { [ -z "${VSIFLOW_NO_NEXTEST:-}" ] && cargo nextest --version >/dev/null 2>&1; }

# tests OPTION…: runs tests of the workspace. If no lab is permitted, tests inside a lab count as skipped, or
# with VSIFLOW_NEED_LAB=1 as failed. A name is the test's own name without its modules.
#   --only WORD     tests whose name begins with WORD     --without WORD   not those tests; may be repeated
#   --long          only tests that are marked ignored    --inside LAB     inside that lab
#   --threads N     N tests at the same time              --package NAME   tests of that crate only
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
  local command listing ignored=() due code=0
  if has_nextest; then nextest_command; else cargo_test_command; fi
  due=$(listed "${listing[@]}")
  if [ -n "$inside" ] && [ -n "$no_lab" ]; then
    count_without_lab "$due"
    return
  fi
  [ -z "$inside" ] || command=(env "LAB=$inside" VSIFLOW_LAB=1 "$repository/deploy/lab/exec" "${command[@]}")
  run_all "$due" "${command[@]}" || code=$?
  [ ${#ignored[@]} = 0 ] || count 0 0 "$(listed "${ignored[@]}")"
  return "$code"
}

# listed CMD…: the number of tests that CMD lists, one per line.
listed() { "$@" 2>/dev/null </dev/null | grep -cE '^[^ ]+( [^ ]+|: test)$'; }

# run_all NUMBER CMD…: runs CMD. Fewer than NUMBER tests count as a failure, because a test that did not run
# has not passed.
run_all() {
  local code=0 due=$1 before=$((passed + failed + skipped)) ran; shift
  run_and_count "$@" || code=$?
  ran=$((passed + failed + skipped - before))
  if [ "$due" = 0 ] || [ "$ran" -lt "$due" ]; then
    say "$ran of $due tests were run"
    count 0 1
    code=1
  fi
  return "$code"
}

count_without_lab() {
  if [ -n "${VSIFLOW_NEED_LAB:-}" ]; then
    count 0 "$1"
    return 1
  fi
  count 0 0 "$1"
}

# beginning WORD: nextest's filter for tests whose own name, without its modules, begins with WORD.
beginning() { printf 'test(/(^|::)%s[^:]*$/)' "$1"; }

# All conditions are in one filter, because the last of several would win.
nextest_command() {
  local filter='all()' word options
  [ -z "$only" ] || filter+=" & $(beginning "$only")"
  for word in "${without[@]}"; do filter+=" & not $(beginning "$word")"; done
  options=(--locked --config-file "$repository/tests/nextest.toml" --ignore-default-filter "${packages[@]}" -E "$filter")
  command=(cargo nextest run "${options[@]}" --no-fail-fast --status-level slow --final-status-level fail)
  listing=(cargo nextest list "${options[@]}" --message-format oneline)
  [ -z "$threads" ] || command+=(--test-threads "$threads")
  if [ -n "$long" ]; then
    command+=(--run-ignored only)
    listing+=(--run-ignored only)
  else
    ignored=("${listing[@]}" --run-ignored only)
  fi
}

# Cargo's filter also matches the names of modules, so a few tests that need no lab run in one. Cargo counts
# ignored tests itself.
cargo_test_command() {
  local word
  command=(cargo test --locked --no-fail-fast --quiet "${packages[@]}" --all-targets --)
  [ -z "$only" ] || command+=("$only")
  for word in "${without[@]}"; do command+=(--skip "$word"); done
  [ -z "$long" ] || command+=(--ignored)
  listing=("${command[@]}" --list)
  [ -z "$threads" ] || command+=("--test-threads=$threads")
}

# lab_up NAME: brings a lab up. Fails with 4 if namespaces are not permitted.
lab_up() {
  echo "$1" >>"$work/labs"
  LAB=$1 follow lab up
}

lab_down() { LAB=$1 follow lab down; }

no_lab=

# on_api_server LAB floor|modern CMD…: runs CMD with an API server in that lab. If the API server does not
# start, that counts as a failure, because it needs nothing beyond a lab.
on_api_server() {
  local name=$1 kind=() code=0
  [ "$2" = floor ] || kind=("--$2")
  shift 2
  if [ -n "$no_lab" ]; then
    "$@"
    return
  fi
  LAB=$name follow lab kube up "${kind[@]}" || { count 0 1; return 1; }
  "$@" || code=$?
  LAB=$name follow lab kube down || code=$?
  return "$code"
}

# with_lab NAME CMD…: runs CMD with a lab. If no lab is permitted, CMD's tests inside a lab are skipped.
with_lab() {
  local name=$1 code=0; shift
  lab_up "$name" || code=$?
  if [ "$code" = 4 ]; then
    say "SKIPPED: the tests on a real host; no namespaces are permitted here, so no lab can be brought up"
    code=0 no_lab=1
    "$@" || code=$?
    no_lab=
    return "$code"
  elif [ "$code" != 0 ]; then
    count 0 1
    return 1
  fi
  "$@" || code=$?
  lab_down "$name" || code=$?
  return "$code"
}

# Runs the standard tests that need no real host.
off_lab() { tests --without lab_ --without kube_ --threads 8; }

# on_host LAB: runs the standard tests on a real host.
on_host() { tests --only lab_ --without kube_ --inside "$1" --threads 6; }

# on_api LAB: runs the standard tests on an API server in the lab.
on_api() { on_api_server "$1" floor tests --only kube_ --inside "$1" --threads 6; }
