//! Sends an image to the process on the host and reads its replies.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use vsiflow_steps::ports::{PortError, PortErrorKind, PortResult, UploadSink, VolumeKey};

use super::{
    frames::{FrameBuilder, ImageFrame, ImagePart, PART},
    pack::{PackedFrame, Packer, PackingPolicy, per_mib},
    replaced, script,
    write_lease::WriteRight,
};
use crate::{
    ports::{COPY, LibvirtHost, error::ErrorContext},
    session::HostProcess,
    ssh::SshInput,
    time,
};

/// How many parts wait to be sent.
const QUEUE: usize = 4;
/// The size of frames in bytes: at first, and at most when they are fast.
const FIRST: u64 = 1 << 20;
const MAX: u64 = 4 << 20;
/// With Python, larger frames save nothing. If a MiB takes less than this, they are not needed to measure the
/// link either: 1 Gbit/s takes 8 ms, and a faster link sometimes waits for a disk.
const QUICK_MIB: Duration = Duration::from_millis(7);
/// A link is slow if none of this many recent frames was quick. A syncing disk delays one or two.
const RECENT: usize = 4;
/// A frame that takes less is followed by larger ones; one that takes more, by smaller ones.
const FAST: Duration = Duration::from_secs(5);
const SLOW: Duration = Duration::from_secs(20);
/// The same limits for a lease, when the host must write a frame in time; and how many frames may be
/// unwritten.
const FENCED_FAST: Duration = Duration::from_secs(2);
const FENCED_SLOW: Duration = Duration::from_secs(6);
const FENCED_AHEAD: usize = 2;
/// Waiting bytes are sent when no more arrive for this long.
const IDLE: Duration = Duration::from_millis(200);
/// How many frames are packed while one is sent.
const AHEAD: usize = 2;
/// How often a keep-alive is sent to the host.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long the host may accept nothing.
const STALL: Duration = Duration::from_secs(60);
/// How long the host may take to write a frame.
const WRITE_TIMEOUT: Duration = Duration::from_secs(900);

/// An upload by path.
pub(in crate::ports::storage) struct PathUpload {
    host: LibvirtHost,
    key: VolumeKey,
    /// Closing this channel ends the upload.
    parts: mpsc::Sender<ImagePart>,
    /// The only task that sends. When it is dropped it ends, and the process on the host with it.
    writing: JoinSet<PortResult<String>>,
    written: watch::Receiver<u64>,
}

impl PathUpload {
    /// Starts an upload from offset `at` through a process that is ready.
    pub(super) fn start(
        host: &LibvirtHost,
        key: &VolumeKey,
        process: HostProcess,
        python: bool,
        at: u64,
        packing: PackingPolicy,
        right: WriteRight,
    ) -> Self {
        let (parts, sent) = mpsc::channel(QUEUE);
        let (tell, written) = watch::channel(at);
        let first = if right.ends() { PART as u64 } else { FIRST };
        let writer = PathWriter {
            host: host.name.clone(),
            object: format!("volume {key}"),
            input: process.input(),
            process,
            python,
            renewed: Instant::now(),
            unwritten: VecDeque::new(),
            tell,
            packing,
            packer: Packer::default(),
            unpack_failed: host.unpack_failed.clone(),
            ready: VecDeque::new(),
            most: first,
            sent: SentBytes::default(),
            right,
            answered: Duration::ZERO,
            pace: SendingPace::default(),
        };
        let mut writing = JoinSet::new();
        writing.spawn(writer.run(FrameBuilder::new(at, first), sent));
        Self {
            host: host.clone(),
            key: key.clone(),
            parts,
            writing,
            written,
        }
    }

    async fn put(&mut self, part: ImagePart) -> PortResult<()> {
        if self.parts.send(part).await.is_ok() {
            return Ok(());
        }
        match ended(&mut self.writing).await {
            Some(Err(error)) => Err(error),
            _ => Err(self.lost()),
        }
    }

    fn lost(&self) -> PortError {
        let object = format!("volume {}", self.key);
        let context = self.host.speaking(&object);
        context.error(PortErrorKind::OutcomeUnknown, "the upload has ended")
    }

    /// Has libvirt read the image's format, because libvirt did not write the file itself.
    async fn refresh_pool(&self) -> PortResult<()> {
        let calls = self.host.quick().await?;
        let pool = self.host.active(&calls, &self.key.pool).await?;
        self.host.refresh(&calls, &pool).await
    }
}

/// The result of the task; `None` if it was already returned, or the task was cancelled.
async fn ended(writing: &mut JoinSet<PortResult<String>>) -> Option<PortResult<String>> {
    writing.join_next().await?.ok()
}

#[async_trait]
impl UploadSink for PathUpload {
    async fn send(&mut self, mut bytes: Bytes) -> PortResult<()> {
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(PART));
            self.put(ImagePart::Data(part)).await?;
        }
        Ok(())
    }

    async fn send_hole(&mut self, length: u64) -> PortResult<()> {
        self.put(ImagePart::Hole(length)).await
    }

    fn written(&self) -> Option<watch::Receiver<u64>> {
        Some(self.written.clone())
    }

    async fn finish(mut self: Box<Self>) -> PortResult<Option<String>> {
        let (ended_here, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.parts, ended_here));
        let ending = ended(&mut self.writing).await;
        let note = ending.unwrap_or_else(|| Err(self.lost()))?;
        if let Err(error) = self.refresh_pool().await {
            // libvirt refreshes when anything else is created in the pool.
            tracing::debug!(volume = %self.key, %error, "libvirt has not looked at the pool");
        }
        Ok(Some(note))
    }

    async fn abort(mut self: Box<Self>) {
        self.writing.shutdown().await;
    }
}

/// The task that sends to the process on the host.
struct PathWriter {
    host: String,
    object: String,
    process: HostProcess,
    python: bool,
    input: SshInput,
    /// When the last keep-alive was sent.
    renewed: Instant,
    /// The ends of frames that the host has not written yet, and when they were sent.
    unwritten: VecDeque<(u64, Instant)>,
    tell: watch::Sender<u64>,
    packing: PackingPolicy,
    packer: Packer,
    /// Set for later uploads once the host failed to unpack something.
    unpack_failed: Arc<AtomicBool>,
    /// The frames that are not sent yet, in order.
    ready: VecDeque<ReadyFrame>,
    /// The current size of a frame in bytes.
    most: u64,
    sent: SentBytes,
    right: WriteRight,
    /// How long the host took for its last write, including the round trip.
    answered: Duration,
    pace: SendingPace,
}

/// The speed of the last frames.
#[derive(Default)]
struct SendingPace {
    /// How many frames in a row were not quick.
    slow: usize,
}

impl SendingPace {
    /// Records that this many bytes took this long.
    fn sent(&mut self, bytes: u64, took: Duration) {
        let is_quick = per_mib(took, bytes) < QUICK_MIB.as_nanos();
        self.slow = if is_quick {
            0
        } else {
            self.slow.saturating_add(1)
        };
    }

    /// Whether the link recently took a MiB within [`QUICK_MIB`].
    fn is_quick(&self) -> bool {
        self.slow < RECENT
    }
}

enum ReadyFrame {
    Plain(ImageFrame),
    Packing(oneshot::Receiver<PackedFrame>),
}

/// How many bytes were sent in frames with data.
#[derive(Default)]
struct SentBytes {
    all: u64,
    packed: u64,
}

impl SentBytes {
    fn note(&self) -> String {
        let way = "sent into the pool's folder";
        match self.packed.saturating_mul(100).checked_div(self.all) {
            None | Some(0) => way.to_owned(),
            Some(percent) => format!("{way}, {percent} % of it packed"),
        }
    }
}

/// The next event for the task.
enum Next {
    Part(ImagePart),
    Nothing,
    End,
}

impl PathWriter {
    async fn run(
        mut self,
        mut frames: FrameBuilder,
        mut parts: mpsc::Receiver<ImagePart>,
    ) -> PortResult<String> {
        loop {
            let rests = frames.is_empty() && self.ready.is_empty();
            match self
                .next(&mut parts, if rests { KEEP_ALIVE } else { IDLE })
                .await?
            {
                Next::Part(part) => {
                    frames.most = self.most;
                    if let Some(frame) = frames.add(part) {
                        self.take(frame).await?;
                    }
                }
                Next::Nothing if rests => self.send_keep_alive().await?,
                Next::Nothing => self.flush(frames.take()).await?,
                Next::End => break,
            }
        }
        self.flush(frames.take()).await?;
        self.end().await?;
        Ok(self.sent.note())
    }

    /// Sends a frame after earlier ones. While frames are being packed, it may wait in the queue.
    async fn take(&mut self, frame: ImageFrame) -> PortResult<()> {
        if self.packing.tries(&frame) {
            let packing = self.packer.pack(frame).await;
            self.ready.push_back(ReadyFrame::Packing(packing));
        } else {
            self.ready.push_back(ReadyFrame::Plain(frame));
        }
        while self.ready.len() > AHEAD || matches!(self.ready.front(), Some(ReadyFrame::Plain(_))) {
            self.send_first().await?;
        }
        Ok(())
    }

    /// Sends all waiting frames, and `last` after them.
    async fn flush(&mut self, last: ImageFrame) -> PortResult<()> {
        if last.length > 0 {
            self.take(last).await?;
        }
        while !self.ready.is_empty() {
            self.send_first().await?;
        }
        Ok(())
    }

    async fn send_first(&mut self) -> PortResult<()> {
        match self.ready.pop_front() {
            None => Ok(()),
            Some(ReadyFrame::Plain(frame)) => self.send_plain(frame).await,
            Some(ReadyFrame::Packing(packing)) => {
                let packed = packing.await.map_err(|_| {
                    let words = "packing has ended";
                    self.context().error(PortErrorKind::Other, words)
                })?;
                self.packing.packed(&packed);
                match packed.zstd {
                    Some(zstd) => self.send_packed(&packed.frame, zstd).await,
                    None => self.send_plain(packed.frame).await,
                }
            }
        }
    }

    async fn send_plain(&mut self, frame: ImageFrame) -> PortResult<()> {
        let (line, is_data, end) = (frame.line(), !frame.data.is_empty(), frame.end());
        let took = self.write(line, frame.data, end).await?;
        if is_data {
            self.sent.all = self.sent.all.saturating_add(frame.length);
            self.packing.sent(frame.length, took);
        }
        Ok(())
    }

    async fn send_packed(&mut self, frame: &ImageFrame, zstd: Bytes) -> PortResult<()> {
        let line = frame.packed_line(zstd.len());
        self.write(line, [zstd], frame.end()).await?;
        self.sent.all = self.sent.all.saturating_add(frame.length);
        self.sent.packed = self.sent.packed.saturating_add(frame.length);
        Ok(())
    }

    async fn next(
        &mut self,
        parts: &mut mpsc::Receiver<ImagePart>,
        pause: Duration,
    ) -> PortResult<Next> {
        let until = time::deadline(pause);
        loop {
            tokio::select! {
                line = self.process.read_line() => self.on_line(line)?,
                part = timeout_at(until, parts.recv()) => return match part {
                    Ok(Some(part)) => Ok(Next::Part(part)),
                    Ok(None) => Ok(Next::End),
                    Err(_) => self.is_writing().map(|()| Next::Nothing),
                },
            }
        }
    }

    /// Handles a line from the host.
    fn on_line(&mut self, line: Option<String>) -> PortResult<()> {
        match (line, self.unwritten.pop_front()) {
            (Some(line), Some((end, sent))) if line == "done" => {
                self.answered = sent.elapsed();
                self.tell.send_replace(end);
                Ok(())
            }
            (line, _) => Err(self.broken(line)),
        }
    }

    fn is_writing(&self) -> PortResult<()> {
        match self.unwritten.front() {
            Some((_, sent)) if sent.elapsed() > WRITE_TIMEOUT => Err(self.context().error(
                PortErrorKind::OutcomeUnknown,
                format!("the host wrote nothing for {} s", WRITE_TIMEOUT.as_secs()),
            )),
            _ => Ok(()),
        }
    }

    /// Sends a line and its bytes; `end` is the frame's end in the file. Returns how long that took.
    async fn write(
        &mut self,
        line: String,
        data: impl IntoIterator<Item = Bytes>,
        end: u64,
    ) -> PortResult<Duration> {
        if self.renewed.elapsed() >= KEEP_ALIVE {
            self.send_keep_alive().await?;
        }
        self.announce_deadline().await?;
        let begun = Instant::now();
        self.unwritten.push_back((end, begun));
        self.put(line.into()).await?;
        let mut sent = 0_u64;
        for mut bytes in data {
            sent = sent.saturating_add(bytes.len() as u64);
            // Each piece has its own deadline.
            while !bytes.is_empty() {
                let piece = bytes.split_to(bytes.len().min(PART));
                self.put(piece).await?;
            }
        }
        let (took, fast, slow) = if self.right.ends() {
            // A sent frame is not written yet, and only what is written in time counts.
            let took = begun.elapsed().max(self.answered);
            (took, FENCED_FAST, FENCED_SLOW)
        } else {
            (begun.elapsed(), FAST, SLOW)
        };
        if sent == 0 {
            // A hole says nothing about the link.
            return Ok(took);
        }
        self.pace.sent(sent, took);
        if self.python && self.most >= FIRST && self.pace.is_quick() {
            self.most = FIRST;
        } else if took < fast {
            self.most = self.most.saturating_mul(2).min(MAX);
        } else if took > slow {
            self.most = (self.most / 2).max(PART as u64);
        }
        Ok(took)
    }

    /// Sends the host its deadline for the next frame. Waits until few frames are unwritten.
    async fn announce_deadline(&mut self) -> PortResult<()> {
        if !self.right.ends() {
            return Ok(());
        }
        let until = time::deadline(STALL);
        while self.unwritten.len() >= FENCED_AHEAD {
            let line = self.line(until).await?;
            self.on_line(Some(line))?;
        }
        match self.right.line() {
            Some(line) => self.put(line.into()).await,
            None => Ok(()),
        }
    }

    async fn send_keep_alive(&mut self) -> PortResult<()> {
        self.renewed = Instant::now();
        self.put(Bytes::from_static(b"again\n")).await
    }

    async fn put(&mut self, bytes: Bytes) -> PortResult<()> {
        let input = self.input.clone();
        let mut writing = pin!(timeout(STALL, input.write(bytes)));
        let written = loop {
            tokio::select! {
                biased;
                line = self.process.read_line() => self.on_line(line)?,
                written = &mut writing => break written,
            }
        };
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.context().exec(&error)),
            Err(_) => Err(self.context().error(
                PortErrorKind::OutcomeUnknown,
                format!("the host took nothing for {} s", STALL.as_secs()),
            )),
        }
    }

    /// Waits until everything is written, and checks that the file still has the volume's name.
    async fn end(&mut self) -> PortResult<()> {
        self.put(Bytes::from_static(b"end\n")).await?;
        let until = time::deadline(COPY);
        while !self.unwritten.is_empty() {
            let line = self.line(until).await?;
            self.on_line(Some(line))?;
        }
        let (file, name) = (self.line(until).await?, self.line(until).await?);
        if script::is_same(&file, &name) {
            return Ok(());
        }
        if name == "name" {
            let words = "it vanished while it was being filled";
            return Err(self.context().error(PortErrorKind::OutcomeUnknown, words));
        }
        Err(replaced(self.context(), &format!("{file}, {name}")))
    }

    async fn line(&mut self, until: Instant) -> PortResult<String> {
        match timeout_at(until, self.process.read_line()).await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(self.broken(None)),
            Err(_) => Err(self.context().error(
                PortErrorKind::OutcomeUnknown,
                "the host does not come to an end of writing",
            )),
        }
    }

    fn context(&self) -> ErrorContext<'_> {
        let (host, object) = (&self.host, &self.object);
        ErrorContext { host, object }
    }

    /// The error for an unexpected line, or for the end of the process.
    fn broken(&self, line: Option<String>) -> PortError {
        if let Some(line) = line {
            let words = format!("its writing is reported as {line:?}");
            return self.context().error(PortErrorKind::Other, words);
        }
        let words = self.process.last_words();
        let end = WritingEnd::of(&words);
        if end.by_unpacker {
            self.unpack_failed.store(true, Ordering::Relaxed);
        }
        let kind = end.kind(self.process.gives_way());
        self.context()
            .error(kind, format!("its writing ended: {words}"))
    }
}

/// How the host's writing program ended.
struct WritingEnd {
    /// The file system or the quota is full.
    is_full: bool,
    /// A program reported why it ended. Otherwise the session has ended.
    is_reported: bool,
    /// `zstd` reported it.
    by_unpacker: bool,
}

impl WritingEnd {
    /// Reads the last output of `dd`, Python and `zstd`. Each ends with status 1 for every failure, begins its
    /// message with its own name, and adds the C library's text of the system's error.
    fn of(words: &str) -> Self {
        let says = |text: &str| words.contains(text);
        Self {
            is_full: says("No space left on device") || says("Disk quota exceeded"),
            is_reported: says("dd:") || says("python:") || says("zstd"),
            by_unpacker: says("zstd"),
        }
    }

    /// The kind of error; `gave_way` says whether the command ended for another one.
    fn kind(&self, gave_way: bool) -> PortErrorKind {
        match self.is_full {
            true => PortErrorKind::NoSpace,
            false if gave_way || !self.is_reported => PortErrorKind::OutcomeUnknown,
            false => PortErrorKind::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_says_last_tells_what_is_to_be_done() {
        for (words, gave_way, kind) in [
            (
                "dd: error writing '/proc/self/fd/3': No space left on device",
                false,
                PortErrorKind::NoSpace,
            ),
            (
                "dd: error writing: Disk quota exceeded",
                false,
                PortErrorKind::NoSpace,
            ),
            (
                "dd: error writing: Input/output error",
                false,
                PortErrorKind::Other,
            ),
            (
                "python: No space left on device",
                false,
                PortErrorKind::NoSpace,
            ),
            ("python: Input/output error", false, PortErrorKind::Other),
            ("Decoding error\nzstd failed", false, PortErrorKind::Other),
            (
                "it ended without a word",
                false,
                PortErrorKind::OutcomeUnknown,
            ),
            (
                "another command needed its place",
                true,
                PortErrorKind::OutcomeUnknown,
            ),
        ] {
            assert_eq!(WritingEnd::of(words).kind(gave_way), kind, "{words}");
        }
    }

    #[test]
    fn one_slow_frame_makes_none_larger_and_a_slow_way_does() {
        let mut pace = SendingPace::default();
        let mut sent = |millis| {
            pace.sent(1 << 20, Duration::from_millis(millis));
            pace.is_quick()
        };
        assert_eq!([2, 90, 9, 9, 2].map(&mut sent), [true; 5]);
        assert_eq!([9; RECENT].map(&mut sent).last(), Some(&false));
        assert!(sent(2));
    }

    #[test]
    fn the_history_says_how_much_was_packed() {
        let note = |all, packed| SentBytes { all, packed }.note();
        assert_eq!(note(0, 0), "sent into the pool's folder");
        assert_eq!(note(1 << 40, 0), "sent into the pool's folder");
        assert_eq!(
            note(200, 180),
            "sent into the pool's folder, 90 % of it packed"
        );
    }
}
