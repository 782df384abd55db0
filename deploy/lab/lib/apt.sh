# shellcheck shell=bash disable=SC2154 # what common.sh sets
# Runs apt with a private source list, package lists and cache, so that the machine's are never changed. The
# mirror is the one that the machine is configured with.

# shellcheck disable=SC2034 # used by install
apt_dir=$cache_dir/apt

debian_codename() {
  # shellcheck disable=SC1091 # a file of the machine
  (. /etc/os-release && [ "${ID:-}" = debian ] && [ -n "${VERSION_CODENAME:-}" ] && echo "$VERSION_CODENAME")
}

# Prints both source formats as lines "options<TAB>uri<TAB>suite<TAB>components"; options may be empty.
machine_sources() {
  local f
  for f in /etc/apt/sources.list.d/*.sources; do
    [ ! -e "$f" ] || deb822_sources "$f"
  done
  for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -e "$f" ] || one_line_sources "$f"
  done
}

deb822_sources() { awk -f "$lab_dir/lib/deb822.awk" "$1"; }

one_line_sources() {
  local blank='[[:space:]]+' options='\[[[:space:]]*([^]]*)\]' word='([^[:space:]]+)' rest='[[:space:]]*(.*)$'
  sed -nE -e 's/[[:space:]]*#.*//' \
    -e "s/^deb${blank}${options}${blank}${word}${blank}${word}${rest}/\\1\\t\\2\\t\\3\\t\\4/p;t" \
    -e "s/^deb${blank}${word}${blank}${word}${rest}/\\t\\1\\t\\2\\t\\3/p" "$1"
}

# source_line OPTIONS URI SUITE COMPONENTS EXTRA_OPTION: prints one line of a source list. Options that select
# an architecture are dropped, because the caller decides on that.
source_line() {
  local options
  options=$(tr ' ' '\n' <<<"$1" | grep -vE '^(arch|lang|target)[-+]?=|^$' | tr '\n' ' ' || true)
  options=$(xargs <<<"$options $5")
  echo "deb ${options:+[$options] }$2 $3 $4"
}

# Prints the machine's entry for component main of its release. Backports and s390x use the same mirror.
main_source() {
  local codename=$1
  machine_sources | awk -F'\t' -v c="$codename" '$3 == c && $4 ~ /(^| )main( |$)/ { print; exit }'
}

# write_sources FILE: writes the machine's Debian suites, and backports if the release needs a newer QEMU.
write_sources() {
  local codename options uri suite components
  codename=$(debian_codename) || die "needs Debian; /etc/os-release names another system"
  [ -n "$(main_source "$codename")" ] ||
    die "found no source for Debian $codename with component main in /etc/apt; add one"
  while IFS=$'\x1f' read -r options uri suite components; do
    [[ $suite == "$codename" || $suite == "$codename"[-/]* ]] || continue
    [ "$suite" != "$codename-backports" ] || continue
    source_line "$options" "$uri" "$suite" "$components" ''
  done < <(machine_sources | tr '\t' '\037') >"$1"
  if needs_backports; then
    IFS=$'\x1f' read -r options uri suite components < <(main_source "$codename" | tr '\t' '\037')
    source_line "$options" "$uri" "$codename-backports" main '' >>"$1"
  fi
}

# bookworm's own QEMU is three years older than the one that the lab was measured with.
needs_backports() { [ "$(debian_codename)" = bookworm ]; }

# lab_apt DIR COMMAND…: runs apt-get or apt-cache on the private tree in DIR, as root because apt's sandbox
# user cannot write there.
lab_apt() {
  local dir=$1 command=$2; shift 2
  mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
  "$command" -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$dir/lists" -o Dir::Cache="$dir/cache" -o APT::Sandbox::User=root \
    -o APT::Update::Error-Mode=any -o Acquire::Retries=3 "$@"
}
