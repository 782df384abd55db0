# shellcheck shell=bash disable=SC2154 # what runner.sh sets
# Tests of the page in Debian's Chromium, driven from Node. Sourced after runner.sh.

# Debian's npm depends on hundreds of packages, so it is installed only if no npm is there.
page_tools() {
  local packages=() family
  command -v chromium >/dev/null || packages+=(chromium chromium-sandbox)
  command -v node >/dev/null || packages+=(nodejs)
  command -v npm >/dev/null || packages+=(npm)
  # At least one font is needed, because the tests check whether text can be read.
  family=$(fc-match --format '%{family}' sans-serif 2>/dev/null || true)
  [ -n "$family" ] || packages+=(fonts-dejavu-core fontconfig)
  [ ${#packages[@]} = 0 ] || follow install_packages "${packages[@]}"
}

# Installs the driver and axe with the versions and hashes of the lock file, without running their install
# scripts.
page_modules() {
  (cd tests/page && npm ci --ignore-scripts --no-fund --no-audit --silent)
}

# Whether Chromium starts. Some containers permit neither its sandbox nor a separate user.
browser_starts() {
  local home code=0
  home=$(mktemp -d) || return
  timeout 60 tests/page/chromium --headless --user-data-dir="$home" --dump-dom about:blank >/dev/null 2>"$work/log" || code=$?
  rm -rf "$home"
  return "$code"
}

# no_browser WHY: counts the page's tests as skipped, or with VSIFLOW_NEED_BROWSER=1 as failed.
no_browser() {
  local tests
  tests=$(grep -c '^test(' tests/page/page.test.mjs)
  say "$1: the tests of the page cannot run here"
  if [ -n "${VSIFLOW_NEED_BROWSER:-}" ]; then
    count 0 "$tests"
    return 1
  fi
  count 0 0 "$tests"
}

# Runs the tests and counts them by Node's summary.
page() {
  local code=0 before=$failed
  if ! page_tools || ! follow page_modules; then
    no_browser 'Chromium, Node or the driver cannot be installed'
    return
  fi
  if ! browser_starts; then
    tail -n 5 "$work/log" >&2
    no_browser 'Chromium does not start'
    return
  fi
  follow run_logged node --test --test-reporter=spec tests/page/page.test.mjs || code=$?
  count "$(page_number pass)" "$(($(page_number fail) + $(page_number cancelled)))" "$(page_number skipped)"
  [ "$code" = 0 ] || [ "$failed" -gt "$before" ] || count 0 1
  return "$code"
}

# page_number WORD: the number for WORD in the log's summary, or 0.
page_number() {
  sed -n "s/^ℹ $1 \([0-9]*\)\$/\1/p" "$work/log" | tail -n 1 | grep . || echo 0
}
