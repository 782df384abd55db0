//! The key that seals secrets and requests: from a file, or from a program that prints it.
//!
//! Each process has one source of the key. A program supplies a key that is not in a file, such as one that a
//! key management service unwraps. It is run once, when the key is first needed, which is at the start of
//! anything that needs a journal.
//!
//! This module reads only the file and runs only the program that this process was started with. Callers'
//! command lines are parsed with the same options, so [`sealer`] has no arguments: its callers cannot choose
//! the source. No shell interprets the command.
//!
//! Guarantees:
//! - Nothing that the program prints is shown, and everything read from it is wiped.
//! - The program and its children are killed at a deadline, and a key over [`MAX_LEN`] bytes is refused.

use std::{path::PathBuf, process::Stdio, sync::OnceLock, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    sync::OnceCell,
    time::timeout,
};
use vsiflow_engine::secret::Secret;
use vsiflow_postgres::{PostgresError, seal::Sealer};
use zeroize::Zeroizing;

use crate::{
    args::Common,
    exit::{Exit, ExitProblem, database_problem as problem},
};

/// The longest key with its comments, in bytes.
const MAX_LEN: usize = 64 << 10;
/// Additional capacity, so that the buffer never grows: growing would leave a copy of the key.
const SPARE: usize = 64;
/// How long the program may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// The source of this process's key.
#[derive(Clone, Debug)]
enum KeySource {
    None,
    File(PathBuf),
    Command(String),
    /// Both options were given, which is an error.
    Both,
}

static SOURCE: OnceLock<KeySource> = OnceLock::new();
static KEY: OnceCell<Option<Sealer>> = OnceCell::const_new();

/// Sets the source of the key, from this process's own command line and environment.
pub(crate) fn comes_from(own: &Common) {
    let source = match (&own.journal_key, &own.journal_key_command) {
        (None, None) => KeySource::None,
        (Some(file), None) => KeySource::File(file.clone()),
        (None, Some(command)) => KeySource::Command(command.clone()),
        (Some(_), Some(_)) => KeySource::Both,
    };
    // Only the first call counts.
    let _ = SOURCE.set(source);
}

/// The key, if this process has one.
///
/// # Errors
/// VSI0835 if it cannot be read, and VSI0843 if its program does not print it.
pub(crate) async fn sealer() -> Result<Option<Sealer>, ExitProblem> {
    let source = SOURCE.get().unwrap_or(&KeySource::None);
    let read = KEY.get_or_try_init(|| read(source)).await?;
    Ok(read.clone())
}

/// The key that seals requests.
///
/// # Errors
/// As [`sealer`], and VSI0835 if this process has no key.
pub(crate) async fn needed() -> Result<Sealer, ExitProblem> {
    sealer().await?.ok_or_else(|| {
        let message = "what processes of a set ask of one another is sealed, and no key is named";
        let remedy = "make one with `age-keygen -o FILE` and name it with --journal-key FILE, everywhere the same, or name a program that \
                      prints it with --journal-key-command";
        ExitProblem::new(Exit::Usage, "VSI0835", message, remedy)
    })
}

async fn read(source: &KeySource) -> Result<Option<Sealer>, ExitProblem> {
    match source {
        KeySource::None => Ok(None),
        KeySource::File(path) => {
            let unreadable = |why: String| problem(PostgresError::Key(why));
            let read = of_file(path).await;
            let text = read.map_err(|error| unreadable(format!("{}: {error}", path.display())))?;
            let sealer = Sealer::read(text.expose_str().unwrap_or_default());
            sealer.map(Some).map_err(problem)
        }
        KeySource::Command(command) => of_command(command, DEADLINE).await.map(Some),
        KeySource::Both => {
            let message = "both a file and a command are named for the journal's key";
            let remedy = "name one of --journal-key (VSIFLOW_JOURNAL_KEY) and --journal-key-command \
                          (VSIFLOW_JOURNAL_KEY_COMMAND)";
            Err(ExitProblem::new(Exit::Usage, "VSI0835", message, remedy))
        }
    }
}

async fn of_file(path: &PathBuf) -> std::io::Result<Secret> {
    bounded(tokio::fs::File::open(path).await?).await
}

/// Reads up to one byte more than the limit, to detect longer input.
async fn bounded(from: impl AsyncRead + Unpin) -> std::io::Result<Secret> {
    let most = MAX_LEN.saturating_add(1);
    let room = most.saturating_add(SPARE);
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    from.take(limit).read_to_end(&mut text).await?;
    Ok(Secret::new(std::mem::take(&mut *text)))
}

/// Runs a program that prints the key.
async fn of_command(command: &str, deadline: Duration) -> Result<Sealer, ExitProblem> {
    let words = words(command).map_err(|why| {
        let message = format!("the command of the journal's key cannot be read: {why}");
        let remedy = "write a program and its arguments, separated by spaces; '…' and \"…\" hold one together";
        ExitProblem::new(Exit::Usage, "VSI0843", message, remedy)
    })?;
    let (program, arguments) = words;
    let failed = |why: String| {
        // Without its arguments, which may be confidential.
        let message = format!("`{program}` does not give the journal's key: {why}");
        let remedy = "run it as this user: it has to print one key, as `age-keygen` makes it, and end with 0";
        ExitProblem::new(Exit::Failed, "VSI0843", message, remedy)
    };
    let printed = timeout(deadline, printed(&program, &arguments)).await;
    let late = |_| failed(format!("it took longer than {} s", deadline.as_secs()));
    let text = printed.map_err(late)?.map_err(failed)?;
    let text = text
        .expose_str()
        .ok_or_else(|| failed("it printed no text".to_owned()))?;
    Sealer::read(text).map_err(|_| failed("it printed no key that `age-keygen` makes".to_owned()))
}

/// Runs a program and returns its output if it succeeds. Cancel safe: the program is killed.
async fn printed(program: &str, arguments: &[String]) -> Result<Secret, String> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut running = Running(child.map_err(|error| format!("it cannot be run: {error}"))?);
    let cannot = |error: std::io::Error| format!("it cannot be read: {error}");
    let output = running.0.stdout.take().ok_or("it has no standard output")?;
    let text = bounded(output).await.map_err(cannot)?;
    if text.expose().len() > MAX_LEN {
        return Err(format!("it printed more than {} KiB", MAX_LEN >> 10));
    }
    let status = running.0.wait().await.map_err(cannot)?;
    match (status.success(), text.expose().is_empty()) {
        (false, _) => Err(format!("it ended with {status}")),
        (true, true) => Err("it printed nothing".to_owned()),
        (true, false) => Ok(text),
    }
}

/// A running program. Dropping it kills it and everything that it started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process_group};
        // After its end was observed there is no process ID: another process may have it by then.
        let number = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = number.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Splits a command into words at spaces; `'…'` and `"…"` hold one word together. There are no escapes,
/// variables or patterns.
fn words(command: &str) -> Result<(String, Vec<String>), &'static str> {
    let mut words = Vec::new();
    // `Some` within a word, which may be empty, as `''` is.
    let mut word: Option<String> = None;
    let mut held_by = None;
    for letter in command.chars() {
        match held_by {
            Some(quote) if letter == quote => held_by = None,
            None if letter == '\'' || letter == '"' => {
                held_by = Some(letter);
                word.get_or_insert_default();
            }
            None if letter.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if held_by.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    let mut words = words.into_iter();
    match words.next() {
        Some(program) if !program.is_empty() => Ok((program, words.collect())),
        _ => Err("it names no program"),
    }
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret as _;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// Runs a command that must fail; keys cannot be printed for debugging.
    async fn run_command(command: &str, deadline: Duration) -> String {
        let key = of_command(command, deadline).await;
        let problem = key.map(drop).unwrap_err();
        format!("{}: {} {}", problem.code, problem.message, problem.remedy)
    }

    fn of_shell(script: &str) -> String {
        format!("/bin/sh -c '{script}'")
    }

    #[test]
    fn words_are_split_at_spaces_and_held_by_quotes_alone() {
        let split = |command: &str| {
            let (program, arguments) = words(command).unwrap();
            [vec![program], arguments].concat()
        };
        assert_eq!(split("/usr/bin/key"), ["/usr/bin/key"]);
        assert_eq!(split(" key  -r\ta "), ["key", "-r", "a"]);
        assert_eq!(
            split(r#"key 'a b' "c 'd'" e\ $HOME * '' x"y z""#),
            ["key", "a b", "c 'd'", r"e\", "$HOME", "*", "", "xy z"]
        );
        for bad in ["", "  ", "''", "'' a", "key 'a", "key \""] {
            assert!(words(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_program_prints_the_key() {
        let key = age::x25519::Identity::generate().to_string();
        let command = of_shell(&format!(
            "echo \"# made today\"; echo {}",
            key.expose_secret()
        ));
        assert!(of_command(&command, DEADLINE).await.is_ok());
    }

    #[tokio::test]
    async fn what_a_program_prints_is_never_said() {
        let scripts = [
            ("echo hunter2", "it printed no key"),
            ("echo hunter2; exit 3", "it ended with exit status: 3"),
            ("echo hunter2 >&2; kill -9 $$", "it ended with signal: 9"),
            ("exit 0", "it printed nothing"),
            ("printf \"\\377hunter2\"", "it printed no text"),
            ("yes hunter2", "it printed more than 64 KiB"),
        ];
        for (script, why) in scripts {
            let message = run_command(&of_shell(script), DEADLINE).await;
            assert!(message.starts_with("VSI0843: `/bin/sh` "), "{message}");
            assert!(message.contains(why), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
        let message = run_command("/nowhere/key --token hunter2", DEADLINE).await;
        assert!(
            message.contains("`/nowhere/key`") && message.contains("it cannot be run"),
            "{message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let (pid, path) = (folder.path().join("pid"), folder.path().display());
        let script = format!("sleep 600 & echo $! > {path}/new; mv {path}/new {path}/pid; wait");
        let begun = Instant::now();
        let message = run_command(&of_shell(&script), Duration::from_secs(2)).await;
        assert!(message.contains("it took longer than 2 s"), "{message}");
        assert!(begun.elapsed() < Duration::from_secs(60));
        let pid = std::fs::read_to_string(pid).unwrap();
        let there = format!("/proc/{}/stat", pid.trim());
        let runs = || std::fs::read_to_string(&there).is_ok_and(|stat| !stat.contains(") Z "));
        while runs() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it runs on");
            sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn a_key_from_two_places_is_refused() {
        let refused = read(&KeySource::Both).await.map(drop).unwrap_err();
        assert_eq!(
            (refused.exit, refused.code.as_str()),
            (Exit::Usage, "VSI0835")
        );
        assert!(read(&KeySource::None).await.unwrap().is_none());
    }
}
