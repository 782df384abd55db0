//! The port that runs command lines, and the format of requests and answers.
//!
//! ```text
//! → {"args": ["vsiflow", "adopt", "web", "-f", "host.yaml"], "files": [{"name": "host.yaml", "content": BASE64}]}
//! ← {"stdout": "vsi/web is adopted without changes\n"}
//!   {"stderr": "warning: …\n"}
//!   {"exit": 0}
//! ```
//!
//! One JSON object per line (`application/x-ndjson`); bytes that are not text are `stdoutBase64` and
//! `stderrBase64`. The last line is the exit code: an answer without it was cut off, and the result of
//! the command is unknown then. The port [`Commands`] decides what each command may do here: refusals
//! are problems, and the command is not started. [`run`] runs a command within its limits.

pub(crate) mod run;

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use vsiflow_engine::model::{Actor, Who};

use crate::{Caller, Problem, SentFile};

/// A command line and the files that it names, as they go over the wire.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandRequest {
    /// The words, the program's name first.
    pub args: Vec<String>,
    /// The files that it reads, which its caller read.
    #[serde(default)]
    pub files: Vec<SentFile>,
    /// Whether trees are to be drawn in ASCII.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ascii: bool,
}

/// A line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CommandLine {
    /// Results.
    Stdout(String),
    /// Results that are no text, in base64.
    StdoutBase64(String),
    /// What is said beside them.
    Stderr(String),
    /// The same that is no text, in base64.
    StderrBase64(String),
    /// The exit code; the last line.
    Exit(u8),
}

impl CommandLine {
    /// A piece of output, to stderr if `to_err`, otherwise to stdout.
    pub fn output(to_err: bool, bytes: &[u8]) -> Self {
        match (to_err, std::str::from_utf8(bytes)) {
            (false, Ok(text)) => Self::Stdout(text.to_owned()),
            (true, Ok(text)) => Self::Stderr(text.to_owned()),
            (false, Err(_)) => Self::StdoutBase64(BASE64_STANDARD.encode(bytes)),
            (true, Err(_)) => Self::StderrBase64(BASE64_STANDARD.encode(bytes)),
        }
    }
}

/// A command with its caller.
#[derive(Clone, Debug)]
pub struct CallerCommand {
    /// The command line and its files.
    pub request: CommandRequest,
    /// Who asked for it.
    pub caller: Caller,
}

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandEnd {
    /// Its exit code.
    pub exit: u8,
    /// The error that it ended with, if it reported one; it was printed too.
    pub problem: Option<Problem>,
    /// The code of the first error that it printed.
    pub code: Option<String>,
}

/// The channel for output: whether it is stderr, and the bytes. Sending waits for the reader.
pub type CommandOutput = mpsc::Sender<(bool, Vec<u8>)>;

/// Runs commands: implemented by the composition of the program, and by tests.
#[async_trait]
pub trait Commands: Send + Sync + 'static {
    /// The name of a user in the history.
    fn actor(&self, uid: u32) -> Actor;

    /// Whether this process continues with work that callers asked for.
    fn stays(&self) -> bool;

    /// Checks that a command line can be run here. Whoever sends it has all rights.
    ///
    /// # Errors
    /// If it is not a valid command line, or the command cannot be run here.
    fn check(&self, args: &[String]) -> Result<(), Problem>;

    /// Runs a command. A closed output means that the caller does not read it any more.
    async fn run(&self, command: CallerCommand, output: CommandOutput) -> CommandEnd;
}

/// Runs nothing: of a process that answers its own requests alone.
#[derive(Clone, Copy, Debug)]
pub struct NoCommands;

#[async_trait]
impl Commands for NoCommands {
    fn actor(&self, uid: u32) -> Actor {
        let name = Who::new("");
        Actor::Unix { uid, name }
    }

    fn stays(&self) -> bool {
        false
    }

    fn check(&self, _args: &[String]) -> Result<(), Problem> {
        let detail = "no command lines are run here";
        Err(Problem::wrong(StatusCode::BAD_REQUEST, detail))
    }

    async fn run(&self, _command: CallerCommand, _output: CommandOutput) -> CommandEnd {
        CommandEnd::default()
    }
}

pub(crate) mod base64_bytes {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        BASE64_STANDARD
            .decode(text.as_bytes())
            .map_err(|_| D::Error::custom("a file's content is not base64"))
    }
}
