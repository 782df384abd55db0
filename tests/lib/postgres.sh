# shellcheck shell=bash
# Installs PostgreSQL for the tests of the journal in a database. Each test starts its own server. Sourced
# after runner.sh.

# `create_main_cluster = false` prevents Debian's package from creating and starting a server.
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

# start_postgres DIR: starts a server in that folder. The user bench reaches it over TCP at 127.0.0.1.
# $postgres is its process, $postgres_bin the folder of its programs and $postgres_port its port.
start_postgres() {
  local room=$1 owner as=()
  postgres_bin=$(dirname "$(find /usr/lib/postgresql /usr/pgsql* -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1)" 2>/dev/null)
  [ -x "$postgres_bin/initdb" ] || { echo 'PostgreSQL is not installed: apt-get install postgresql' >&2; return 4; }
  # PostgreSQL refuses to run as root.
  if [ "$(id -u)" = 0 ]; then
    owner=postgres
    id -u "$owner" >/dev/null 2>&1 || owner=nobody
    as=(setpriv --clear-groups --reuid "$owner" --regid "$(id -g "$owner")")
    chown "$owner" "$room"
  fi
  chmod 755 "$room"
  LC_ALL=C "${as[@]}" "$postgres_bin/initdb" -A trust -U bench -E UTF8 --no-locale -D "$room/data" >"$room/initdb.log" 2>&1 ||
    { cat "$room/initdb.log" >&2; return 1; }
  postgres_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null || echo 54329)
  LC_ALL=C "${as[@]}" "$postgres_bin/postgres" -D "$room/data" -p "$postgres_port" -c listen_addresses=127.0.0.1 \
    -c "unix_socket_directories=$room" -c max_connections=200 >"$room/log" 2>&1 &
  postgres=$!
  for _ in $(seq 600); do
    if "$postgres_bin/pg_isready" -q -h 127.0.0.1 -p "$postgres_port" -U bench -d postgres; then return; fi
    sleep 0.1
  done
  cat "$room/log" >&2
  return 1
}

# Ends the server, if it was started.
stop_postgres() {
  [ -z "${postgres:-}" ] || { kill -INT "$postgres" 2>/dev/null || true; wait "$postgres" 2>/dev/null || true; }
  postgres=''
}
