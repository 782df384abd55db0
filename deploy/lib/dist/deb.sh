# shellcheck shell=bash disable=SC2154 # what deploy/dist sets
# Debian packages. Sourced by deploy/dist.

readonly MAINTAINER='The vsiflow maintainers <maintainers@vsiflow.invalid>'

# architecture_of MACHINE: what Debian and containers call it.
architecture_of() {
  case $1 in
    x86_64) echo amd64 ;;
    *) echo "$1" ;;
  esac
}

# deb MACHINE FOLDER OUT: a package with the units, manual pages and completions. It depends on no library.
deb() {
  local machine=$1 source=$2/source shared=$2/$1/shared root=$2/$1/deb architecture
  architecture=$(architecture_of "$machine")
  deb_files "$2/$machine" "$source" "$shared" "$root"
  mkdir "$root/DEBIAN"
  deb_control "$architecture" "$root" >"$root/DEBIAN/control"
  install -m 755 "$source"/deploy/debian/{postinst,prerm,postrm} "$root/DEBIAN/"
  (cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | sort | xargs md5sum) >"$root/DEBIAN/md5sums"
  # Several threads would cut the stream by how many there are.
  dpkg-deb --root-owner-group -Zxz --threads-max=1 --build "$root" \
    "$3/vsiflow_${version/-/\~}_$architecture.deb" >/dev/null
}

deb_files() {
  local folder=$1 source=$2 shared=$3 root=$4 share=$4/usr/share
  install -D -m 755 "$folder/vsiflow" "$root/usr/bin/vsiflow"
  ln -s vsiflow "$root/usr/bin/kubectl-vsi"
  install -D -m 644 -t "$root/usr/lib/systemd/system" "$source"/deploy/systemd/*
  install -D -m 644 -t "$share/man/man1" "$shared"/man/*.1
  gzip -9n "$share"/man/man1/*
  ln -s vsiflow.1.gz "$share/man/man1/kubectl-vsi.1.gz"
  install -D -m 644 "$shared/completions/bash" "$share/bash-completion/completions/vsiflow"
  install -D -m 644 "$shared/completions/zsh" "$share/zsh/vendor-completions/_vsiflow"
  install -D -m 644 "$shared/completions/fish" "$share/fish/vendor_completions.d/vsiflow.fish"
  install -D -m 644 "$source/deploy/debian/copyright" "$share/doc/vsiflow/copyright"
  gzip -9nc "$folder/THIRD-PARTY" >"$share/doc/vsiflow/THIRD-PARTY.gz"
  gzip -9nc "$source/CHANGELOG.md" >"$share/doc/vsiflow/CHANGELOG.md.gz"
  deb_changelog | gzip -9nc >"$share/doc/vsiflow/changelog.gz"
  install -D -m 644 -t "$share/doc/vsiflow/examples" "$source"/deploy/examples/*
  chmod 644 "$share"/doc/vsiflow/*.gz
}

# What Debian's tools read; people read CHANGELOG.md.
deb_changelog() {
  cat <<TEXT
vsiflow (${version/-/\~}) unstable; urgency=medium

  * See CHANGELOG.md.gz.

 -- $MAINTAINER  $(date -u -d "@$SOURCE_DATE_EPOCH" -R)
TEXT
}

deb_control() {
  cat <<TEXT
Package: vsiflow
Version: ${version/-/\~}
Architecture: $1
Maintainer: $MAINTAINER
Installed-Size: $(find "$2/usr" -type f -printf '%s\n' | awk '{ sum += int(($1 + 1023) / 1024) } END { print sum }')
Depends: adduser
Suggests: openssh-client
Section: admin
Priority: optional
Homepage: https://github.com/vsiflow/vsiflow
Description: crash-safe provisioner of virtual servers on libvirt hosts
 Creates and runs virtual servers on libvirt/KVM hosts that are reached over
 SSH, from YAML files or from Kubernetes custom resources. Every step is
 recorded in a journal before it is taken, so that a crash loses nothing and
 repeats no step that succeeded.
TEXT
}
