# shellcheck shell=bash
# PostgreSQL's programs for the tests of the journal in a database; each test starts a server of its own. Sourced after
# runner.sh.

# Debian's package would make a server and start it, were it not told otherwise.
install_postgres() {
  local settings=/etc/postgresql-common/createcluster.d
  if command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
    return
  fi
  if [ "$(id -u)" = 0 ]; then
    mkdir -p "$settings" && echo 'create_main_cluster = false' >"$settings/vsiflow-tests.conf" || return
  fi
  install_packages postgresql
}
