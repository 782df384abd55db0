use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
};

use super::*;

/// The script, started like sshd starts it on a host.
struct DigestScript {
    child: Child,
    lines: BufReader<ChildStdout>,
    input: Option<ChildStdin>,
}

impl DigestScript {
    fn start(path: &Path, interpreters: &str) -> Self {
        Self::of(&script::with(path.to_str().unwrap(), interpreters, "60"))
    }

    fn of(command: &str) -> Self {
        let mut shell = Command::new("/bin/sh");
        let shell = shell.arg("-c").arg(command);
        let shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.stderr(Stdio::null()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let lines = BufReader::new(output);
        Self {
            child,
            lines,
            input,
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Ends the session and waits until the script and all processes it started have ended.
    fn end(mut self) {
        self.input = None;
        self.child.wait().unwrap();
        let left = || {
            let all = std::fs::read_dir("/proc").unwrap().flatten();
            let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
            let all = all.filter(|entry| entry.file_name().to_str().is_some_and(is_process));
            let open = all.map(|process| process.path().join("fd"));
            let open = open.filter_map(|fds| std::fs::read_dir(fds).ok());
            let ours = std::fs::read_link(format!("/proc/self/fd/{}", self.pipe())).unwrap();
            let holds = |fd: PathBuf| std::fs::read_link(fd).is_ok_and(|link| link == ours);
            open.flat_map(|fds| fds.flatten())
                .filter(|fd| holds(fd.path()))
                .count()
        };
        for _ in 0..500 {
            // Only this process still reads it.
            if left() == 1 {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        panic!("{} still write to it", left() - 1);
    }

    fn pipe(&self) -> i32 {
        use std::os::fd::AsRawFd as _;
        self.lines.get_ref().as_raw_fd()
    }
}

fn file(dir: &tempfile::TempDir, length: u64) -> (PathBuf, Vec<u8>) {
    let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
    let path = dir.path().join("it's a\\ volume");
    std::fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

fn id_and_size(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let found = path.metadata().unwrap();
    format!("file {}:{} {}", found.dev(), found.ino(), found.len())
}

/// A host with Python, and one without.
const WAYS: [&str; 2] = ["python3", "no-such-interpreter"];

#[test]
fn what_is_told_is_read_once_and_in_order_while_the_file_grows() {
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut bytes) = file(&dir, 3 * BLOCK);
        let mut script = DigestScript::start(&path, way);
        script.say("2");
        assert_eq!(script.line(), "read 2");
        // Blocks that were read are hashed as they were then, the rest as it is now.
        let mut volume = std::fs::File::options().write(true).open(&path).unwrap();
        volume.write_all(b"behind").unwrap();
        let rest = vec![7; 1_000];
        let mut end = std::fs::File::options().append(true).open(&path).unwrap();
        end.write_all(&rest).unwrap();
        bytes.extend(rest);
        script.say("0");
        script.say("2");
        script.say("end");
        for line in ["read 0", "read 2", &id_and_size(&path), &id_and_size(&path)] {
            assert_eq!(script.line(), line, "{way}");
        }
        let printed = script.line();
        assert_eq!(
            digest::hash(&printed[..64]),
            Some(Hash::of(&bytes)),
            "{printed}"
        );
        script.end();
    }
}

#[test]
fn holes_count_as_zeros_wherever_they_are() {
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("volume");
        let volume = std::fs::File::create(&path).unwrap();
        let length = usize::try_from(40 * BLOCK).unwrap() + 77;
        let mut bytes = vec![0; length];
        for (at, part) in [
            (4_096 * 3 + 5, "near the start"),
            (length / 2, "in the middle"),
        ] {
            volume.write_all_at(part.as_bytes(), at as u64).unwrap();
            bytes[at..][..part.len()].copy_from_slice(part.as_bytes());
        }
        volume.set_len(length as u64).unwrap();
        let mut script = DigestScript::start(&path, way);
        for synced in ["3", "30", "50"] {
            script.say(synced);
            assert_eq!(script.line(), format!("read {synced}"));
        }
        script.say("end");
        assert_eq!(script.line(), id_and_size(&path));
        script.line();
        let printed = script.line();
        assert_eq!(
            digest::hash(&printed[..64]),
            Some(Hash::of(&bytes)),
            "{way}"
        );
        script.end();
    }
}

#[test]
fn a_file_that_took_the_place_of_the_one_that_was_read_shows() {
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes) = file(&dir, BLOCK);
        let mut script = DigestScript::start(&path, way);
        script.say("1");
        assert_eq!(script.line(), "read 1");
        std::fs::rename(&path, dir.path().join("away")).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        script.say("end");
        let (read, volume) = (script.line(), script.line());
        assert_eq!(read, id_and_size(&dir.path().join("away")));
        assert_eq!(volume, id_and_size(&path));
        assert_ne!(read, volume);
        script.end();
    }
}

#[test]
fn nothing_is_left_and_no_verdict_given_when_the_session_ends_in_the_middle() {
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = file(&dir, 64 * BLOCK);
        for synced in [None, Some("64"), Some("100000000"), Some("rubbish")] {
            let mut script = DigestScript::start(&path, way);
            synced.into_iter().for_each(|synced| script.say(synced));
            script.end();
        }
        let mut without_a_file = DigestScript::start(&dir.path().join("gone"), way);
        assert_eq!(without_a_file.line(), "");
        without_a_file.end();
    }
}

#[test]
fn it_ends_when_it_hears_nothing_any_more() {
    for (way, code) in [(WAYS[0], 1), (WAYS[1], 0)] {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = file(&dir, BLOCK);
        let mut script = DigestScript::of(&script::with(path.to_str().unwrap(), way, "0.1"));
        // The hash of empty input may be printed; the file must not be.
        assert!(!script.line().starts_with("file"));
        assert_eq!(script.child.wait().unwrap().code(), Some(code), "{way}");
        script.end();
    }
}

#[test]
fn it_is_told_no_more_than_is_synced_and_little_ahead() {
    let mut reading = DigestProgress::default();
    assert_eq!(reading.next(Synced::Prefix(BLOCK - 1)), None);
    assert_eq!(reading.next(Synced::Prefix(3 * BLOCK + 5)), Some(3));
    assert_eq!(reading.next(Synced::Prefix(3 * BLOCK + 5)), None);
    let much = Synced::Prefix(10 * STRIDE * BLOCK);
    assert_eq!(reading.next(much), Some(STRIDE));
    assert_eq!(reading.next(much), None, "it has not read the first yet");
    reading.read();
    assert_eq!(reading.next(much), Some(STRIDE));
    let (mut of_whole, whole) = (DigestProgress::default(), Synced::Whole(BLOCK + 1));
    assert_eq!(of_whole.next(whole), Some(2));
    assert_eq!(of_whole.next(whole), None);
    assert_eq!(DigestProgress::default().next(Synced::Whole(0)), None);
}
