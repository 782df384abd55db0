//! Parses a line of `strace -f -y -xx`.

use std::{
    collections::HashMap,
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use super::CallSpan;

/// A system call that has returned.
pub(super) struct TraceLine {
    pub(super) name: String,
    args: Vec<String>,
    pub(super) result: i64,
    pub(super) span: CallSpan,
}

impl TraceLine {
    /// Parses a line; none if no call returns in it. `begun` holds the calls that have not returned,
    /// by thread.
    pub(super) fn parse(
        text: &str,
        begun: &mut HashMap<String, (usize, String)>,
        now: usize,
    ) -> Option<Self> {
        let (thread, rest) = text.split_once(' ')?;
        let rest = rest.trim_start();
        if let Some(front) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread.to_owned(), (now, front.to_owned()));
            return None;
        }
        let (start, whole) = match rest.strip_prefix("<... ") {
            Some(resumed) => {
                let (_, tail) = resumed.split_once(" resumed>")?;
                let (start, front) = begun.remove(thread)?;
                (start, front + tail)
            }
            None => (now, rest.to_owned()),
        };
        let (call, result) = whole.rsplit_once(" = ")?;
        let call = call.trim_end().strip_suffix(')')?;
        // The process ended during the call, so its result is unknown; strace may say why, as in `? <unavailable>`. For
        // a thread that is being ended it may print a number that is not an error's, or what the register had before
        // the call.
        let unknown = ["?", "-1 (errno ", "-1 ENOSYS"];
        if unknown.iter().any(|front| result.starts_with(front)) {
            let front = call.trim_end_matches(" <unfinished ...>").to_owned();
            begun.insert(thread.to_owned(), (start, front));
            return None;
        }
        let result = result.split([' ', '<']).next()?.parse().ok()?;
        Self::of(call, result, CallSpan { start, end: now })
    }

    /// A `pwrite64` that had begun when the process ended, as if it wrote everything.
    pub(super) fn unreturned(front: &str, span: CallSpan) -> Option<Self> {
        let mut line = Self::of(front, 0, span).filter(|line| line.name == "pwrite64")?;
        line.result = line.arg(2).parse().ok()?;
        Some(line)
    }

    /// A `rename` or `unlink` that had begun when the process ended.
    pub(super) fn unreturned_name(front: &str, span: CallSpan) -> Option<Self> {
        Self::of(front, 0, span).filter(|line| ["rename", "unlink"].contains(&line.name.as_str()))
    }

    fn of(call: &str, result: i64, span: CallSpan) -> Option<Self> {
        let (name, args) = call.split_once('(')?;
        Some(Self {
            name: name.to_owned(),
            args: args.split(", ").map(str::to_owned).collect(),
            result,
            span,
        })
    }

    fn arg(&self, at: usize) -> &str {
        self.args.get(at).map_or("", String::as_str)
    }

    pub(super) fn number(&self, at: usize) -> usize {
        self.arg(at).parse().unwrap()
    }

    /// The bytes of a quoted argument.
    pub(super) fn string(&self, at: usize) -> Vec<u8> {
        let text = self.arg(at);
        assert!(
            text.starts_with('"') && text.ends_with('"'),
            "a string was cut: {}",
            self.name
        );
        bytes(text.trim_matches('"'))
    }

    /// A file descriptor and its path.
    pub(super) fn fd(&self, at: usize) -> (String, PathBuf) {
        let (fd, path) = self.arg(at).split_once('<').unwrap_or((self.arg(at), ""));
        (fd.to_owned(), path_of(path.trim_end_matches('>')))
    }

    pub(super) fn flags(&self) -> &str {
        self.arg(if self.name == "open" { 1 } else { 2 })
    }

    /// Whether a path of the call has a component that begins with `name`.
    pub(super) fn touches(&self, name: &str) -> bool {
        let front = format!("/{name}");
        (0..self.args.len()).any(|at| {
            let fd = self.fd(at).1;
            let path = path_of(self.arg(at).trim_matches('"'));
            [fd, path]
                .iter()
                .any(|path| path.to_string_lossy().contains(&front))
        })
    }

    /// The path that a call changes, relative to `dir`, if it is in there.
    pub(super) fn subject(&self, dir: &Path) -> Option<PathBuf> {
        match self.name.as_str() {
            "openat" => self.path(1, dir),
            "open" | "mkdir" | "unlink" | "rename" | "rmdir" | "creat" | "truncate" | "link" => {
                self.path(0, dir)
            }
            "unlinkat" => {
                let name = path_of(self.arg(1).trim_matches('"'));
                within(self.fd(0).1.join(name), dir)
            }
            "renameat" | "renameat2" | "linkat" | "mkdirat" => self.path(1, dir),
            _ => within(self.fd(0).1, dir),
        }
    }

    pub(super) fn path(&self, at: usize, dir: &Path) -> Option<PathBuf> {
        within(path_of(self.arg(at).trim_matches('"')), dir)
    }
}

fn within(path: PathBuf, dir: &Path) -> Option<PathBuf> {
    path.strip_prefix(dir).ok().map(Path::to_owned)
}

fn path_of(text: &str) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes(text)))
}

/// Decodes a text in which bytes may be escaped as `\x2f`.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len() / 4), text.as_bytes());
    loop {
        rest = match rest {
            [b'\\', b'x', high, low, rest @ ..] => {
                bytes.push(digit(*high).unwrap() << 4 | digit(*low).unwrap());
                rest
            }
            [plain, rest @ ..] => {
                bytes.push(*plain);
                rest
            }
            [] => return bytes,
        };
    }
}

#[test]
fn a_write_that_the_process_ended_in_is_not_forgotten() {
    let mut begun = HashMap::new();
    let front = r#"pwrite64(3<\x2f\x66>, "\x45", 1, 262144"#;
    let (cut, ended) = (" <unfinished ...>", " <unfinished ...>) = ?");
    let resumed = "\n7 <... pwrite64 resumed>";
    for text in [
        ["7 ", front, cut].concat(),
        ["7 ", front, ended].concat(),
        ["7 ", front, cut, resumed, ")           = ?"].concat(),
        ["7 ", front, cut, resumed, ")           = ? <unavailable>"].concat(),
        ["7 ", front, ")           = ? <unavailable>"].concat(),
        [
            "7 ",
            front,
            ")           = -1 ENOSYS (Function not implemented)",
        ]
        .concat(),
        ["7 ", front, cut, resumed, ended].concat(),
        [
            "7 ",
            front,
            cut,
            resumed,
            ")  = -1 (errno 18446744073709551339)",
        ]
        .concat(),
    ] {
        begun.clear();
        for line in text.lines() {
            assert!(TraceLine::parse(line, &mut begun, 1).is_none(), "{line}");
        }
        let kept = begun.get("7").map(|(_, begun_front)| begun_front.as_str());
        assert_eq!(kept, Some(front), "{text}");
    }
}
