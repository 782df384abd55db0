# shellcheck shell=bash disable=SC2154 # what advisories.sh sets
# Checks deploy/monitoring with promtool of Prometheus. Sourced after advisories.sh.

# Unpacks promtool from Debian's package, because installing the package would start a server.
install_promtool() {
  [ ! -x "$tools/bin/promtool" ] || return 0
  local folder code=0
  folder=$(mktemp -d) || return
  unpack_promtool "$folder" || code=$?
  rm -rf "$folder"
  return "$code"
}

unpack_promtool() {
  (
    cd "$1" || exit
    apt-get -qq download prometheus 2>/dev/null ||
      { apt-get -qq update </dev/null && apt-get -qq download prometheus; } || exit
    dpkg-deb -x prometheus_*.deb unpacked
  ) && install -D "$1/unpacked/usr/bin/promtool" "$tools/bin/promtool"
}

monitoring() {
  install_promtool &&
    follow "$tools/bin/promtool" check rules deploy/monitoring/alerts.yaml &&
    follow "$tools/bin/promtool" test rules deploy/monitoring/alerts_test.yaml
}
