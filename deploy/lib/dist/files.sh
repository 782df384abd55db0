# shellcheck shell=bash disable=SC2154 # what deploy/dist sets
# Files that are the same for archives and packages, and archives of the same bytes. Sourced by deploy/dist.

# equal_tar FOLDER OPTION…: what is in a folder as a tar, whatever the order, times and owners on this disk.
equal_tar() {
  local folder=$1; shift
  tar -C "$folder" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=gnu "$@"
}

# shared_files MACHINE FOLDER: manual pages and completions, as that binary prints them.
shared_files() {
  local machine=$1 to=$2/$1/shared shell
  mkdir -p "$to/completions"
  run_binary "$2/$machine/vsiflow" "$machine" man --output-dir "$to/man"
  for shell in bash zsh fish; do
    run_binary "$2/$machine/vsiflow" "$machine" completions "$shell" >"$to/completions/$shell"
  done
}

# archive MACHINE FOLDER OUT: the binary with what belongs to it, to be unpacked anywhere.
archive() {
  local machine=$1 source=$2/source name=vsiflow-$version-$1 tree=$2/$1/archive
  mkdir -p "$tree/$name/systemd"
  install -m 755 "$2/$machine/vsiflow" "$tree/$name/"
  ln -s vsiflow "$tree/$name/kubectl-vsi"
  cp -r "$2/$machine/shared/man" "$2/$machine/shared/completions" "$tree/$name/"
  install -m 644 "$source"/{LICENSE,CHANGELOG.md} "$2/$machine/THIRD-PARTY" "$tree/$name/"
  install -m 644 "$source"/deploy/systemd/* "$tree/$name/systemd/"
  equal_tar "$tree" -cf - "$name" | gzip -9n >"$3/$name.tar.gz"
}
