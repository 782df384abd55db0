# shellcheck shell=bash
# Builds the benchmarks in the `benches` folders of the crates. Sourced from the top of the repository.

# build_benches PROFILE: builds the program and all benchmarks, and links each benchmark as
# target/FOLDER/benches/NAME. Cargo puts them into target/FOLDER/deps, under names with a hash.
# Builds the whole workspace: a narrower choice would compile the dependencies again.
build_benches() {
  local profile=$1 folder name file
  folder=$profile
  [ "$profile" != dev ] || folder=debug
  mkdir -p "target/$folder/benches"
  cargo build --profile "$profile" --quiet --locked --workspace --bins --bench '*' --message-format=json-render-diagnostics |
    sed -nE 's/.*"kind":\["bench"\],"crate_types":\["bin"\],"name":"([^"]+)".*"executable":"([^"]+)".*/\1 \2/p' |
    while read -r name file; do
      ln -sf "$file" "target/$folder/benches/$name"
    done
}
