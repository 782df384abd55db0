//! Identifies files by their paths, and reads the first bytes of files outside pools, with commands on the
//! host.

use std::time::Duration;

use vsiflow_steps::ports::{FileAt, FileHead, FileIdentity, PortErrorKind, PortResult};

use super::LibvirtHost;
use crate::ports::host::quoted;

const TIMEOUT: Duration = Duration::from_secs(60);
/// How many first bytes of a file are read at most. They are printed in hexadecimal, three characters each.
const HEAD_MAX: u64 = 16 * 1024;

/// `S_IFMT` and `S_IFBLK`.
const KIND: u32 = 0o170_000;
const BLOCK_DEVICE: u32 = 0o060_000;

impl LibvirtHost {
    pub(super) async fn files_at(&self, paths: &[String]) -> PortResult<Option<Vec<FileAt>>> {
        if !self.has_shell().await? {
            return Ok(None);
        }
        let output = self.command(&stat_command(paths), TIMEOUT).await?;
        let files: Vec<_> = output.lines().map(read).collect();
        if files.len() == paths.len() {
            Ok(Some(files))
        } else {
            Err(self.speaking("paths").error(
                PortErrorKind::Other,
                format!("{} answers for {} paths", files.len(), paths.len()),
            ))
        }
    }

    pub(super) async fn heads_of(&self, paths: &[String], max: u64) -> PortResult<Vec<FileHead>> {
        if !self.has_shell().await? {
            return Ok(vec![FileHead::Nothing; paths.len()]);
        }
        let command = heads_command(paths, max.min(HEAD_MAX));
        let output = self.command(&command, TIMEOUT).await?;
        let heads: Vec<_> = output.lines().map(read_head).collect();
        if heads.len() == paths.len() {
            Ok(heads)
        } else {
            Err(self.speaking("paths").error(
                PortErrorKind::Other,
                format!("{} answers for {} files", heads.len(), paths.len()),
            ))
        }
    }
}

/// What `stat` says of a path that leads nowhere.
const ABSENT: &str = "*'No such file'*|*'Not a directory'*";

/// Prints a line for each path: `=` and the first bytes in hexadecimal, `-` if there is no file or it is
/// neither a regular file nor a block device, otherwise `?` and the reason. Only qcow2 files name their
/// backing file in the header, so of any other file four bytes are enough.
fn heads_command(paths: &[String], max: u64) -> String {
    let paths: Vec<_> = paths.iter().map(|path| quoted(path)).collect();
    format!(
        "export LC_ALL=C; fail() {{ echo \"? ${{1##*: }}\" | tr '\\n' ' '; echo; }}; for p in {}; do \
         if ! r=$(stat -L -c %F -- \"$p\" 2>&1); then \
         case \"$r\" in {ABSENT}) echo -;; *) fail \"$r\";; esac; continue; fi; \
         case \"$r\" in 'regular file'|'regular empty file'|'block special file') ;; \
         *) echo -; continue;; esac; \
         if ! h=$(od -An -v -tx1 -N4 -- \"$p\" 2>&1); then fail \"$h\"; continue; fi; \
         case $(echo $h) in '51 46 49 fb') \
         if ! h=$(od -An -v -tx1 -N{max} -- \"$p\" 2>&1); then fail \"$h\"; continue; fi;; esac; \
         echo = $h; done",
        paths.join(" ")
    )
}

fn read_head(line: &str) -> FileHead {
    if line == "-" {
        return FileHead::Nothing;
    }
    if let Some(why) = line.strip_prefix('?') {
        return FileHead::Unknown(why.trim().to_owned());
    }
    let bytes = line.strip_prefix('=').unwrap_or("no bytes");
    let bytes: Result<Vec<u8>, _> = bytes
        .split_ascii_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect();
    match bytes {
        Ok(bytes) => FileHead::Bytes(bytes.into()),
        Err(_) => FileHead::Unknown("the host's answer makes no sense".to_owned()),
    }
}

/// Prints a line for each path: mode, device and inode, the number of a device, and the time of birth; `-` if there is no
/// file, otherwise `?` and the reason. Each path is read only once, because another step may replace the file.
fn stat_command(paths: &[String]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| quoted(path)).collect();
    format!(
        "export LC_ALL=C; for p in {}; do \
         if r=$(stat -L -c '%f %d:%i %t:%T %.9W' -- \"$p\" 2>&1); then echo \"$r\"; \
         else c=$?; case \"$r\" in {ABSENT}) echo -;; \
         *) echo \"? ${{r##*: }} (stat ended with $c)\" | tr '\\n' ' '; echo;; esac; fi; done",
        paths.join(" ")
    )
}

fn read(line: &str) -> FileAt {
    let unknown = |why: &str| FileAt::Unknown(why.to_owned());
    if line == "-" {
        return FileAt::Nothing;
    }
    if let Some(why) = line.strip_prefix('?') {
        return unknown(why.trim());
    }
    let mut words = line.split_ascii_whitespace();
    let (mode, file, device) = (words.next(), words.next(), words.next());
    // An older `stat` prints its own words instead; 0 and `-` stand for a time that is not known.
    let born = words.next().filter(|born| {
        let seconds: Result<f64, _> = born.parse();
        seconds.is_ok_and(|seconds| seconds > 0.0)
    });
    let mode = mode.and_then(|mode| u32::from_str_radix(mode, 16).ok());
    match (mode, file, device) {
        // Many names in /dev may refer to one device.
        (Some(mode), _, Some(device)) if mode & KIND == BLOCK_DEVICE => FileAt::Is(FileIdentity {
            place: format!("device {device}"),
            born: None,
        }),
        (Some(_), Some(file), _) => FileAt::Is(FileIdentity {
            place: file.to_owned(),
            born: born.map(str::to_owned),
        }),
        _ => unknown("the host's answer makes no sense"),
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, process::Command};

    use super::*;

    fn read_all(paths: &[String]) -> Vec<FileAt> {
        let mut shell = Command::new("/bin/sh");
        let output = shell.arg("-c").arg(stat_command(paths)).output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        output.lines().map(read).collect()
    }

    #[test]
    fn every_way_to_a_file_leads_to_the_same_one() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::create_dir(dir.join("pool")).unwrap();
        std::fs::write(dir.join("pool/it's a disk"), b"").unwrap();
        std::fs::write(dir.join("other"), b"").unwrap();
        symlink(dir.join("pool"), dir.join("link")).unwrap();
        let at = |path: &str| format!("{}/{path}", dir.display());
        let found = read_all(&[
            at("pool/it's a disk"),
            at("link//it's a disk"),
            at("link/../pool/./it's a disk"),
            at("other"),
            at("gone"),
            at("other/below"),
        ]);
        assert!(matches!(&found[0], FileAt::Is(_)), "{found:?}");
        assert!(found[1] == found[0] && found[2] == found[0], "{found:?}");
        assert!(found[3] != found[0] && matches!(&found[3], FileAt::Is(_)));
        assert_eq!(found[4..], [FileAt::Nothing, FileAt::Nothing]);
    }

    fn heads(paths: &[String]) -> Vec<FileHead> {
        let mut shell = Command::new("/bin/sh");
        let output = shell.arg("-c").arg(heads_command(paths, 64)).output();
        let output = String::from_utf8(output.unwrap().stdout).unwrap();
        output.lines().map(read_head).collect()
    }

    #[test]
    fn the_start_of_a_file_is_read_and_one_that_cannot_be_read_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| format!("{}/{path}", dir.path().display());
        let layer = [b"QFI\xfb", &[7; 90][..]].concat();
        std::fs::write(at("it's a layer"), &layer).unwrap();
        std::fs::write(at("plain"), b"plain bytes").unwrap();
        std::fs::write(at("empty"), b"").unwrap();
        let paths = ["it's a layer", "plain", "empty", "gone", "", "plain/below"].map(at);
        let bytes = |bytes: &[u8]| FileHead::Bytes(bytes.to_vec().into());
        let expected = [
            bytes(&layer[..64]),
            bytes(b"plai"),
            bytes(b""),
            FileHead::Nothing,
            FileHead::Nothing,
            FileHead::Nothing,
        ];
        assert_eq!(heads(&paths), expected);
        // `/proc/self/mem` is a regular file whose first bytes nobody can read, root included.
        let unreadable = heads(&["/proc/self/mem".to_owned(), at("plain")]);
        assert!(matches!(&unreadable[0], FileHead::Unknown(why) if why.contains("error")));
        assert_eq!(unreadable[1], bytes(b"plai"));
        assert!(matches!(read_head("what?"), FileHead::Unknown(_)));
    }

    /// A file that another step deletes and creates again may be absent in one lookup and present in the
    /// next.
    #[test]
    fn a_file_that_comes_back_meanwhile_is_not_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let looked = dir.path().join("looked").display().to_string();
        let stat = format!(
            "#!/bin/sh\n[ ! -e {looked} ] || exec /usr/bin/stat \"$@\"\ntouch {looked}\n\
             echo \"stat: cannot statx 'a': No such file or directory\" >&2\nexit 1\n"
        );
        std::fs::write(dir.path().join("stat"), stat).unwrap();
        let mut shell = Command::new("/bin/sh");
        let path = format!("{}:/usr/bin:/bin", dir.path().display());
        let script = format!(
            "chmod +x {0}/stat; {1}",
            dir.path().display(),
            stat_command(&["/".to_owned()])
        );
        let output = shell.env("PATH", path).arg("-c").arg(script).output();
        let output = String::from_utf8(output.unwrap().stdout).unwrap();
        assert_eq!(
            output.lines().map(read).collect::<Vec<_>>(),
            [FileAt::Nothing]
        );
    }

    #[test]
    fn what_the_host_does_not_tell_is_unknown() {
        let unknown = |line| matches!(read(line), FileAt::Unknown(_));
        assert!(unknown("? Permission denied") && unknown("") && unknown("x y z"));
    }

    #[test]
    fn a_file_is_known_by_its_inode_and_its_birth_where_the_host_keeps_that() {
        let is = |place: &str, born: Option<&str>| {
            FileAt::Is(FileIdentity {
                place: place.to_owned(),
                born: born.map(str::to_owned),
            })
        };
        assert_eq!(read("61b0 5:6 fd:1 17.5"), is("device fd:1", None));
        assert_eq!(read("81a4 5:6 0:0 17.5"), is("5:6", Some("17.5")));
        for unknown in ["", " -", " 0", " 0.000000000", " %.9W", " ?"] {
            assert_eq!(read(&format!("81a4 5:6 0:0{unknown}")), is("5:6", None));
        }
    }
}
