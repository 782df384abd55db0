//! What a process asked of its disk, recorded by `strace` and read back.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{provisioning, trace::line::Line, writer};

mod line;

const CALLS: &str = "trace=open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,\
    truncate,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,\
    fdatasync,sync_file_range,fallocate,lseek,copy_file_range,sendfile";

/// A file, whatever it is called.
pub(crate) type FileId = usize;

/// A change of the disk, or a demand to keep it.
#[derive(Debug)]
pub(crate) enum Op {
    Create {
        path: PathBuf,
        file: FileId,
    },
    MakeDir {
        path: PathBuf,
    },
    Write {
        file: FileId,
        at: usize,
        data: Vec<u8>,
    },
    Truncate {
        file: FileId,
        len: usize,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    Sync {
        file: FileId,
    },
    SyncDir {
        path: PathBuf,
    },
}

/// When a call began and ended, in calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// An event the process was told to be kept.
#[derive(Clone, Debug)]
pub(crate) struct Ack {
    at: usize,
    pub(crate) offset: u64,
    pub(crate) hash: String,
}

/// Everything recorded of a folder, and what was in it before. Paths are relative to it.
#[derive(Default)]
pub(crate) struct Trace {
    before: Vec<(PathBuf, Option<Vec<u8>>)>,
    ops: Vec<(Span, Op)>,
    acks: Vec<Ack>,
    files: HashMap<PathBuf, FileId>,
    lens: Vec<usize>,
    /// Where the next `write` of a descriptor goes; none for one that appends.
    positions: HashMap<String, Option<usize>>,
    printed: Vec<u8>,
    now: usize,
}

/// Whether `strace` is there and may trace.
pub(crate) fn available() -> bool {
    let tried = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .output();
    tried.is_ok_and(|tried| tried.status.success())
}

impl Trace {
    /// An empty recording of a folder whose content is on the disk.
    pub(crate) fn of_folder(dir: &Path) -> Self {
        let mut trace = Self::default();
        trace.take_in(dir, Path::new(""));
        trace
    }

    fn take_in(&mut self, dir: &Path, below: &Path) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let path = below.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                self.before.push((path.clone(), None));
                self.take_in(&entry.path(), &path);
            } else {
                let content = std::fs::read(entry.path()).unwrap();
                self.new_file(&path, content.len());
                self.before.push((path, Some(content)));
            }
        }
    }

    /// What was acknowledged before.
    pub(crate) fn acknowledged(&mut self, acks: &[&Ack]) {
        self.acks = acks
            .iter()
            .map(|ack| Ack {
                at: 0,
                ..(*ack).clone()
            })
            .collect();
    }

    /// Runs the writing process so many times, one after the other.
    pub(crate) fn record(&mut self, dir: &Path, times: usize, seed: u64) {
        for time in 0..times {
            let seed = seed.wrapping_add(time as u64).to_string();
            self.record_one(dir, writer::SEED, &seed);
        }
    }

    /// Runs a process that provisions so many VSIs.
    pub(crate) fn record_fleet(&mut self, dir: &Path, vsis: u32) {
        self.record_one(dir, provisioning::VSIS, &vsis.to_string());
    }

    fn record_one(&mut self, dir: &Path, setting: &str, value: &str) {
        let dir = dir.canonicalize().unwrap();
        {
            let output = tempfile::NamedTempFile::new().unwrap();
            let status = Command::new("strace")
                .args([
                    "-f",
                    "-y",
                    "-xx",
                    "-s",
                    "100000000",
                    "-e",
                    CALLS,
                    "-e",
                    "signal=none",
                    "-o",
                ])
                .arg(output.path())
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", "child", "--nocapture", "--test-threads=1"])
                .env(writer::DIR, &dir)
                .env(setting, value)
                .stdout(Stdio::null())
                .status();
            assert!(status.unwrap().success(), "the recorded process failed");
            self.read(output.path(), &dir);
            let unfaithful = crate::device::unfaithful(self, &dir);
            assert_eq!(unfaithful, None, "the process was not recorded whole");
        }
    }

    fn read(&mut self, output: &Path, dir: &Path) {
        let mut begun = HashMap::new();
        self.positions.clear();
        for text in BufReader::new(std::fs::File::open(output).unwrap()).lines() {
            self.now += 1;
            match Line::parse(&text.unwrap(), &mut begun, self.now) {
                Some(line) if line.result >= 0 => self.call(&line, dir),
                _ => {}
            }
        }
        self.now += 1;
        for (start, front) in begun.into_values() {
            self.unreturned(start, &front, dir);
        }
    }

    /// What a process had begun to write when it ended was written as far as the file says.
    fn unreturned(&mut self, start: usize, front: &str, dir: &Path) {
        let end = self.now;
        if let Some(line) = Line::unreturned_name(front, Span { start, end }) {
            // It was done if the file is not there any more.
            if line
                .subject(dir)
                .is_some_and(|path| !dir.join(path).exists())
            {
                self.call(&line, dir);
            }
            return;
        }
        let line = Line::unreturned(front, Span { start, end });
        let Some(line) = line else { return };
        let Some(path) = line.subject(dir) else {
            return;
        };
        let Some(file) = self.files.get(&path).copied() else {
            return;
        };
        let content = std::fs::read(dir.join(&path)).unwrap();
        let (at, len) = (line.number(3), usize::try_from(line.result).unwrap());
        let data = content[at.min(content.len())..content.len().min(at + len)].to_vec();
        let known = self.lens.get_mut(file).unwrap();
        *known = (*known).max(at + data.len());
        self.push(&line, Op::Write { file, at, data });
    }

    /// The number of instants at which a cut may be.
    pub(crate) fn end(&self) -> usize {
        self.now
    }

    pub(crate) fn before(&self) -> &[(PathBuf, Option<Vec<u8>>)] {
        &self.before
    }

    pub(crate) fn spans(&self) -> &[(Span, Op)] {
        &self.ops
    }

    pub(crate) fn ops(&self) -> impl Iterator<Item = &Op> {
        self.ops.iter().map(|(_, op)| op)
    }

    /// What was acknowledged by an instant.
    pub(crate) fn acks_before(&self, instant: usize) -> impl Iterator<Item = &Ack> {
        self.acks.iter().filter(move |ack| ack.at <= instant)
    }

    fn new_file(&mut self, path: &Path, len: usize) -> FileId {
        let file = self.lens.len();
        self.lens.push(len);
        self.files.insert(path.to_owned(), file);
        file
    }

    fn push(&mut self, line: &Line, op: Op) {
        self.ops.push((line.span, op));
    }

    fn write(&mut self, line: &Line, file: FileId, at: usize) {
        let data = line
            .string(1)
            .get(..usize::try_from(line.result).unwrap())
            .unwrap()
            .to_vec();
        let len = self.lens.get_mut(file).unwrap();
        *len = (*len).max(at + data.len());
        self.push(line, Op::Write { file, at, data });
    }

    fn print(&mut self, line: &Line) {
        self.printed.extend(line.string(1));
        while let Some(end) = self.printed.iter().position(|byte| *byte == b'\n') {
            let printed: Vec<_> = self.printed.drain(..=end).collect();
            let text = String::from_utf8_lossy(&printed);
            let mut words = text.split_whitespace();
            if words.next() == Some("ack") {
                let offset = words.next().unwrap().parse().unwrap();
                let hash = words.next().unwrap().to_owned();
                self.acks.push(Ack {
                    at: line.span.start,
                    offset,
                    hash,
                });
            }
        }
    }

    /// A call that succeeded.
    fn call(&mut self, line: &Line, dir: &Path) {
        if line.name == "write" && line.fd(0).0 == "1" {
            return self.print(line);
        }
        // After a power cut, which begins another boot, nobody believes the index. Of the room that is
        // set aside nobody reads anything.
        if line.touches("index") || line.touches("ballast") {
            return;
        }
        let Some(path) = line.subject(dir) else {
            return;
        };
        let file = self.files.get(&path).copied();
        match (line.name.as_str(), file) {
            ("openat" | "open", file) => self.opened(line, path, file),
            ("write", Some(file)) => {
                let fd = line.fd(0).0;
                let position = self.positions.get(&fd).copied().flatten();
                let at = position.unwrap_or_else(|| *self.lens.get(file).unwrap());
                self.write(line, file, at);
                if let Some(Some(known_position)) = self.positions.get_mut(&fd) {
                    *known_position += usize::try_from(line.result).unwrap();
                }
            }
            ("pwrite64", Some(file)) => self.write(line, file, line.number(3)),
            ("lseek", _) => {
                let position = usize::try_from(line.result).unwrap();
                self.positions.insert(line.fd(0).0, Some(position));
            }
            ("ftruncate", Some(file)) => {
                let len = line.number(1);
                *self.lens.get_mut(file).unwrap() = len;
                self.push(line, Op::Truncate { file, len });
            }
            ("fsync" | "fdatasync", Some(file)) => self.push(line, Op::Sync { file }),
            ("fsync" | "fdatasync", None) => self.push(line, Op::SyncDir { path }),
            // A promise of nothing.
            ("sync_file_range", _) => {}
            ("mkdir", _) => self.push(line, Op::MakeDir { path }),
            ("unlink" | "unlinkat", _) => {
                self.files.remove(&path);
                self.push(line, Op::Unlink { path });
            }
            ("rename", Some(file)) => {
                let to = line.path(1, dir).unwrap();
                self.files.remove(&path);
                self.files.insert(to.clone(), file);
                self.push(line, Op::Rename { from: path, to });
            }
            (other, _) => panic!("the device does not know {other} of {}", path.display()),
        }
    }

    fn opened(&mut self, line: &Line, path: PathBuf, file: Option<FileId>) {
        let flags = line.flags();
        if flags.contains("O_DIRECTORY") {
            return;
        }
        let file = match file {
            None if flags.contains("O_CREAT") => {
                let created = self.new_file(&path, 0);
                self.push(
                    line,
                    Op::Create {
                        path,
                        file: created,
                    },
                );
                created
            }
            // A folder.
            None => return,
            Some(file) => file,
        };
        if flags.contains("O_TRUNC") && *self.lens.get(file).unwrap() > 0 {
            *self.lens.get_mut(file).unwrap() = 0;
            self.push(line, Op::Truncate { file, len: 0 });
        }
        let position = (!flags.contains("O_APPEND")).then_some(0);
        self.positions.insert(line.result.to_string(), position);
    }
}
