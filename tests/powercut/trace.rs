//! Records the file system calls of a process with `strace`, and reads the recording.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{provisioning, trace::line::TraceLine, writer};

mod line;

const CALLS: &str = "trace=open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,\
    truncate,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,\
    fdatasync,sync_file_range,fallocate,lseek,copy_file_range,sendfile";

/// A file's identity, which renames do not change.
pub(crate) type FileId = usize;

/// A change of the disk, or a sync that makes changes durable.
#[derive(Debug)]
pub(crate) enum DiskOp {
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

/// When a call began and ended, as line numbers of the recording.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallSpan {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// An event that the journal acknowledged to the process.
#[derive(Clone, Debug)]
pub(crate) struct Ack {
    at: usize,
    pub(crate) offset: u64,
    pub(crate) hash: String,
}

/// All recorded changes of a folder, and its content before. Paths are relative to the folder.
#[derive(Default)]
pub(crate) struct Trace {
    before: Vec<(PathBuf, Option<Vec<u8>>)>,
    ops: Vec<(CallSpan, DiskOp)>,
    acks: Vec<Ack>,
    files: HashMap<PathBuf, FileId>,
    lens: Vec<usize>,
    /// The position of the next `write` of each descriptor; none if it appends.
    positions: HashMap<String, Option<usize>>,
    printed: Vec<u8>,
    now: usize,
}

/// Whether `strace` is installed and permitted to trace.
pub(crate) fn available() -> bool {
    let tried = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// The newest lines of a recording that name a file, decoded and cut.
fn last_calls_about(output: &Path, file: &Path) -> Vec<String> {
    let name = file.to_string_lossy().into_owned();
    let lines = BufReader::new(std::fs::File::open(output).unwrap()).lines();
    let decoded =
        lines.map(|text| String::from_utf8_lossy(&line::bytes(&text.unwrap())).into_owned());
    let naming = decoded.enumerate().filter(|(_, text)| text.contains(&name));
    let cut = naming.map(|(number, text)| format!("{number}: {:.400}", text));
    let mut calls: Vec<String> = cut.collect();
    calls.split_off(calls.len().saturating_sub(12))
}

impl Trace {
    /// An empty recording of a folder whose present content is durable.
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

    /// Sets the events that were acknowledged before the recording.
    pub(crate) fn acknowledged(&mut self, acks: &[&Ack]) {
        self.acks = acks
            .iter()
            .map(|ack| Ack {
                at: 0,
                ..(*ack).clone()
            })
            .collect();
    }

    /// Records the writing process this many times, one after the other.
    pub(crate) fn record(&mut self, dir: &Path, times: usize, seed: u64) {
        for time in 0..times {
            let seed = seed.wrapping_add(time as u64).to_string();
            self.record_one(dir, writer::SEED, &seed);
        }
    }

    /// Records a process that provisions this many VSIs.
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
            if let Some(file) = crate::device::differing_file(self, &dir) {
                let calls = last_calls_about(output.path(), &file);
                panic!(
                    "the recording of {} is incomplete: {calls:#?}",
                    file.display()
                );
            }
        }
    }

    fn read(&mut self, output: &Path, dir: &Path) {
        let mut begun = HashMap::new();
        self.positions.clear();
        for text in BufReader::new(std::fs::File::open(output).unwrap()).lines() {
            self.now += 1;
            match TraceLine::parse(&text.unwrap(), &mut begun, self.now) {
                Some(line) if line.result >= 0 => self.call(&line, dir),
                _ => {}
            }
        }
        self.now += 1;
        for (start, front) in begun.into_values() {
            self.unreturned(start, &front, dir);
        }
    }

    /// Adds a call that had not returned when the process ended. The file itself shows how much of a write
    /// was carried out.
    fn unreturned(&mut self, start: usize, front: &str, dir: &Path) {
        let end = self.now;
        if let Some(line) = TraceLine::unreturned_name(front, CallSpan { start, end }) {
            // It was carried out if the file no longer exists.
            if line
                .subject(dir)
                .is_some_and(|path| !dir.join(path).exists())
            {
                self.call(&line, dir);
            }
            return;
        }
        let line = TraceLine::unreturned(front, CallSpan { start, end });
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
        self.push(&line, DiskOp::Write { file, at, data });
    }

    /// The number of instants at which the power may be cut.
    pub(crate) fn end(&self) -> usize {
        self.now
    }

    pub(crate) fn before(&self) -> &[(PathBuf, Option<Vec<u8>>)] {
        &self.before
    }

    pub(crate) fn spans(&self) -> &[(CallSpan, DiskOp)] {
        &self.ops
    }

    pub(crate) fn ops(&self) -> impl Iterator<Item = &DiskOp> {
        self.ops.iter().map(|(_, op)| op)
    }

    /// The events that were acknowledged up to an instant.
    pub(crate) fn acks_before(&self, instant: usize) -> impl Iterator<Item = &Ack> {
        self.acks.iter().filter(move |ack| ack.at <= instant)
    }

    fn new_file(&mut self, path: &Path, len: usize) -> FileId {
        let file = self.lens.len();
        self.lens.push(len);
        self.files.insert(path.to_owned(), file);
        file
    }

    fn push(&mut self, line: &TraceLine, op: DiskOp) {
        self.ops.push((line.span, op));
    }

    fn write(&mut self, line: &TraceLine, file: FileId, at: usize) {
        let data = line
            .string(1)
            .get(..usize::try_from(line.result).unwrap())
            .unwrap()
            .to_vec();
        let len = self.lens.get_mut(file).unwrap();
        *len = (*len).max(at + data.len());
        self.push(line, DiskOp::Write { file, at, data });
    }

    fn print(&mut self, line: &TraceLine) {
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

    /// Adds a call that succeeded.
    fn call(&mut self, line: &TraceLine, dir: &Path) {
        if line.name == "write" && line.fd(0).0 == "1" {
            return self.print(line);
        }
        // After a power cut the machine has another boot ID, and vsiflow does not use the index then. The
        // reserved disk space (ballast) is never read.
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
                self.push(line, DiskOp::Truncate { file, len });
            }
            ("fsync" | "fdatasync", Some(file)) => self.push(line, DiskOp::Sync { file }),
            ("fsync" | "fdatasync", None) => self.push(line, DiskOp::SyncDir { path }),
            // It guarantees nothing.
            ("sync_file_range", _) => {}
            ("mkdir", _) => self.push(line, DiskOp::MakeDir { path }),
            ("unlink" | "unlinkat", _) => {
                self.files.remove(&path);
                self.push(line, DiskOp::Unlink { path });
            }
            ("rename", Some(file)) => {
                let to = line.path(1, dir).unwrap();
                self.files.remove(&path);
                self.files.insert(to.clone(), file);
                self.push(line, DiskOp::Rename { from: path, to });
            }
            (other, _) => panic!("the device does not know {other} of {}", path.display()),
        }
    }

    fn opened(&mut self, line: &TraceLine, path: PathBuf, file: Option<FileId>) {
        let flags = line.flags();
        if flags.contains("O_DIRECTORY") {
            return;
        }
        let file = match file {
            None if flags.contains("O_CREAT") => {
                let created = self.new_file(&path, 0);
                self.push(
                    line,
                    DiskOp::Create {
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
            self.push(line, DiskOp::Truncate { file, len: 0 });
        }
        let position = (!flags.contains("O_APPEND")).then_some(0);
        self.positions.insert(line.result.to_string(), position);
    }
}
