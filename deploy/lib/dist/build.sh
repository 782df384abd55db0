# shellcheck shell=bash disable=SC2154 # what deploy/dist sets
# Static binaries. Sourced by deploy/dist.

# target_of MACHINE: Rust's name for it. musl resolves names without glibc's modules, which a static binary would load
# from a machine with another glibc; Rust has no standard library for s390x with musl.
target_of() {
  case $1 in
    x86_64) echo x86_64-unknown-linux-musl ;;
    s390x) echo s390x-unknown-linux-gnu ;;
    *) die "--machine takes one of: ${ALL_MACHINES[*]}" ;;
  esac
}

# compiler_of MACHINE: its C compiler here, for the cryptography and the allocator.
compiler_of() {
  case $1 in
    x86_64) echo musl-gcc ;;
    *) if [ "$(uname -m)" = "$1" ]; then echo gcc; else echo "$1-linux-gnu-gcc"; fi ;;
  esac
}

# build_packages MACHINE: what Debian has to bring for it.
build_packages() {
  case $1 in
    x86_64) echo musl-tools ;;
    *) [ "$(uname -m)" = "$1" ] || echo "gcc-$1-linux-gnu libc6-dev-$1-cross" ;;
  esac
}

# Rust's standard library comes with rustup, or with the packages of the distribution that rustc is of.
has_standard_library() { [ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ]; }

need_standard_library() {
  local target=$1
  has_standard_library "$target" && return
  ! command -v rustup >/dev/null || rustup --quiet target add "$target" || true
  has_standard_library "$target" ||
    die "Rust has no standard library for $target here: rustup target add $target (docs/how-to/release.md)"
}

# build_binary MACHINE SOURCE FOLDER: builds that source into FOLDER/MACHINE/vsiflow. Nothing in it says where source, crates and
# target were, nor in which order a macro met what it put into a hash map.
build_binary() {
  local machine=$1 source=$2 folder=$3 target compiler packages crates name
  target=$(target_of "$machine") compiler=$(compiler_of "$machine")
  read -ra packages <<<"$(build_packages "$machine")"
  find_cargo
  install_packages "${BUILD_PACKAGES[@]}" "${packages[@]}"
  need_standard_library "$target"
  crates=$(realpath "${CARGO_HOME:-$HOME/.cargo}")
  name=${target//-/_}
  local moved=("$source=/vsiflow" "$crates=/cargo" "$folder/target=/target")
  local flags=("${moved[@]/#/--remap-path-prefix=}" -Ctarget-feature=+crt-static)
  local flags_of_c=("${moved[@]/#/-ffile-prefix-map=}")
  (
    # A caller's flags would make other bytes.
    unset RUSTFLAGS CFLAGS CARGO_BUILD_TARGET
    export CARGO_TARGET_DIR=$folder/target CARGO_INCREMENTAL=0
    export CARGO_ENCODED_RUSTFLAGS
    CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${flags[*]}")
    export "CC_$name=$compiler" "CFLAGS_$name=${flags_of_c[*]}"
    # Rust brings musl's startup and archive itself and links them with any gcc.
    [ "$machine" = x86_64 ] || export "CARGO_TARGET_${name^^}_LINKER=$compiler"
    export SAME_SEED=$folder/same_seed.so RUSTC_WRAPPER=$repository/deploy/lib/dist/rustc
    gcc -O2 -shared -fPIC -o "$SAME_SEED" "$repository/deploy/lib/dist/same_seed.c"
    cd "$source" && cargo build --locked --profile "$profile" --package vsiflow --target "$target"
  )
  # The folder of `dev` is `debug`.
  install -D "$folder/target/$target/${profile/#dev/debug}/vsiflow" "$folder/$machine/vsiflow"
}

# binary MACHINE SOURCE FOLDER: what --binary gave, or built.
binary() {
  local machine=$1
  if [ -n "${given[$machine]:-}" ]; then
    install -D "${given[$machine]}" "$3/$machine/vsiflow"
  else
    build_binary "$@"
  fi
}

# run_binary FILE MACHINE ARGS…: runs a binary of that machine, by emulation where this is another one.
run_binary() {
  local file=$1 machine=$2; shift 2
  if [ "$(uname -m)" = "$machine" ] || [ -n "${given[$machine]:-}" ]; then
    "$file" "$@"
  else
    install_packages qemu-user
    "qemu-$machine" "$file" "$@"
  fi
}
