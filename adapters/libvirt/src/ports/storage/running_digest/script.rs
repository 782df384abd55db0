//! The script that reads and hashes a file on the host.
//!
//! Python reads into its own memory, hashes there, and skips holes. Without Python, `dd` reads into a pipe to
//! `openssl` or `sha256sum`, which costs the host about twice the time.

use super::{super::python::INTERPRETERS, BLOCK};
use crate::ports::host::quoted;

/// After how many seconds without input the script ends.
const DEAF: u32 = 60;

/// Reads the file `$1`. Each input line is a number of blocks; the last one is `end`. `$2` is the same in
/// Python.
const SCRIPT: &str = r#"
export LC_ALL=C
for p in INTERPRETERS; do
    if "$p" -I -S -c 'import hashlib, select' </dev/null >/dev/null 2>&1
    then exec "$p" -I -S -c "$2" "$1"
    fi
done
exec 3<"$1" 4>&1 || exit 1
{
    while n=$(timeout DEAF sh -c 'read -r n && echo "$n"') && [ "$n" != end ]; do
        [ "$n" = 0 ] || dd bs=BLOCK count="$n" <&3 2>/dev/null || exit 1
        echo "read $n" >&4
    done
    [ "$n" = end ] || exit 1
    for p in /proc/self/fd/3 "$1"; do stat -L -c 'file %d:%i %s' -- "$p" >&4 || exit 1; done
} | if openssl dgst -sha256 -r </dev/null >/dev/null 2>&1
then openssl dgst -sha256 -r
else sha256sum
fi
"#;

/// The command for the file with this path.
pub(super) fn command(path: &str) -> String {
    with(path, INTERPRETERS, &DEAF.to_string())
}

/// Like [`command`], with these interpreters and this timeout in seconds without input.
pub(super) fn with(path: &str, interpreters: &str, deaf: &str) -> String {
    let filled = |script: &str| {
        let script = script
            .replace("INTERPRETERS", interpreters)
            .replace("DEAF", deaf)
            .replace("BLOCK", &BLOCK.to_string());
        quoted(&script)
    };
    let (script, python) = (filled(SCRIPT), filled(include_str!("read.py")));
    format!("exec /bin/sh -c {script} sh {} {python}", quoted(path))
}
