# shellcheck shell=bash disable=SC2154 # what deploy/dist sets
# What is in a binary: a list for programs (SBOM, CycloneDX) and the licences for people. Sourced by deploy/dist.

# contents MACHINE FOLDER OUT: OUT/….cdx.json, and FOLDER/MACHINE/THIRD-PARTY for archives and packages.
contents() {
  local machine=$1 folder=$2 target
  target=$(target_of "$machine")
  cargo metadata --format-version 1 --locked --filter-platform "$target" --manifest-path "$folder/source/Cargo.toml" \
    >"$folder/$machine/metadata"
  checksums "$folder/source/Cargo.lock" >"$folder/$machine/checksums"
  jq --slurpfile checksums "$folder/$machine/checksums" --arg target "$target" --arg version "$version" \
    --arg commit "$commit" --arg created "$(date -u -d "@$SOURCE_DATE_EPOCH" +%FT%TZ)" \
    --arg binary "$(sha256sum "$folder/$machine/vsiflow" | cut -d ' ' -f 1)" --arg rustc "$(rustc_version)" \
    --argjson libc "$(libc_of "$machine")" -f "$repository/deploy/lib/dist/contents.jq" "$folder/$machine/metadata" \
    >"$3/vsiflow-$version-$machine.cdx.json"
  licences "$folder/$machine/metadata" "$3/vsiflow-$version-$machine.cdx.json" >"$folder/$machine/THIRD-PARTY"
}

rustc_version() { rustc --version --verbose | sed -n 's/^release: //p'; }

# libc_of MACHINE: name, version and licence of the C library that is linked into it. Rust brings musl.
libc_of() {
  local package=libc6-dev-$1-cross
  [ "$1" != x86_64 ] || { jq -cn --arg version "of Rust $(rustc_version)" '["musl", $version, "MIT"]'; return; }
  [ "$1" != "$(uname -m)" ] || package=libc6-dev
  jq -cn --arg version "$(dpkg-query -W -f='${Version}' "$package" 2>/dev/null || echo unknown)" \
    '["glibc", $version, "LGPL-2.1-or-later"]'
}

# checksums FILE: those of Cargo.lock, as an object of "NAME@VERSION".
checksums() {
  awk -F '"' '
    /^name = / { name = $2 }
    /^version = / { version = $2 }
    /^checksum = / { printf "{\"%s@%s\":\"%s\"}\n", name, version, $2 }' "$1" | jq -s add
}

# licences METADATA SBOM: what each crate in the binary is licensed as, then each text that one brings, once, below the names of
# those that bring it.
licences() {
  local found=$1.licences
  echo "What vsiflow $version is made of, and how that is licensed."
  echo
  jq -r '.components[] | "\(.name) \(.version): \(.licenses[0] | .expression // .license.name)"' "$2"
  licence_files "$1" "$2" >"$found"
  cut -f 2 "$found" | xargs -d '\n' sha256sum | cut -d ' ' -f 1 | paste - "$found" | sort | awk -F '\t' '
    $1 != text { print_text(); text = $1 }
    { names = names $2 "\n"; file = $3 }
    END { print_text() }
    function print_text(   line) {
      if (names == "") return
      printf "\n\n%s\n%s\n", sprintf("%80s", ""), names
      while ((getline line <file) > 0) print line
      close(file)
      names = ""
    }' | sed 's/^ \{80\}$/--------------------------------------------------------------------------------/'
}

# licence_files METADATA SBOM: lines of crate and file.
licence_files() {
  local name folder
  jq -r --slurpfile sbom "$2" '($sbom[0].components | INDEX(.name + "@" + .version)) as $in
    | .packages[] | select($in[.name + "@" + .version] and .source)
    | "\(.name) \(.version)\t\(.manifest_path | rtrimstr("/Cargo.toml"))"' "$1" | sort |
    while IFS=$'\t' read -r name folder; do
      find "$folder" -maxdepth 2 -type f \
        \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' -o -iname 'unlicense*' \) -printf "$name\t%p\n" | sort
    done
}
