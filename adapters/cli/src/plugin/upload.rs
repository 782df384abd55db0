//! `image upload`: a local file into the cluster, by the API of subresources.
//!
//! The file is read twice: first for its SHA-256, by which the hosts know it, then piece by piece as hosts
//! need it. Nothing is kept of how far it came: each host says itself which byte it needs next, so that
//! the same command resumes after this process, the operator or the way between them is gone.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, sleep, timeout};
use vsiflow_kube::plugin::{LocalFile, PluginError, UploadReader, UploadStatus, UploadedImage};

use super::{ClusterAccess, args::PluginImageUploadArgs, local_file::OpenFile, problem};
use crate::{
    command::CommandOutcome,
    exit::{Exit, ExitProblem},
    output, work,
};

/// How long the cluster waits for a reader before it answers, in seconds.
const WAIT: u64 = 2;
/// After so long it is asked again what became of the file.
const ASK: Duration = Duration::from_secs(5);
/// A piece has so many bytes at first, at least and at most; more as the way is faster.
const PIECE: usize = 1 << 20;
const SHORTEST: usize = 64 << 10;
const LONGEST: usize = 8 << 20;
/// The API server cuts off what takes a minute.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nobody answers for so long: before the first answer, and later, as an operator that starts again takes
/// its time.
const NEVER: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(300);
/// How long another file under the name is waited for.
const BROKEN_OFF: Duration = Duration::from_secs(75);

pub(super) async fn run(there: &ClusterAccess<'_>, args: PluginImageUploadArgs) -> CommandOutcome {
    let limit = args.timeout.unwrap_or(Duration::MAX);
    let bar = Bar::new();
    let sending = async {
        let file = OpenFile::read(&args.file, &args.image, |read, length| {
            bar.hashes(read, length)
        });
        let mut upload = Upload {
            there,
            url: there.cluster.upload_url(&args.image),
            file: file.await?.with_checksum(args.checksum.as_ref()),
            bar: &bar,
            piece: PIECE,
            answered: None,
            begun: Instant::now(),
            noted: None,
        };
        upload.run().await
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

struct Upload<'a> {
    there: &'a ClusterAccess<'a>,
    url: String,
    file: OpenFile,
    bar: &'a Bar,
    /// The length of the next piece.
    piece: usize,
    /// When the cluster answered last.
    answered: Option<Instant>,
    begun: Instant,
    noted: Option<String>,
}

/// What became of the file.
enum Standing {
    Done(Vec<UploadedImage>),
    Waits(String),
}

impl Upload<'_> {
    async fn run(&mut self) -> CommandOutcome {
        let mut retry = true;
        loop {
            let announced = self.there.cluster.announce(self.known(), retry, WAIT);
            let status = match announced.await {
                Ok(status) => status,
                Err(error) => {
                    self.again(error).await?;
                    continue;
                }
            };
            retry = false;
            self.answered = Some(Instant::now());
            match self.standing(&status)? {
                Standing::Done(images) => {
                    self.bar.end();
                    for image in images {
                        let (host, pool) = (&image.host, &image.pool);
                        let sha256 = image.sha256.as_deref().unwrap_or_default();
                        let place = format!("host {host}, pool {pool}");
                        output::line(&format!("{} is at {place} (sha256:{sha256})", self.url));
                    }
                    return Ok(Exit::Done);
                }
                Standing::Waits(why) if status.readers.is_empty() => self.note(why),
                Standing::Waits(_) => {}
            }
            self.send(status.readers).await?;
        }
    }

    fn known(&self) -> &LocalFile {
        &self.file.known
    }

    fn standing(&self, status: &UploadStatus) -> Result<Standing, ExitProblem> {
        let checksum = self.known().checksum.as_ref();
        let is_own =
            |image: &&UploadedImage| checksum.is_none() || image.checksum.as_ref() == checksum;
        let own: Vec<_> = status.images.iter().filter(is_own).cloned().collect();
        if status.images.is_empty() {
            let checksum = checksum.map_or("that of the image inside", String::as_str);
            return Ok(Standing::Waits(format!(
                "waiting for documents of the namespace with imageURL {} and imageChecksum {checksum}",
                self.url
            )));
        }
        let Some(other) = status.images.first().filter(|_| own.is_empty()) else {
            return Self::own_standing(own);
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

    fn own_standing(own: Vec<UploadedImage>) -> Result<Standing, ExitProblem> {
        if let Some(failure) = own.iter().find_map(|image| image.failure.clone()) {
            return Err(ExitProblem {
                exit: Exit::Blocked,
                code: failure.code,
                message: failure.message,
                host: failure.host,
                object: failure.object,
                remedy: failure.remedy,
            });
        }
        Ok(if own.iter().all(|image| image.ready) {
            Standing::Done(own)
        } else {
            Standing::Waits("waiting until a host needs more of it, or has verified it".to_owned())
        })
    }

    /// Sends each reader a piece after the other, until it has to be asked again what they need.
    async fn send(&mut self, mut readers: Vec<UploadReader>) -> Result<(), ExitProblem> {
        let asked = Instant::now();
        let length = self.known().length;
        while !readers.is_empty() && asked.elapsed() < ASK {
            self.bar
                .sent(readers.iter().map(|to| to.from).min(), length);
            if readers.iter().all(|reader| reader.from >= length) {
                // What they have is verified now.
                sleep(Duration::from_secs(1)).await;
                return Ok(());
            }
            for reader in readers.iter_mut().filter(|reader| reader.from < length) {
                // Whoever begins may only look what the file is like.
                let most = if reader.from == 0 {
                    SHORTEST
                } else {
                    self.piece
                };
                let piece = self.file.piece(reader.from, most).await?;
                let begun = Instant::now();
                let sending = self.there.cluster.send(&self.file.known, *reader, piece);
                let sent = match timeout(PATIENCE, sending).await {
                    Ok(Ok(sent)) => sent,
                    Ok(Err(error)) => {
                        self.slower();
                        return self.again(error).await;
                    }
                    Err(_) => {
                        self.slower();
                        return Ok(());
                    }
                };
                self.answered = Some(Instant::now());
                if begun.elapsed() < Duration::from_secs(1) {
                    self.piece = self.piece.saturating_mul(2).min(LONGEST);
                } else if begun.elapsed() > Duration::from_secs(8) {
                    self.slower();
                }
                match sent {
                    Some(next) => reader.from = next,
                    None => return Ok(()),
                }
            }
        }
        self.bar
            .sent(readers.iter().map(|to| to.from).min(), length);
        Ok(())
    }

    fn slower(&mut self) {
        self.piece = (self.piece / 4).max(SHORTEST);
    }

    /// Waits before it is asked again, where that may help.
    async fn again(&mut self, error: PluginError) -> Result<(), ExitProblem> {
        // One that was broken off is over after a minute.
        let is_another = matches!(&error, PluginError::Told { code, .. } if code == "VSI1035");
        let passes = match &error {
            _ if is_another => self.answered.is_none(),
            PluginError::Told { status, .. } => matches!(status, 408 | 429 | 500..),
            PluginError::Unserved(_) | PluginError::Refused { .. } => true,
            _ => false,
        };
        let over = match self.answered {
            Some(answered) => answered.elapsed() > LATER,
            None if is_another => self.begun.elapsed() > BROKEN_OFF,
            None => self.begun.elapsed() > NEVER,
        };
        if !passes || over {
            return Err(problem(error));
        }
        self.note(format!("asking again: {error}"));
        sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    /// Says it, once.
    fn note(&mut self, text: String) {
        if self.noted.as_ref() != Some(&text) {
            self.bar.aside(|| output::note(&text));
            self.noted = Some(text);
        }
    }
}

/// How far it is, on terminals.
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
