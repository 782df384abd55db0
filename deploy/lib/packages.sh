# shellcheck shell=bash disable=SC2034 # used by those who source this
# What a bare Debian lacks to build and test vsiflow. Sourced by deploy/quickstart.sh and tests/run.

# A C compiler for the cryptography, and git for cargo.
readonly BUILD_PACKAGES=(gcc libc6-dev make ca-certificates git)

is_installed() {
  [[ $(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null) == ?i* ]]
}

# install_packages PACKAGE…: installs what is missing; does nothing where nothing is.
install_packages() {
  local package missing=()
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "these packages are missing: ${missing[*]}; install them, or run this as root on Debian" >&2
    return 1
  fi
  echo "installing ${missing[*]}"
  local quiet=(-qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
  apt-get "${quiet[@]}" update </dev/null &&
    DEBIAN_FRONTEND=noninteractive apt-get "${quiet[@]}" install -y --no-install-recommends \
      "${missing[@]}" </dev/null >/dev/null
}

# Puts cargo on the path where rustup installed it for a shell that has not read its profile since.
find_cargo() {
  command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
  command -v cargo >/dev/null || {
    echo 'Rust is missing: install it with rustup, then run this again' >&2
    return 1
  }
}
