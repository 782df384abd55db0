//! The script that writes on the host: with Python, or with any POSIX shell and coreutils or busybox.
//!
//! Its standard input consists of lines, each followed by its bytes:
//!
//! - `data AT N`: N bytes for offset AT of the file.
//! - `zstd AT N`: N bytes that unpack to the bytes for offset AT.
//! - `hole AT N`: a hole, without bytes.
//! - `again`: sent at least every few minutes as a keep-alive.
//! - `until N`: after second N of the host's uptime nothing is written until a later N is received. A fenced
//!   sender must send it before the first frame and after each `again`.
//! - `end`: nothing follows.
//!
//! Its standard output begins with one of three lines. `ready` is followed by the host's uptime, `zstd` if it
//! can unpack, and `python` if Python writes; `no` by a reason; `odd` by what was found in place of a plain
//! file. It prints `done` for each `data`, `zstd` and `hole` once that is written, in order. After `end` it
//! prints device, inode and length of the file it wrote to (`file`), and of the file that has its name
//! (`name`).
//!
//! Python (`write.py`) is one process for all frames. Without Python the shell starts `dd` for each frame.

use super::super::python::INTERPRETERS;
use crate::ports::host::quoted;

/// How many bytes are read and written at a time: they fit into a processor's cache.
const BLOCK: u32 = 128 * 1024;

/// After how many seconds without `again` the script ends.
const DEAF: &str = "900";

/// Writes the file `$2` in the directory `$1`. `$3` and, for Python, `$5` are the scripts that handle the
/// input. `$4` is `0` if nothing may be written without `until`.
///
/// `dd` and Python open the file through the shell's descriptor, so the name is not resolved again.
const SCRIPT: &str = r#"
export LC_ALL=C
no() { echo "no $*"; exit 0; }
python=
for p in INTERPRETERS; do
    if "$p" -I -S -c 'import os, signal, time; os.readv, time.clock_gettime(7)' </dev/null >/dev/null 2>&1
    then python=$p; break
    fi
done
tools='dd stat timeout'
[ -z "$python" ] || tools=stat
for t in $tools; do
    command -v "$t" >/dev/null 2>&1 || no "$t is missing on the host"
done
[ -n "$python" ] || dd of=/dev/null bs=1 count=0 seek=1 iflag=fullblock,count_bytes oflag=seek_bytes \
    conv=notrunc,nocreat status=none </dev/null >/dev/null 2>&1 || no "dd on the host is too old"
cd -P -- "$1" 2>/dev/null || no "the account cannot enter the pool's folder"
f="./$2"
k=$(stat -c '%f %h' -- "$f" 2>/dev/null) || no "the account cannot see the file"
case $k in 8???' 1') ;; *) echo "odd mode and links $k"; exit 0 ;; esac
[ -r "$f" ] && [ -w "$f" ] || no "the account may not write to the file"
exec 3<"$f" || exit 1
k=$(stat -L -c '%f %h %d:%i' /proc/self/fd/3 2>/dev/null) || no "the host has no /proc"
n=$(stat -c '%f %h %d:%i' -- "$f" 2>/dev/null)
[ "$k" = "$n" ] || { echo "odd it was $n, and $k was opened"; exit 0; }
read -r u _ </proc/uptime || no "the host does not tell its uptime"
command -v zstd >/dev/null 2>&1 && u="$u zstd"
echo "ready $u${python:+ python}"
if [ -n "$python" ]; then
    "$python" -I -S -c "$5" $4
    s=$?
else
    while :; do
        timeout DEAF /bin/sh -c "$3" sh "$4"
        s=$?
        [ "$s" = 0 ] || break
    done
fi
[ "$s" = 9 ] || exit 1
echo "file $(stat -L -c '%f %h %d:%i %s' /proc/self/fd/3)"
echo "name $(stat -c '%f %h %d:%i %s' -- "$f" 2>/dev/null)"
"#;

const WRITING: &str = r#"
until=$1
to() {
    at=$1
    shift
    set -- dd of=/proc/self/fd/3 bs=BLOCK seek="$at" "$@" \
        oflag=seek_bytes conv=notrunc,nocreat status=none
    if [ -n "$until" ]; then
        read -r u _ </proc/uptime || return 1
        left=$((until - ${u%%.*}))
        [ "$left" -gt 0 ] || { echo "the time to write is over" >&2; return 1; }
        set -- timeout -s KILL "$left" "$@"
    fi
    "$@"
}
w() { to "$1" count="$2" iflag=fullblock,count_bytes; }
unpack() {
    s=$({ {
        dd bs=BLOCK count="$2" iflag=fullblock,count_bytes status=none 4>&-
    } | {
        zstd -dcq 4>&-
        printf z%s $? >&4
    } | {
        to "$1" iflag=fullblock >&2 4>&-
        printf d%s $? >&4
    }; } 4>&1)
    case $s in
    z0d0 | d0z0) return 0 ;;
    *d0*) echo "zstd failed" >&2 ;;
    esac
    return 1
}
while read -r what at n; do
    case $what in
    data) w "$at" "$n" ;;
    zstd) unpack "$at" "$n" ;;
    hole) w "$((at + n - 1))" 1 </dev/zero ;;
    until) until=$at; continue ;;
    again) exit 0 ;;
    end) exit 9 ;;
    *) exit 1 ;;
    esac || exit 1
    echo done || exit 1
done
exit 1
"#;

/// The command for this file in this directory. `fenced` means that the sender sends until when it may write.
pub(super) fn command(folder: &str, name: &str, fenced: bool) -> String {
    with(folder, name, fenced, INTERPRETERS, DEAF)
}

/// Like [`command`], with these interpreters and this timeout in seconds without `again`.
pub(super) fn with(
    folder: &str,
    name: &str,
    fenced: bool,
    interpreters: &str,
    deaf: &str,
) -> String {
    let filled = |script: &str| {
        let script = script
            .replace("INTERPRETERS", interpreters)
            .replace("DEAF", deaf)
            .replace("BLOCK", &BLOCK.to_string());
        quoted(&script)
    };
    let [script, writing, python] = [SCRIPT, WRITING, include_str!("write.py")].map(filled);
    let (folder, name) = (quoted(folder), quoted(name));
    let until = if fenced { "0" } else { "''" };
    format!("exec /bin/sh -c {script} sh {folder} {name} {writing} {until} {python}")
}

/// Whether the last two lines of the script describe the same file.
pub(super) fn is_same(file: &str, name: &str) -> bool {
    let (file, name) = (file.strip_prefix("file "), name.strip_prefix("name "));
    file.is_some_and(|file| !file.is_empty() && Some(file) == name)
}
