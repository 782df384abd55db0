//! `image upload`: sends a local file to the cluster, through the subresource API.
//!
//! The file is read twice: first for its SHA-256, by which the hosts know it, then piece by piece as hosts
//! need it, in parallel. No progress is stored: each host reports which byte it needs next. So the same
//! command resumes after this process, the operator or the connection failed.

use std::{io::IsTerminal as _, time::Duration};

use futures::{FutureExt as _, future::FusedFuture as _};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, sleep_until, timeout};
use vsiflow_kube::plugin::{Cluster, LocalFile, PluginError, UploadStatus, UploadedImage};

use super::{
    access::{ClusterAccess, problem},
    args::PluginImageUploadArgs,
    local_file::OpenFile,
    parallel_upload::{PieceOutcome, SideBySide},
};
use crate::{
    exit::{CommandOutcome, Exit, ExitProblem},
    output, work,
};

/// How long the cluster waits for a reader before it answers, in seconds.
const WAIT: u64 = 2;
/// How often the cluster is asked about the file.
const ASK: Duration = Duration::from_secs(5);
/// The delay before the next question if a reader needs something else, or if none needs more.
const SOON: Duration = Duration::from_millis(250);
const LATE: Duration = Duration::from_secs(1);
/// How long to wait without an answer: before the first one, and later, because an operator may take a while
/// to restart.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// How long to wait for another file with the same name.
const OTHER_FILE_TIMEOUT: Duration = Duration::from_secs(75);

const STARVED: &str = "the hosts waited for bytes of this file in vain; they are asked again, after 10 minutes at the latest";

pub(super) async fn run(there: &ClusterAccess<'_>, args: PluginImageUploadArgs) -> CommandOutcome {
    let limit = args.timeout.unwrap_or(Duration::MAX);
    let bar = Bar::new();
    let sending = async {
        let file = OpenFile::read(&args.file, &args.image, |read, length| {
            bar.hashes(read, length)
        });
        let file = file.await?.with_checksum(args.checksum.as_ref());
        let mut upload = FileUpload {
            url: there.cluster.upload_url(&args.image),
            known: file.known.clone(),
            bar: &bar,
            answered: None,
            begun: Instant::now(),
            noted: None,
        };
        upload.run(there.cluster, file).await
    };
    let done = tokio::select! {
        done = timeout(limit, sending) => done,
        () = work::interrupted() => Ok(Ok(Exit::Interrupted)),
    };
    bar.end();
    done.unwrap_or_else(|_| {
        let message = format!("{} was not sent in time", args.file.display());
        Err(late(Exit::TimedOut, &message))
    })
}

fn late(exit: Exit, message: &str) -> ExitProblem {
    let remedy = "run the same command again, which resumes the upload";
    ExitProblem::new(exit, "VSI1037", message, remedy)
}

struct FileUpload<'a> {
    url: String,
    /// The cluster's identification of the file.
    known: LocalFile,
    bar: &'a Bar,
    /// The time of the cluster's last answer.
    answered: Option<Instant>,
    begun: Instant,
    noted: Option<String>,
}

/// The state of the file in the cluster.
enum FileState {
    Done(Vec<UploadedImage>),
    Waits(String),
}

impl FileUpload<'_> {
    /// Asks the cluster repeatedly about the file and its readers, and sends pieces at the same time.
    async fn run(&mut self, cluster: &Cluster, mut file: OpenFile) -> CommandOutcome {
        let known = file.known.clone();
        let mut side = SideBySide::new(|to, piece| cluster.send(&known, to, piece).boxed());
        let mut asking = cluster.announce(&known, true, WAIT).boxed().fuse();
        let mut ask_at = Instant::now();
        let mut retry = true;
        loop {
            self.bar.sent(side.least(), known.length);
            tokio::select! {
                announced = &mut asking => {
                    let status = match announced {
                        Ok(status) => status,
                        Err(error) => {
                            ask_at = self.again(error)?;
                            continue;
                        }
                    };
                    retry = false;
                    self.answered = Some(Instant::now());
                    if let Some(exit) = self.judge(&status)? {
                        return Ok(exit);
                    }
                    side.know(&status.readers);
                    side.start(&mut file).await?;
                    ask_at = after(match (side.is_sending(), status.readers.is_empty()) {
                        (true, _) => ASK,
                        // The hosts now verify what they have.
                        (false, false) => LATE,
                        // The cluster has already waited for a reader.
                        (false, true) => Duration::ZERO,
                    });
                }
                answer = side.next() => match side.on_answer(answer) {
                    PieceOutcome::Taken => {
                        self.answered = Some(Instant::now());
                        side.start(&mut file).await?;
                        if !side.is_sending() {
                            ask_at = ask_at.min(after(SOON));
                        }
                    }
                    PieceOutcome::Ask => ask_at = ask_at.min(after(SOON)),
                    PieceOutcome::Failed(error) => ask_at = ask_at.min(self.again(error)?),
                },
                () = sleep_until(ask_at), if asking.is_terminated() => {
                    asking = cluster.announce(&known, retry, WAIT).boxed().fuse();
                }
            }
        }
    }

    /// The exit once nothing is left to do.
    fn judge(&mut self, status: &UploadStatus) -> Result<Option<Exit>, ExitProblem> {
        match self.file_state(status)? {
            FileState::Done(images) => {
                self.bar.end();
                for image in images {
                    let (host, pool) = (&image.host, &image.pool);
                    let sha256 = image.sha256.as_deref().unwrap_or_default();
                    let place = format!("host {host}, pool {pool}");
                    output::line(&format!("{} is at {place} (sha256:{sha256})", self.url));
                }
                return Ok(Some(Exit::Done));
            }
            FileState::Waits(_) if status.pause_seconds > 0 => self.note(STARVED.to_owned()),
            FileState::Waits(why) if status.readers.is_empty() => self.note(why),
            FileState::Waits(_) => {}
        }
        Ok(None)
    }

    fn file_state(&self, status: &UploadStatus) -> Result<FileState, ExitProblem> {
        let checksum = self.known.checksum.as_ref();
        let is_own =
            |image: &&UploadedImage| checksum.is_none() || image.checksum.as_ref() == checksum;
        let own: Vec<_> = status.images.iter().filter(is_own).cloned().collect();
        if status.images.is_empty() {
            let checksum = checksum.map_or("that of the image inside", String::as_str);
            return Ok(FileState::Waits(format!(
                "waiting for documents of the namespace with imageURL {} and imageChecksum {checksum}",
                self.url
            )));
        }
        let Some(other) = status.images.first().filter(|_| own.is_empty()) else {
            return Self::own_state(own);
        };
        let named = other.checksum.as_deref().unwrap_or("none");
        let message = format!(
            "the file's checksum is {}; for {} documents name {named}",
            checksum.map_or("", String::as_str),
            self.url
        );
        let remedy = "send the file that they mean, correct imageChecksum in them, or send it under another name";
        Err(ExitProblem::new(Exit::Blocked, "VSI1035", message, remedy))
    }

    fn own_state(own: Vec<UploadedImage>) -> Result<FileState, ExitProblem> {
        if let Some(failure) = own.iter().find_map(|image| image.failure.clone()) {
            return Err(ExitProblem {
                exit: Exit::Blocked,
                code: failure.code,
                message: failure.message,
                host: failure.host,
                object: failure.object,
                remedy: failure.remedy,
                findings: Vec::new(),
            });
        }
        Ok(if own.iter().all(|image| image.ready) {
            FileState::Done(own)
        } else {
            FileState::Waits("waiting until a host needs more of it, or has verified it".to_owned())
        })
    }

    /// When to ask again after an error, if that may help.
    fn again(&mut self, error: PluginError) -> Result<Instant, ExitProblem> {
        // An interrupted upload is over after one minute.
        let is_another =
            matches!(&error, PluginError::ServerError { code, .. } if code == "VSI1035");
        let passes = match &error {
            _ if is_another => self.answered.is_none(),
            PluginError::ServerError { status, .. } => matches!(status, 408 | 429 | 500..),
            PluginError::Unserved(_) | PluginError::Refused { .. } => true,
            _ => false,
        };
        let over = match self.answered {
            Some(answered) => answered.elapsed() > ANSWER_TIMEOUT,
            None if is_another => self.begun.elapsed() > OTHER_FILE_TIMEOUT,
            None => self.begun.elapsed() > FIRST_ANSWER_TIMEOUT,
        };
        if !passes || over {
            return Err(problem(error));
        }
        self.note(format!("asking again: {error}"));
        Ok(after(LATE))
    }

    /// Prints a text, unless it was just printed.
    fn note(&mut self, text: String) {
        if self.noted.as_ref() != Some(&text) {
            self.bar.aside(|| output::note(&text));
            self.noted = Some(text);
        }
    }
}

fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

/// A progress bar on a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        let style = "{msg} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    fn hashes(&self, read: u64, length: u64) {
        self.0.set_length(length);
        self.0.set_message("reading");
        self.0.set_position(read);
    }

    fn sent(&self, at: Option<u64>, length: u64) {
        self.0.set_length(length);
        self.0.set_message("sending");
        if let Some(at) = at {
            self.0.set_position(at);
        }
    }

    fn aside(&self, say: impl FnOnce()) {
        self.0.suspend(say);
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}
