//! Runs `kubectl`, and through it `vsiflow` in the pod that holds the Lease.

use std::{io, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
};
use vsiflow_kube::plugin::PodPlace;

use super::{
    access::{ClusterAccess, problem},
    args::{PluginHistoryArgs, PluginLogsArgs, PluginPlanArgs, PluginRetryArgs},
};
use crate::{
    args::{HistoryFormat, OutputFormat},
    exit::{CommandOutcome, Exit, ExitProblem},
    output::{self, times::Times},
    work,
};

/// The name of the container, and of the binary in it.
const CONTAINER: &str = "vsiflow";
const BINARY: &str = "vsiflow";
/// The line that kubectl adds when a command in a container failed; the exit code contains the same.
const ADDED: &str = "command terminated with exit code ";
/// The prefix of kubectl's message when the API server denied access.
const FORBIDDEN: &str = "Error from server (Forbidden)";
/// The prefix of kubectl's message when the object does not exist.
const NOT_FOUND: &str = "Error from server (NotFound)";
/// The most bytes of documents in one plan.
const MAX: u64 = 64 * 1024 * 1024;

/// The failure that kubectl itself reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KubectlFailure {
    Nothing,
    Forbidden,
    NotFound,
}

impl KubectlFailure {
    /// Reads a line of kubectl's standard error. kubectl ends with status 1 for every failure of its own, and
    /// prints the reason of the API server's `Status` in brackets.
    fn of(line: &str) -> Option<Self> {
        match line {
            line if line.starts_with(FORBIDDEN) && line.contains("pods") => Some(Self::Forbidden),
            line if line.starts_with(NOT_FOUND) => Some(Self::NotFound),
            _ => None,
        }
    }
}

/// The standard input of a command in the pod.
enum PodInput {
    /// Nothing.
    Nothing,
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// No bytes, but no end while the caller runs: the command ends with its caller.
    Open,
}

pub(super) async fn get(there: &ClusterAccess<'_>, rest: Vec<String>) -> CommandOutcome {
    let mut words = there.access.words();
    if let Some(namespace) = &there.access.namespace {
        words.push(format!("--namespace={namespace}"));
    }
    words.extend(["get".to_owned(), "onprem-hpcrs".to_owned()]);
    words.extend(rest);
    run(words, PodInput::Nothing).await
}

pub(super) async fn history(there: &ClusterAccess<'_>, args: PluginHistoryArgs) -> CommandOutcome {
    let mut words = vec!["history".to_owned(), args.name.clone()];
    if let Some(from) = args.from_offset {
        words.push(format!("--from-offset={from}"));
    }
    match args.output {
        Some(HistoryFormat::Json) => words.push("--output=json".to_owned()),
        Some(HistoryFormat::Wide) => words.push("--output=wide".to_owned()),
        None => {}
    }
    words.extend(args.events.then(|| "--events".to_owned()));
    if args.times.time == Times::Absolute {
        words.push("--time=absolute".to_owned());
    }
    follow(there, &args.name, words, args.follow).await
}

pub(super) async fn logs(there: &ClusterAccess<'_>, args: PluginLogsArgs) -> CommandOutcome {
    let mut words = vec!["logs".to_owned(), args.name.clone()];
    if let Some(tail) = args.tail {
        words.push(format!("--tail={tail}"));
    }
    for (is_set, word) in [(args.failed, "--failed"), (args.definition, "--definition")] {
        words.extend(is_set.then(|| word.to_owned()));
    }
    follow(there, &args.name, words, args.follow).await
}

async fn follow(
    there: &ClusterAccess<'_>,
    name: &str,
    mut words: Vec<String>,
    on: bool,
) -> CommandOutcome {
    words.extend(on.then(|| "--follow".to_owned()));
    let input = if on {
        PodInput::Open
    } else {
        PodInput::Nothing
    };
    ask(there, name, words, input).await
}

pub(super) async fn retry(there: &ClusterAccess<'_>, args: PluginRetryArgs) -> CommandOutcome {
    let mut words = vec!["retry".to_owned()];
    words.extend(args.names.iter().cloned());
    words.extend(args.wait.then(|| "--wait".to_owned()));
    words.push(reason(&args.reason));
    let first = args.names.first().cloned().unwrap_or_default();
    ask(there, &first, words, PodInput::Nothing).await
}

pub(super) async fn cancel(there: &ClusterAccess<'_>, name: &str, why: &str) -> CommandOutcome {
    let words = vec!["cancel".to_owned(), name.to_owned(), reason(why)];
    ask(there, name, words, PodInput::Nothing).await
}

/// The actor is the process's user in the pod, so the reason records that the request came through kubectl.
fn reason(why: &str) -> String {
    match why {
        "" => "--reason=kubectl vsi".to_owned(),
        why => format!("--reason=kubectl vsi: {why}"),
    }
}

/// What applying files would change: the API server computes the resources, including its
/// admission, and the process that serves them computes the plan.
pub(super) async fn plan(there: &ClusterAccess<'_>, args: PluginPlanArgs) -> CommandOutcome {
    let documents = dry_run(there, &args).await?;
    let mut words = vec!["plan".to_owned(), "--filename=-".to_owned()];
    let format = args.output.map(OutputFormat::word);
    words.extend(format.map(|format| format!("--output={format}")));
    let pod = pod_of(there, None).await?;
    let words = in_pod(there, &pod, words, None);
    run(words, PodInput::Bytes(documents)).await
}

async fn dry_run(there: &ClusterAccess<'_>, args: &PluginPlanArgs) -> Result<Vec<u8>, ExitProblem> {
    let mut words = there.access.words();
    words.push(format!("--namespace={}", there.cluster.namespace()));
    words.extend(["apply", "--dry-run=server", "--output=yaml"].map(str::to_owned));
    words.extend(args.files.iter().map(|file| format!("--filename={file}")));
    let mut command = Command::new("kubectl");
    command.args(words).kill_on_drop(true);
    command.stdin(Stdio::inherit()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(unrunnable)?;
    let mut documents = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let read = stdout.take(MAX).read_to_end(&mut documents).await;
        read.map_err(unrunnable)?;
    }
    let status = child.wait().await.map_err(unrunnable)?;
    if status.success() {
        Ok(documents)
    } else {
        // The problem is already printed.
        Err(ExitProblem::new(Exit::Usage, "", "", ""))
    }
}

/// Runs `vsiflow` in the pod that serves the VSI, and prints its answer.
async fn ask(
    there: &ClusterAccess<'_>,
    name: &str,
    words: Vec<String>,
    input: PodInput,
) -> CommandOutcome {
    let pod = pod_of(there, Some(name)).await?;
    let interactive = matches!(input, PodInput::Open).then_some("-i");
    let mut words = words;
    words.push(format!("--namespace={}", there.cluster.namespace()));
    run(in_pod(there, &pod, words, interactive), input).await
}

fn in_pod(
    there: &ClusterAccess<'_>,
    pod: &PodPlace,
    words: Vec<String>,
    interactive: Option<&str>,
) -> Vec<String> {
    let fed = words
        .iter()
        .any(|word| word == "--filename=-")
        .then_some("-i");
    let mut all = there.access.words();
    all.push(format!("--namespace={}", pod.namespace));
    all.push("exec".to_owned());
    all.extend(interactive.or(fed).map(str::to_owned));
    all.extend(
        [
            pod.name.as_str(),
            "-c",
            CONTAINER,
            "--",
            BINARY,
            "--remote-caller",
        ]
        .map(str::to_owned),
    );
    all.extend(words);
    all
}

/// The pod that `--pod` names; else the holder of the Lease that is named; else the holder of the
/// Lease in the VSI's status.
async fn pod_of(there: &ClusterAccess<'_>, name: Option<&str>) -> Result<PodPlace, ExitProblem> {
    if let Some(pod) = &there.access.pod {
        let (namespace, pod_name) = place(pod, "--pod NAMESPACE/POD")?;
        return Ok(PodPlace {
            namespace,
            name: pod_name,
        });
    }
    let lease = match (&there.access.operator, name) {
        (Some(lease), _) => lease.clone(),
        (None, Some(name)) => {
            let vsi = there.cluster.vsi(name).await.map_err(problem)?;
            vsi.status.served_by.ok_or_else(unserved)?
        }
        (None, None) => there
            .cluster
            .any_lease()
            .await
            .map_err(problem)?
            .ok_or_else(unserved)?,
    };
    let (namespace, lease) = place(&lease, "--operator NAMESPACE/LEASE")?;
    there
        .cluster
        .acting(&namespace, &lease)
        .await
        .map_err(problem)
}

fn place(text: &str, form: &str) -> Result<(String, String), ExitProblem> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err(ExitProblem::new(
            Exit::Usage,
            "VSI0801",
            format!("{text} names no place"),
            &format!("write {form}"),
        )),
    }
}

fn unserved() -> ExitProblem {
    ExitProblem::new(
        Exit::NotFound,
        "VSI1022",
        "no status here names a Lease: nothing serves these resources, or it runs without \
         --leader-elect",
        "name its Lease with --operator NAMESPACE/LEASE or $VSIFLOW_OPERATOR, or its pod with \
         --pod NAMESPACE/POD",
    )
}

/// Runs kubectl, prints its output, and returns its exit.
async fn run(words: Vec<String>, input: PodInput) -> CommandOutcome {
    let mut command = Command::new("kubectl");
    command.args(words).kill_on_drop(true);
    command.stdin(match input {
        PodInput::Nothing => Stdio::null(),
        _ => Stdio::piped(),
    });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(unrunnable)?;
    let (exit, failure) = tokio::select! {
        ended = run_to_end(&mut child, input) => ended?,
        () = work::interrupted() => (Exit::Interrupted, KubectlFailure::Nothing),
    };
    match failure {
        KubectlFailure::Forbidden if exit != Exit::Done => Err(ExitProblem::new(
            Exit::Failed,
            "VSI1023",
            "this user may not run commands in the pod that serves the VSIs",
            "ask for `create` and `get` on pods/exec in its namespace; `kubectl vsi describe` \
             needs neither",
        )),
        KubectlFailure::NotFound if exit != Exit::Done => Ok(Exit::NotFound),
        _ => Ok(exit),
    }
}

async fn run_to_end(
    child: &mut Child,
    input: PodInput,
) -> Result<(Exit, KubectlFailure), ExitProblem> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    // While standard input is open, the command in the pod continues to run.
    let held = async {
        let mut stdin = stdin?;
        let PodInput::Bytes(bytes) = input else {
            return Some(stdin);
        };
        // A command that does not read its input reports the reason on standard error.
        let _ = stdin.write_all(&bytes).await;
        None
    };
    let (held, printed, failure) = tokio::join!(held, print(stdout), forward_errors(stderr));
    printed?;
    let status = child.wait().await.map_err(unrunnable)?;
    drop(held);
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let exit = code.map_or(Exit::Interrupted, Exit::of);
    Ok((exit, failure))
}

/// Prints the output. It may contain text of a guest, so control sequences are made harmless.
async fn print(from: Option<impl AsyncRead + Unpin>) -> Result<(), ExitProblem> {
    let Some(mut from) = from else { return Ok(()) };
    let mut piece = vec![0; 64 * 1024];
    loop {
        match from.read(&mut piece).await {
            Ok(0) => return Ok(()),
            Ok(read) => output::console(piece.get(..read).unwrap_or_default())?,
            Err(error) => return Err(unrunnable(error)),
        }
    }
}

/// Passes on standard error, and detects failures of kubectl itself.
async fn forward_errors(from: Option<impl AsyncRead + Unpin>) -> KubectlFailure {
    let Some(from) = from else {
        return KubectlFailure::Nothing;
    };
    let mut lines = BufReader::new(from).lines();
    let mut failure = KubectlFailure::Nothing;
    while let Ok(Some(text)) = lines.next_line().await {
        failure = KubectlFailure::of(&text).unwrap_or(failure);
        if !text.starts_with(ADDED) {
            output::note(&text);
        }
    }
    failure
}

fn unrunnable(error: io::Error) -> ExitProblem {
    ExitProblem::new(
        Exit::Failed,
        "VSI1023",
        format!("kubectl cannot be run: {error}"),
        "see that kubectl is on the PATH",
    )
}
