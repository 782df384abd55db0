# shellcheck shell=bash
# Checks of dependencies: bans, licences, sources and known advisories. Sourced after runner.sh.

# Older releases do not support the sections of deny.toml.
readonly DENY_VERSION=0.20.2
# The repository from which cargo-deny fetches its database.
readonly ADVISORIES=https://github.com/RustSec/advisory-db
tools=${XDG_CACHE_HOME:-$HOME/.cache}/vsiflow-tools

install_deny() {
  [ ! -x "$tools/bin/cargo-deny" ] || return 0
  # Unoptimised, because it is built once and runs for seconds.
  follow cargo install cargo-deny --version "$DENY_VERSION" --locked --debug --root "$tools"
}

# Whether there is a complete database; a failed fetch may leave an incomplete folder.
has_advisories() {
  local home=${CARGO_HOME:-$HOME/.cargo}
  compgen -G "$home/advisory-db*/crates" >/dev/null || compgen -G "$home/advisory-db*/*/crates" >/dev/null
}

fetch_advisories() {
  timeout 120 env "PATH=$tools/bin:$PATH" cargo deny fetch db >/dev/null 2>&1 && has_advisories
}

# Whether the database's server answers. If it does, a failed fetch is an error.
reach_advisories() { timeout 30 git ls-remote --quiet --exit-code "$ADVISORIES" HEAD >/dev/null 2>&1; }

# Fetches the database if it is missing. Returns 1 if it cannot be had, and 2 if that is a failure: because it
# is needed or because its server answers.
advisories() {
  has_advisories && return
  [ -n "${VSIFLOW_OFFLINE:-}" ] || ! fetch_advisories || return 0
  if [ -n "${VSIFLOW_NEED_ADVISORIES:-}" ]; then
    say 'FAILED: known advisories are needed, and their database cannot be fetched'
    return 2
  elif [ -z "${VSIFLOW_OFFLINE:-}" ] && reach_advisories; then
    say 'FAILED: the server of known advisories answers, and their database cannot be fetched'
    return 2
  fi
  say 'SKIPPED: known advisories are NOT checked; their database is not at hand and its server cannot be reached'
  return 1
}

# Checks advisories if their database is available; otherwise reports that and counts one skipped test.
dependencies() {
  local what=(bans licenses sources) code=0
  install_deny || return
  advisories || code=$?
  case $code in
    0) what+=(advisories) ;;
    1) count 0 0 1 ;;
    *) return 1 ;;
  esac
  follow env "PATH=$tools/bin:$PATH" cargo deny --offline --log-level warn check "${what[@]}"
}
