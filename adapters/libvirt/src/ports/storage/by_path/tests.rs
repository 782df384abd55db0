//! Tests of the script, run on files of this machine.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use super::*;

/// A host with Python, and one without.
const BOTH: [&str; 2] = ["python3", "no-such-interpreter"];
const NO_PYTHON: &str = BOTH[1];

/// A directory with blanks and quotes in its name, and a volume with an odd name in it.
struct TestPool {
    dir: tempfile::TempDir,
    name: &'static str,
}

impl TestPool {
    fn new() -> Self {
        Self::with("-it's a \"$(touch x)\"\n\\volume ")
    }

    fn with(name: &'static str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("it's a pool; ")
            .tempdir()
            .unwrap();
        fs::write(dir.path().join(name), b"").unwrap();
        Self { dir, name }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn volume(&self) -> PathBuf {
        self.at(self.name)
    }

    fn command(&self, interpreters: &str) -> String {
        self.command_of(false, interpreters, "900")
    }

    fn command_of(&self, fenced: bool, interpreters: &str, deaf: &str) -> String {
        let folder = self.dir.path().to_str().unwrap();
        script::with(folder, self.name, fenced, interpreters, deaf)
    }

    fn start(&self, interpreters: &str) -> PathScript {
        PathScript::of(&self.command(interpreters))
    }
}

/// The script, started like sshd starts it on a host.
struct PathScript {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl PathScript {
    fn of(command: &str) -> Self {
        Self::with_tools(command, "/usr/bin:/bin")
    }

    fn with_tools(command: &str, path: &str) -> Self {
        let mut shell = Command::new("/bin/sh");
        let shell = shell.arg("-c").arg(command).env("PATH", path);
        let shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end_matches('\n').to_owned()
    }

    #[track_caller]
    fn ready(mut self) -> Self {
        let line = self.line();
        assert!(matches!(opened(&line), Opened::Ready { .. }), "{line}");
        self
    }

    /// The next line that is not `done`.
    fn last(&mut self) -> String {
        loop {
            let line = self.line();
            if line != "done" {
                return line;
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn data(&mut self, at: usize, bytes: &[u8]) {
        self.put(&data(at, bytes));
    }

    /// Sends `end` and returns the last two lines.
    fn end(mut self) -> (String, String) {
        self.put(b"end\n");
        let last = (self.last(), self.last());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        last
    }

    /// Ends the session without `end`, waits until all processes have ended, and returns the remaining
    /// output.
    fn cut(mut self) -> String {
        drop(self.child.stdin.take());
        assert_ne!(self.child.wait().unwrap().code(), Some(0));
        let (mut line, mut errors) = (String::new(), String::new());
        // The end of these pipes means that no process has them open.
        self.lines.read_to_string(&mut line).unwrap();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        line + &errors
    }
}

fn data(at: usize, bytes: &[u8]) -> Vec<u8> {
    [format!("data {at} {}\n", bytes.len()).as_bytes(), bytes].concat()
}

fn noise(length: usize) -> Vec<u8> {
    let bytes = (0..length as u64).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
    bytes.collect()
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[test]
fn data_and_holes_are_written_in_order_and_a_rest_goes_on() {
    for host in BOTH {
        let pool = TestPool::new();
        let image = noise(700_003);
        let mut script = pool.start(host).ready();
        script.data(0, &image[..300_001]);
        script.put(b"again\n");
        assert_eq!(script.line(), "done");
        script.data(300_001, &image[300_001..300_002]);
        script.put(b"hole 300002 5000000\nagain\nagain\n");
        let (file, name) = script.end();
        assert!(script::is_same(&file, &name), "{file} {name}");
        assert!(file.ends_with(" 5300002"), "{file}");
        let volume = pool.volume();
        assert!(volume.metadata().unwrap().blocks() * 512 < 1 << 20);
        let mut second = pool.start(host).ready();
        second.data(6_000_000, &image);
        let (second_file, _) = second.end();
        assert!(second_file.ends_with(" 6700003"), "{second_file}");
        let mut expected = image[..300_002].to_vec();
        expected.resize(6_000_000, 0);
        expected.extend(&image);
        assert!(read(&volume) == expected);
        assert!(!pool.at("x").exists() && fs::read_dir(pool.dir.path()).unwrap().count() == 1);
    }
}

#[test]
fn a_host_says_what_writes_there() {
    let pool = TestPool::new();
    for host in BOTH {
        let line = pool.start(host).line();
        let Opened::Ready { python, .. } = opened(&line) else {
            panic!("{line}");
        };
        assert_eq!(python, host != NO_PYTHON, "{line}");
    }
}

#[test]
fn what_is_written_into_a_longer_file_leaves_its_length() {
    for host in BOTH {
        let pool = TestPool::new();
        fs::write(pool.volume(), [7; 10_000]).unwrap();
        let mut script = pool.start(host).ready();
        script.data(5, b"abc");
        script.end();
        let found = read(&pool.volume());
        assert_eq!((found.len(), &found[4..9]), (10_000, &b"\x07abc\x07"[..]));
    }
}

#[test]
fn a_session_that_is_cut_at_any_byte_leaves_a_prefix_and_nothing_running() {
    for host in BOTH {
        let image = noise(400_000);
        let mut sent = data(0, &image[..1_000]);
        let second = sent.len();
        sent.extend(b"again\n");
        sent.extend(data(1_000, &image[1_000..300_000]));
        let third = sent.len();
        sent.extend(data(300_000, &image[300_000..]));
        sent.extend(b"end\n");
        let around = |at: usize| at.saturating_sub(3)..at + 24;
        let places = (0..24).chain(around(second)).chain(around(third));
        let places = places.chain([second + 131_072, third - 1, sent.len() - 5, sent.len() - 1]);
        for cut in places {
            let pool = TestPool::with("v");
            let mut script = pool.start(host).ready();
            script.put(&sent[..cut]);
            let line = script.cut();
            let found = read(&pool.volume());
            assert!(
                found.len() <= cut && found == image[..found.len()],
                "{cut}: {line}"
            );
            assert!(!line.contains("file"), "{cut}: {line}");
            // All bytes of complete frames are in the file.
            let whole = [(second, 1_000), (third, 300_000), (sent.len() - 4, 400_000)];
            let least = whole.iter().rev().find(|(at, _)| cut >= *at);
            assert!(
                found.len() >= least.map_or(0, |(_, length)| *length),
                "{cut}"
            );
        }
    }
}

#[test]
fn whatever_else_has_the_volumes_name_is_not_opened() {
    for host in BOTH {
        let pool = TestPool::new();
        let other = pool.at("other");
        fs::write(&other, b"somebody's").unwrap();
        let volume = pool.volume();
        let odd = |make: &dyn Fn()| {
            let _ = fs::remove_file(&volume);
            make();
            let line = pool.start(host).line();
            assert!(matches!(opened(&line), Opened::Odd(_)), "{line}");
        };
        odd(&|| symlink(&other, &volume).unwrap());
        odd(&|| symlink("nowhere", &volume).unwrap());
        odd(&|| fs::hard_link(&other, &volume).unwrap());
        odd(&|| {
            let made = Command::new("mkfifo").arg("--").arg(&volume).status();
            assert!(made.unwrap().success());
        });
        assert_eq!(read(&other), b"somebody's");
        fs::remove_file(&volume).unwrap();
        let line = pool.start(host).line();
        assert!(matches!(opened(&line), Opened::No(_)), "{line}");
        assert!(!volume.exists(), "it was made");
    }
}

#[test]
fn a_link_that_takes_the_volumes_place_gets_nothing_and_shows_at_the_end() {
    for host in BOTH {
        let pool = TestPool::new();
        let (volume, other) = (pool.volume(), pool.at("other"));
        fs::write(&other, b"somebody's").unwrap();
        for same_bytes in [false, true] {
            let mut script = pool.start(host).ready();
            script.data(0, b"first");
            let away = pool.at("away");
            fs::rename(&volume, &away).unwrap();
            if same_bytes {
                fs::copy(&away, &volume).unwrap();
            } else {
                symlink(&other, &volume).unwrap();
            }
            script.data(5, b"second");
            let (file, name) = script.end();
            assert!(!script::is_same(&file, &name), "{file} {name}");
            assert_eq!(read(&away), b"firstsecond");
            assert_eq!(read(&other), b"somebody's");
            fs::remove_file(&volume).unwrap();
            fs::rename(&away, &volume).unwrap();
            fs::write(&volume, b"").unwrap();
        }
        let mut script = pool.start(host).ready();
        script.data(0, b"x");
        fs::remove_file(&volume).unwrap();
        let (file, name) = script.end();
        assert!(!script::is_same(&file, &name), "{file} {name}");
        assert!(!volume.exists(), "it was recreated");
    }
}

#[test]
fn a_folder_that_takes_the_place_of_the_pools_gets_nothing() {
    for host in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let [pool, away, other] = ["pool", "away", "other"].map(|name| dir.path().join(name));
        for folder in [&pool, &other] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("v"), b"").unwrap();
        }
        let mut script = PathScript::of(&script::with(
            pool.to_str().unwrap(),
            "v",
            false,
            host,
            "900",
        ))
        .ready();
        fs::rename(&pool, &away).unwrap();
        symlink(&other, &pool).unwrap();
        script.data(0, b"bytes");
        script.end();
        assert_eq!(read(&other.join("v")), b"");
        assert_eq!(read(&away.join("v")), b"bytes");
    }
}

#[test]
fn what_the_host_lacks_is_named_before_anything_is_sent() {
    let pool = TestPool::with("v");
    let tools = tempfile::tempdir().unwrap();
    let path = tools.path().to_str().unwrap();
    let no = |command: &str, tools_path: &str| {
        let line = PathScript::with_tools(command, tools_path).line();
        assert!(matches!(opened(&line), Opened::No(_)), "{line}");
        line
    };
    for (tool, reason) in [
        ("dd", "dd is missing"),
        ("stat", "stat is"),
        ("timeout", "timeout is"),
    ] {
        assert!(
            no(&pool.command(NO_PYTHON), path).contains(reason),
            "{tool}"
        );
        symlink(format!("/usr/bin/{tool}"), tools.path().join(tool)).unwrap();
    }
    PathScript::with_tools(&pool.command(NO_PYTHON), path).ready();
    let gone = script::with(
        tools.path().join("gone").to_str().unwrap(),
        "v",
        false,
        NO_PYTHON,
        "900",
    );
    assert!(no(&gone, "/usr/bin").contains("cannot enter"));
    fs::remove_file(tools.path().join("dd")).unwrap();
    fs::write(tools.path().join("dd"), "#!/bin/sh\nexit 1\n").unwrap();
    let made = Command::new("chmod")
        .args(["+x", &format!("{path}/dd")])
        .status();
    assert!(made.unwrap().success());
    assert!(no(&pool.command(NO_PYTHON), path).contains("too old"));
    // Python needs no `dd`. An interpreter without the required modules is skipped.
    PathScript::with_tools(&pool.command("/usr/bin/python3"), path).ready();
    assert!(no(&pool.command("false /bin/false"), path).contains("too old"));
}

#[test]
fn a_disk_that_is_full_ends_it_with_its_own_words() {
    for host in BOTH {
        let pool = TestPool::with("v");
        let small = format!("ulimit -f 1; trap '' XFSZ; {}", pool.command(host));
        let mut script = PathScript::of(&small).ready();
        // At most what a pipe holds, because the script may end before it has read the rest.
        script.data(0, &noise(40_000));
        assert_ne!(script.child.wait().unwrap().code(), Some(0));
        let mut errors = String::new();
        let mut stderr = script.child.stderr.take().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        assert!(
            errors.contains(if host == NO_PYTHON { "dd:" } else { "python:" }),
            "{errors}"
        );
    }
}

#[test]
fn it_ends_when_it_hears_nothing_any_more_and_at_words_without_sense() {
    for host in BOTH {
        let pool = TestPool::with("v");
        let hasty = pool.command_of(false, host, "0.1");
        let mut script = PathScript::of(&hasty).ready();
        assert_eq!(script.line(), "", "nothing that ends an upload in order");
        assert_ne!(script.child.wait().unwrap().code(), Some(0));
        for rubbish in ["rubbish\n", "data x y\n", "data 0\n", "\n"] {
            let mut crowded = pool.start(host).ready();
            crowded.put(rubbish.as_bytes());
            sleep(Duration::from_millis(1));
            assert_eq!(crowded.line(), "", "{rubbish}");
        }
        assert_eq!(read(&pool.volume()), b"");
    }
}

fn zstd(at: usize, bytes: &[u8]) -> Vec<u8> {
    let packed = zstd::bulk::compress(bytes, 1).unwrap();
    [format!("zstd {at} {}\n", packed.len()).as_bytes(), &packed].concat()
}

#[test]
fn packed_bytes_are_unpacked_to_their_place_and_cut_at_any_byte_leave_a_prefix() {
    for host in BOTH {
        let text = b"all work and no play ".repeat(30_000);
        let pool = TestPool::new();
        let mut script = pool.start(host);
        let line = opened(&script.line());
        assert!(
            matches!(line, Opened::Ready { unpacks: true, .. }),
            "{line:?}"
        );
        script.data(0, b"plain");
        script.put(&zstd(5, &text));
        script.put(b"again\n");
        script.put(&zstd(5 + text.len(), b"more"));
        let (file, name) = script.end();
        assert!(script::is_same(&file, &name), "{file} {name}");
        assert!(read(&pool.volume()) == [&b"plain"[..], &text, b"more"].concat());

        let noise = noise(300_000);
        let sent = [zstd(0, &text), zstd(text.len(), &noise)].concat();
        let whole = [&text[..], &noise].concat();
        for part in 0..20 {
            let cut = sent.len() * part / 20;
            let pool_of_one = TestPool::with("v");
            let mut cut_off = pool_of_one.start(host).ready();
            cut_off.put(&sent[..cut]);
            cut_off.cut();
            let found = read(&pool_of_one.volume());
            assert!(found == whole[..found.len()], "{cut}");
        }
    }
}

#[test]
fn packed_bytes_that_are_broken_end_the_upload() {
    for host in BOTH {
        let text = b"all work and no play ".repeat(30_000);
        let mut broken = zstd(0, &text);
        let middle = broken.len() / 2;
        broken[middle..middle + 40].fill(0xff);
        let short = [&b"zstd 0 5\n"[..], b"12345"].concat();
        for (sent, at_unpacking) in [
            (broken, true),
            (short, true),
            (b"zstd x y\n".to_vec(), false),
        ] {
            let pool = TestPool::with("v");
            let mut script = pool.start(host).ready();
            // In one write, because the script may end before it has read a second one.
            script.put(&[&sent[..], b"end\n"].concat());
            assert_eq!(script.last(), "", "it counts as whole");
            assert_ne!(script.child.wait().unwrap().code(), Some(0));
            let mut errors = String::new();
            let mut stderr = script.child.stderr.take().unwrap();
            stderr.read_to_string(&mut errors).unwrap();
            let is_unpacking = errors.contains("zstd failed");
            assert_eq!(is_unpacking, at_unpacking, "{errors}");
        }
    }
}

#[test]
fn only_the_words_of_one_file_are_its_end() {
    assert!(script::is_same("file 81a4 1 5:6 7", "name 81a4 1 5:6 7"));
    for (file, name) in [
        ("file 81a4 1 5:6 7", "name 81a4 1 5:7 7"),
        ("file ", "name "),
        ("file", "name"),
        ("", ""),
        ("name a", "file a"),
    ] {
        assert!(!script::is_same(file, name), "{file} {name}");
    }
}

/// The host's uptime in whole seconds.
fn uptime() -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    uptime.split('.').next().unwrap().parse().unwrap()
}

/// A directory with the host's own tools, one of which may be busybox.
fn with_busybox(applet: &str) -> Option<(tempfile::TempDir, String)> {
    let busybox = Path::new("/bin/busybox");
    let tools = tempfile::tempdir().unwrap();
    symlink(busybox, tools.path().join(applet)).unwrap();
    let path = format!("{}:/usr/bin:/bin", tools.path().display());
    busybox.exists().then_some((tools, path))
}

#[test]
fn who_is_fenced_writes_nothing_before_it_is_told_until_when_nor_afterwards() {
    for host in BOTH {
        for (lines, written) in [
            (String::new(), false),
            (format!("until {}\n", uptime()), false),
            ("until x\n".to_owned(), false),
            (format!("until {}\n", uptime() + 600), true),
            // After `again`, `until` must be sent again.
            (format!("until {}\nagain\n", uptime() + 600), false),
            (format!("again\nuntil {}\n", uptime() + 600), true),
        ] {
            for (what, frame) in [
                ("data", data(0, b"bytes")),
                ("zstd", zstd(0, b"bytes")),
                ("hole", b"hole 0 5\n".to_vec()),
            ] {
                let pool = TestPool::with("v");
                let command = pool.command_of(true, host, "900");
                let mut script = PathScript::of(&command).ready();
                script.put(&[lines.as_bytes(), &frame].concat());
                let line = script.line();
                assert_eq!(line == "done", written, "{what} after {lines:?}: {line}");
                let len = fs::metadata(pool.volume()).unwrap().len();
                assert_eq!(len, if written { 5 } else { 0 }, "{what} after {lines:?}");
            }
        }
    }
}

#[test]
fn bytes_that_come_too_late_are_not_written() {
    for host in BOTH {
        let busybox = with_busybox("timeout");
        let paths = std::iter::once("/usr/bin:/bin".to_owned());
        for path in paths.chain(busybox.as_ref().map(|(_, path)| path.clone())) {
            let pool = TestPool::with("v");
            let command = pool.command_of(true, host, "900");
            let mut script = PathScript::with_tools(&command, &path).ready();
            let bytes = noise(3 << 20);
            let frame = data(0, &bytes);
            script.put(format!("until {}\n", uptime() + 2).as_bytes());
            let (early, late) = frame.split_at(1 << 20);
            // On a busy machine, the time may end before all of it is read.
            let _ = script.child.stdin.as_mut().unwrap().write_all(early);
            let begun = uptime();
            while uptime() < begun + 4 {
                sleep(Duration::from_millis(50));
            }
            let before = fs::read(pool.volume()).unwrap();
            // The script may have ended.
            let _ = script.child.stdin.as_mut().unwrap().write_all(late);
            assert_eq!(script.line(), "", "{path}");
            script.cut();
            assert_eq!(fs::read(pool.volume()).unwrap(), before, "{path}");
            assert!(before.len() < 2 << 20, "{path}");
        }
    }
}
