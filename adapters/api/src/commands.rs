//! `POST /v1/commands`: a command line, done here, with its output as it comes.
//!
//! ```text
//! → {"args": ["vsiflow", "get"], "files": [{"name": "web.yaml", "content": BASE64}], "directory": null}
//! ← {"stdout": "NAME   PHASE\n…"}
//!   {"stderr": "warning: …\n"}
//!   {"exit": 0}
//! ```
//!
//! One JSON object a line (`application/x-ndjson`); bytes that are no text are `stdoutBase64` and
//! `stderrBase64`. The last line is the exit code: an answer without it was cut off, and what became
//! of the command is not known then. What each command may do here is said by the port [`Commands`]:
//! refusals are problems, and nothing is begun.
//!
//! A command that changes something and whose caller went away goes on until it would print; one that
//! only shows something ends with its caller.
//!
//! **Bounds.** `Content-Length` is required, and bodies of all callers together have a limit: whoever
//! sends long files waits for others that do. Output that is not read waits in the sink of the command,
//! not here.

use std::{sync::Arc, time::Duration};

use aide::{
    generate::GenContext,
    openapi::{MediaType, Operation, RequestBody, SchemaObject},
    operation::{OperationInput, set_body},
};
use async_trait::async_trait;
use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Request, State},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::stream;
use http::{StatusCode, header::CONTENT_LENGTH};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use vsiflow_engine::model::Actor;
use vsiflow_workflows::spec::Directory;

use crate::{
    Caller, Problem, Rights,
    router::Api,
    v1::{Lines, Streamed},
};

/// Commands at a time; more wait.
const AT_A_TIME: usize = 64;
/// Answers that follow something, which do little.
const FOLLOWED: usize = 256;
/// How long a command waits for its turn.
const TURN: Duration = Duration::from_secs(60);
/// The longest body, in bytes: files of 64 MiB, encoded.
const LONGEST: u64 = 96 * 1024 * 1024;
/// The longest of somebody who may only look, who has no files to send.
const LONGEST_LOOK: u64 = 64 * 1024;
/// Bodies of all callers together, in KiB.
const BODIES: usize = 256 * 1024;
/// How long a body may take to come.
const COMING: Duration = Duration::from_secs(30);
/// The longest piece of output in one line, in bytes.
const PIECE: usize = 64 * 1024;
/// Lines that wait for their reader.
const LINES: usize = 4;

/// A command line and the files that it names, as they go over the wire.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandRequest {
    /// The words, the program's name first.
    pub args: Vec<String>,
    /// The files that it reads, which its caller read.
    #[serde(default)]
    pub files: Vec<CommandFile>,
    /// The caller's directory that the files are in, where that is the only one it named.
    #[serde(default)]
    #[schemars(with = "Option<serde_json::Value>")]
    pub directory: Option<Directory>,
}

/// A file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CommandFile {
    /// As the caller named it.
    pub name: String,
    /// Its bytes, in base64.
    #[serde(with = "base64_bytes")]
    #[schemars(with = "String")]
    pub content: Vec<u8>,
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
    /// A piece of output; `to_err` says where it goes.
    pub fn output(to_err: bool, bytes: &[u8]) -> Self {
        match (to_err, std::str::from_utf8(bytes)) {
            (false, Ok(text)) => Self::Stdout(text.to_owned()),
            (true, Ok(text)) => Self::Stderr(text.to_owned()),
            (false, Err(_)) => Self::StdoutBase64(BASE64_STANDARD.encode(bytes)),
            (true, Err(_)) => Self::StderrBase64(BASE64_STANDARD.encode(bytes)),
        }
    }
}

/// A command to be done.
#[derive(Clone, Debug)]
pub struct CallerCommand {
    /// What is asked.
    pub request: CommandRequest,
    /// Who asks, as the history names them.
    pub actor: Actor,
}

/// What a command line comes to, before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// What somebody has to be allowed.
    pub needs: Rights,
    /// Whether it goes on until somebody ends it.
    pub follows: bool,
}

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandEnd {
    /// Its exit code.
    pub exit: u8,
    /// What went wrong, where it said so by an error; it was printed, too.
    pub problem: Option<Problem>,
}

/// Where output goes, piece by piece; sending waits for the reader.
pub type CommandOutput = mpsc::Sender<(bool, Vec<u8>)>;

/// Whoever does commands: the composition of the program. A test has one of its own.
#[async_trait]
pub trait Commands: Send + Sync + 'static {
    /// The user as the history names them.
    fn actor(&self, uid: u32) -> Actor;

    /// What a command line comes to.
    ///
    /// # Errors
    /// When it is none, or nothing that is done here.
    fn about(&self, args: &[String]) -> Result<About, Problem>;

    /// Does it. A closed output means that nobody reads it any more.
    async fn run(&self, command: CallerCommand, output: CommandOutput) -> CommandEnd;
}

/// What commands share.
pub(crate) struct Turns {
    commands: Arc<Semaphore>,
    followed: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            commands: Arc::new(Semaphore::new(AT_A_TIME)),
            followed: Arc::new(Semaphore::new(FOLLOWED)),
            bodies: Arc::new(Semaphore::new(BODIES)),
        }
    }
}

impl Turns {
    async fn turn(&self, about: About) -> Result<OwnedSemaphorePermit, Problem> {
        let places = if about.follows {
            &self.followed
        } else {
            &self.commands
        };
        match timeout(TURN, places.clone().acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Problem::busy("too many commands at a time")),
        }
    }

    async fn body(&self, length: u64) -> Result<OwnedSemaphorePermit, Problem> {
        let places = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
        let bodies = self.bodies.clone().acquire_many_owned(places);
        match timeout(TURN, bodies).await {
            Ok(Ok(body)) => Ok(body),
            _ => Err(Problem::busy("too much is being sent at a time")),
        }
    }
}

/// The body of a request for a command; it is not read before there is a place for it.
pub(crate) struct CommandBody(Request);

impl<S: Sync> axum::extract::FromRequest<S> for CommandBody {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(request))
    }
}

impl OperationInput for CommandBody {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let content = MediaType {
            schema: Some(SchemaObject {
                json_schema: ctx.schema.subschema_for::<CommandRequest>(),
                example: None,
                external_docs: None,
            }),
            ..MediaType::default()
        };
        let body = RequestBody {
            content: [("application/json".to_owned(), content)].into(),
            required: true,
            ..RequestBody::default()
        };
        set_body(ctx, operation, body);
    }
}

/// Does a command and answers with what it prints.
pub(crate) async fn run(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    CommandBody(body): CommandBody,
) -> Result<Streamed<Lines, CommandLine>, Problem> {
    let (request, held) = read(&api, caller.rights, body).await?;
    let about = api.commands().about(&request.args);
    let about = match caller.rights {
        Rights::Everything => about?,
        // What is nothing that is done here is nothing to look at, either.
        rights => about
            .ok()
            .filter(|about| about.needs <= rights)
            .ok_or_else(|| caller.refused())?,
    };
    let turn = api.turns().turn(about).await?;
    let command = CallerCommand {
        request,
        actor: caller.actor,
    };
    let lines = begin(&api, command, about, (held, turn));
    let streamed = stream::unfold(lines, |mut lines| async move {
        let line: Bytes = lines.recv().await?;
        Some((Ok::<_, std::io::Error>(line), lines))
    });
    Ok(Streamed::of(Body::from_stream(streamed)))
}

/// Begins with a command; its lines come out here.
fn begin(
    api: &Api,
    command: CallerCommand,
    about: About,
    held: impl Send + 'static,
) -> mpsc::Receiver<Bytes> {
    let (to_lines, lines) = mpsc::channel(LINES);
    let commands = api.commands().clone();
    api.tasks().spawn(async move {
        let print = async |output_lines: mpsc::Sender<Bytes>| {
            let (output, printed) = mpsc::channel(LINES);
            let work = commands.run(command, output);
            let (end, ()) = tokio::join!(work, tell(printed, &output_lines));
            let _ = output_lines.send(line(&CommandLine::Exit(end.exit))).await;
        };
        let gone = to_lines.clone();
        tokio::select! {
            () = print(to_lines) => {}
            () = gone.closed(), if about.needs == Rights::Look => {}
        }
        drop(held);
    });
    lines
}

/// Hands on what is printed. Once nobody reads it, whoever prints is told.
async fn tell(mut printed: mpsc::Receiver<(bool, Vec<u8>)>, to_lines: &mpsc::Sender<Bytes>) {
    while let Some((to_err, bytes)) = printed.recv().await {
        for piece in bytes.chunks(PIECE) {
            let line = line(&CommandLine::output(to_err, piece));
            if to_lines.send(line).await.is_err() {
                return;
            }
        }
    }
}

/// What a command printed.
pub(crate) struct Printed {
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
    pub(crate) end: CommandEnd,
}

/// Does a command to its end, for an answer of its own form.
pub(crate) async fn collect(
    api: &Api,
    caller: &Caller,
    request: CommandRequest,
) -> Result<Printed, Problem> {
    let about = api.commands().about(&request.args)?;
    let _turn = api.turns().turn(about).await?;
    let command = CallerCommand {
        request,
        actor: caller.actor.clone(),
    };
    let (output, mut printed) = mpsc::channel(LINES);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let gather = async {
        while let Some((to_err, bytes)) = printed.recv().await {
            if to_err {
                err.extend(bytes)
            } else {
                out.extend(bytes)
            }
        }
    };
    let (end, ()) = tokio::join!(api.commands().run(command, output), gather);
    Ok(Printed { out, err, end })
}

fn line(line: &CommandLine) -> Bytes {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// What is asked, and the room that it takes.
async fn read(
    api: &Api,
    rights: Rights,
    request: Request,
) -> Result<(CommandRequest, OwnedSemaphorePermit), Problem> {
    let longest = match rights {
        Rights::Look => LONGEST_LOOK,
        Rights::Operate | Rights::Everything => LONGEST,
    };
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let length = length
        .ok_or_else(|| Problem::wrong(StatusCode::LENGTH_REQUIRED, "there is no Content-Length"))?;
    let held = if length <= longest {
        api.turns().body(length).await?
    } else {
        return Err(too_long(longest));
    };
    let body = bytes(request.into_body(), longest).await?;
    let parsed = serde_json::from_slice(&body);
    let parsed = parsed.map_err(|error| {
        let detail = format!("the body cannot be read: {error}");
        Problem::wrong(StatusCode::BAD_REQUEST, detail)
    })?;
    Ok((parsed, held))
}

/// A body that is bounded in length and time.
pub(crate) async fn bytes(body: Body, longest: u64) -> Result<Bytes, Problem> {
    // What says so beforehand is not read.
    if body.size_hint().lower() > longest {
        return Err(too_long(longest));
    }
    let most = usize::try_from(longest).unwrap_or(usize::MAX);
    let read = timeout(COMING, Limited::new(body, most).collect()).await;
    let read = read.map_err(|_| {
        let detail = "the body did not come in time";
        Problem::wrong(StatusCode::REQUEST_TIMEOUT, detail)
    })?;
    let read = read.map_err(|error| {
        if error.is::<LengthLimitError>() {
            too_long(longest)
        } else {
            Problem::wrong(StatusCode::BAD_REQUEST, error.to_string())
        }
    })?;
    Ok(read.to_bytes())
}

fn too_long(longest: u64) -> Problem {
    let detail = format!("the body is longer than {longest} bytes");
    Problem::wrong(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

mod base64_bytes {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        BASE64_STANDARD
            .decode(text.as_bytes())
            .map_err(|_| D::Error::custom("a file's content is no base64"))
    }
}
