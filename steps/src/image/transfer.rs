//! Uploads an image from its source to a volume, and hashes it on the way.

use bytes::Bytes;
use tokio::sync::mpsc;
use vsiflow_engine::{
    model::{Failure, Hash},
    step::StepContext,
};

use super::{
    Params,
    bounds::Bounds,
    checkpoint::{Checkpoint, UploadPosition},
    format,
    from_start::{self, StartRead},
    hash::RunningHash,
    identity,
    pieces::{PiecePart, parts},
    promise,
    shared_hash::SharedHashes,
    sidecar,
    track::{Track, TrackRecorder},
    whole,
    write_behind::{RunningDigest, WriteBehind},
};
use crate::{
    error,
    guards::{self, DeletionCandidate},
    ports::{
        DeletionGround, HostPorts, ImageSource, ImageStream, SourceError, SourceErrorKind,
        SourceInfo, UploadSink, VolumeFormat, VolumeInfo, VolumeKey, VolumeSpec,
        pieces::{ContentPieces, PIECE},
    },
};

/// Maximum number of bytes that are sent to the host twice.
pub const INTERVAL: u64 = 16 * 1024 * 1024;

/// Maximum number of hashed pieces that wait to be sent.
const HASHED: usize = 4;

/// The result of an upload.
pub(super) struct Sent {
    pub(super) size: u64,
    pub(super) sha256: Hash,
    pub(super) identity: String,
    /// The host's hash of the volume, computed during the upload.
    pub(super) along: Option<RunningDigest>,
    /// The way the data was transferred, for people.
    pub(super) note: Option<String>,
}

/// An upload of an image into a volume whose claim this journal holds.
pub(super) struct Upload<'a> {
    pub(super) cx: &'a StepContext,
    pub(super) ports: &'a HostPorts,
    pub(super) source: &'a dyn ImageSource,
    pub(super) params: &'a Params,
    pub(super) key: &'a VolumeKey,
    pub(super) interval: u64,
    pub(super) hashes: &'a SharedHashes,
}

/// An upload that has an open source.
struct TransferBegun {
    pieces: ContentPieces,
    /// Pieces that were read already and are sent first.
    first: Vec<Bytes>,
    from: UploadPosition,
    /// Up to this position the volume holds bytes of an earlier attempt.
    dense_until: u64,
    checkpoint: Checkpoint,
    /// Whether the source had to be read from its start, up to the position that an earlier attempt reached.
    reread: bool,
}

/// The reason why sending ended early.
enum Broken {
    Source(Failure),
    Host(Failure),
    Stopped,
}

impl Upload<'_> {
    /// Fills the volume: resumes an earlier attempt, or starts over.
    ///
    /// A crash during the upload leaves a part, and a record of the position up to which the host
    /// certainly has it. A volume shorter than that, or of an image that has changed since, is deleted if
    /// the guards permit it.
    pub(super) async fn bring(&self) -> Result<Sent, Failure> {
        let saved = Checkpoint::saved(self.cx, self.key).await?;
        let volume = self.ports.storage.volume(self.key).await?;
        let begun = match (saved, volume) {
            (Some(saved), Some(volume)) => match saved.place(&volume) {
                Some(place) => self.resume(saved, place, &volume).await?,
                None => self.anew().await?,
            },
            _ => self.anew().await?,
        };
        let promised = promise::promised(&begun.checkpoint.source);
        let sent = self.send(begun).await?;
        self.keep_promise(promised, sent).await
    }

    /// Returns the result if it has the announced hash; else deletes what was sent.
    pub(super) async fn keep_promise(
        &self,
        promised: Option<String>,
        sent: Sent,
    ) -> Result<Sent, Failure> {
        let received = sent.sha256.to_string();
        let Some(promised) = promised.filter(|promised| *promised != received) else {
            return Ok(sent);
        };
        self.cx.save(&()).await?;
        self.remove().await?;
        let message =
            format!("the source names the image by its SHA-256 {promised}, and gave {received}");
        Err(error::SOURCE_MISMATCH
            .failure(message)
            .of_object(&self.params.url))
    }

    /// Opens the source at the recorded position.
    async fn resume(
        &self,
        mut checkpoint: Checkpoint,
        place: UploadPosition,
        volume: &VolumeInfo,
    ) -> Result<TransferBegun, Failure> {
        let recorded_source = checkpoint.source.clone();
        let url = &self.params.url;
        let opening =
            self.source
                .open_at(url, place.position, recorded_source.validator.as_deref());
        let mut stream = self.opened(opening.await).await?;
        if stream.starts_at() > 0 && is_other_length(stream.info(), &recorded_source) {
            // A part that the server counts otherwise than the whole: only the whole shows what is right.
            stream = self.source.open(url).await?;
        }
        let starts_at = stream.starts_at();
        let mut pieces = ContentPieces::new(
            self.checked(stream, &recorded_source, volume).await?,
            self.piece(),
        );
        if starts_at != place.position && !self.skip(&mut pieces, &place, &mut checkpoint).await? {
            return Err(self.discard(volume.physical).await?);
        }
        tracing::info!(volume = %self.key, position = place.position, "the upload resumes");
        checkpoint.back_to(place.position);
        Ok(TransferBegun {
            pieces,
            first: Vec::new(),
            from: place,
            dense_until: volume.physical,
            checkpoint,
            reread: starts_at == 0,
        })
    }

    /// Reports to the source that this host no longer has to be waited for; returns the stream.
    async fn opened(
        &self,
        stream: Result<Box<dyn ImageStream>, SourceError>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        self.source.opened(&self.params.url).await;
        stream
    }

    /// Returns the stream if it has the image that the earlier attempt began to send. If a checksum decides
    /// which image it is, another validator is no other image: mirrors of a file have their own.
    async fn checked(
        &self,
        stream: Box<dyn ImageStream>,
        known: &SourceInfo,
        volume: &VolumeInfo,
    ) -> Result<Box<dyn ImageStream>, Failure> {
        let current = stream.info();
        let other_version =
            current.validator != known.validator && self.params.expected()?.is_none();
        if other_version || is_other_length(current, known) {
            return Err(self.discard(volume.physical).await?);
        }
        Ok(stream)
    }

    /// Reads up to the position; returns whether the bytes before it are the ones that were sent.
    async fn skip(
        &self,
        pieces: &mut ContentPieces,
        place: &UploadPosition,
        checkpoint: &mut Checkpoint,
    ) -> Result<bool, Failure> {
        let (mut hash, mut read) = (RunningHash::default(), 0_u64);
        while read < place.position {
            let remaining = place.position.saturating_sub(read);
            let piece = match pieces.next_within(remaining).await {
                Ok(Some(piece)) => piece,
                Ok(None) => return Ok(false),
                Err(cause) => {
                    let read_before = checkpoint.note_end(read).unwrap_or(place.position);
                    self.cx.save(checkpoint).await?;
                    return Err(self.reread(cause.into(), read, read_before));
                }
            };
            read = read.saturating_add(piece.len() as u64);
            self.cx
                .report("reading up to where it was", read, Some(place.position));
            hash = hash.add(piece).await?;
        }
        Ok(hash.state() == place.hash.state())
    }

    /// The failure of a source that was read from its start, because it cannot be entered at the position that
    /// an earlier attempt reached. It ended at `before` in the attempt before.
    fn reread(&self, failure: Failure, read: u64, before: u64) -> Failure {
        let reading = StartRead {
            read,
            before: Some(before),
            remedy: from_start::TRANSFER,
        };
        reading.explained(self.cx, failure)
    }

    /// Deletes the part of an image that no longer exists; returns the failure that reports it.
    async fn discard(&self, size: u64) -> Result<Failure, Failure> {
        self.cx.save(&()).await?;
        self.remove().await?;
        Ok(identity::changed(self.params, size))
    }

    pub(super) async fn remove(&self) -> Result<(), Failure> {
        // The held claim proves that the volume is this journal's.
        let doomed = DeletionCandidate {
            key: self.key,
            recorded: true,
            owner: None,
        };
        let removed = guards::remove(self.cx, self.ports, doomed, DeletionGround::Scratch).await;
        removed.map(drop)
    }

    /// Opens the source and creates the volume again under the guards.
    async fn anew(&self) -> Result<TransferBegun, Failure> {
        // Open the source first: if it does not answer, the existing volume must not be lost.
        let claim = super::claimed(self.cx)?;
        // A checksum is enough, and the user may have corrected the source since. Without one the URL may lead to
        // another image by now.
        let which = claim.validator.filter(|_| self.params.checksum.is_none());
        let opening = self.source.open_at(&self.params.url, 0, which.as_deref());
        let stream = self.opened(opening.await).await?;
        let info = stream.info().clone();
        let mut pieces = ContentPieces::new(stream, self.piece());
        let first = self.head(&mut pieces, &info).await?;
        let identity = identity::of_source(self.params, &info)?.unwrap_or(claim.identity);
        self.cx.save(&()).await?;
        self.remove().await?;
        let new_claim = sidecar::claim_of(self.cx, &identity);
        sidecar::write(self.ports, self.key, &new_claim, None).await?;
        let spec = VolumeSpec {
            key: self.key.clone(),
            format: VolumeFormat::Raw,
            capacity: 0,
            backing: None,
        };
        self.ports.storage.create(&spec).await?;
        Ok(TransferBegun {
            pieces,
            first,
            from: UploadPosition {
                position: 0,
                hash: RunningHash::default(),
            },
            dense_until: 0,
            checkpoint: Checkpoint::new(self.key, &identity, &info),
            reread: false,
        })
    }

    /// Reads the first bytes; an error if they are not of an image that can be used, or if the source
    /// shows that the image is not whole.
    async fn head(
        &self,
        pieces: &mut ContentPieces,
        info: &SourceInfo,
    ) -> Result<Vec<Bytes>, Failure> {
        let (mut first, mut head) = (Vec::new(), Vec::new());
        while (head.len() as u64) < format::HEADER_MAX
            && let Some(piece) = pieces.next().await?
        {
            head.extend_from_slice(&piece);
            first.push(piece);
        }
        if head.is_empty() {
            return Err(SourceError {
                kind: SourceErrorKind::Empty,
                url: self.params.url.clone(),
                message: "the source gave an empty file".to_owned(),
            }
            .into());
        }
        let url = &self.params.url;
        let checked = whole::check_source(self.source, url, info, &head).await;
        checked.map_err(|unfit| format::unfit_image(&unfit, url))?;
        Ok(first)
    }

    fn piece(&self) -> usize {
        usize::try_from(self.interval / 16)
            .unwrap_or(PIECE)
            .clamp(1, PIECE)
    }

    async fn send(&self, mut begun: TransferBegun) -> Result<Sent, Failure> {
        let (from, info) = (begun.from.position, begun.checkpoint.source.clone());
        let identity = begun.checkpoint.identity.clone();
        let remaining = info.length.map(|length| length.saturating_sub(from));
        if remaining == Some(0) {
            return Ok(Sent {
                size: from,
                sha256: begun.from.hash.end(),
                identity,
                along: None,
                note: None,
            });
        }
        let track = Track::new(from, begun.dense_until, self.interval);
        let mut recorder = TrackRecorder {
            cx: self.cx,
            ports: self.ports,
            key: self.key,
            track: &track,
            checkpoint: begun.checkpoint.clone(),
            longest: begun.dense_until,
            written: None,
        };
        let bounds = Bounds::of_room(self.ports, &self.key.pool, info.length).await?;
        let (storage, transfer) = (&self.ports.storage, self.ports.transfer);
        let mut sink = storage.fill(self.key, from, remaining, transfer).await?;
        recorder.written = sink.written();
        let behind = WriteBehind {
            cx: self.cx,
            ports: self.ports,
            key: self.key,
            track: &track,
        };
        let mut behind = Box::pin(behind.run());
        let sent = tokio::select! {
            biased;
            sent = self.pump(&mut begun, bounds, &track, sink.as_mut()) => sent,
            failure = recorder.run() => Err(Broken::Host(failure)),
            Err(failure) = &mut behind => Err(Broken::Host(failure)),
            () = self.cx.stopped.cancelled() => Err(Broken::Stopped),
        };
        let broken = match sent {
            Ok((size, hash)) => {
                track.end();
                let finishing = async {
                    let note = sink.finish().await?;
                    track.complete(size);
                    Ok::<_, Failure>(note)
                };
                let (note, along) = tokio::try_join!(finishing, behind)?;
                return Ok(Sent {
                    size,
                    sha256: hash.end(),
                    identity,
                    along,
                    note,
                });
            }
            Err(broken) => broken,
        };
        // It is no longer polled, and may hold a resource that the host grants to one caller at a time.
        drop(behind);
        let failure = match broken {
            Broken::Host(failure) => {
                sink.abort().await;
                return Err(failure);
            }
            Broken::Source(failure) if begun.reread => {
                let bytes_read = track.sent();
                let read_before = recorder.checkpoint.note_end(bytes_read).unwrap_or(from);
                self.cx.save(&recorder.checkpoint).await?;
                self.reread(failure, bytes_read, read_before)
            }
            Broken::Source(failure) => failure,
            Broken::Stopped => error::OUTCOME_UNKNOWN.failure("the upload was stopped"),
        };
        if promise::is_worthless(&failure) {
            sink.abort().await;
            self.cx.save(&()).await?;
            self.remove().await?;
            return Err(failure);
        }
        // Once the host confirms the end it has all that was sent: record that, so that nothing is sent
        // again.
        if sink.finish().await.is_ok() {
            let _ = recorder.inspect().await;
        }
        Err(failure)
    }

    /// Sends until the source ends, and reads and hashes the next pieces at the same time.
    ///
    /// If the source fails, the pieces that were read before are still sent.
    async fn pump(
        &self,
        begun: &mut TransferBegun,
        bounds: Bounds,
        track: &Track,
        sink: &mut dyn UploadSink,
    ) -> Result<(u64, RunningHash), Broken> {
        let (from, dense_until) = (begun.from.clone(), begun.dense_until);
        let total = begun.checkpoint.source.length;
        let (read_one, read) = mpsc::channel(1);
        let (hashed_one, hashed) = mpsc::channel(HASHED);
        let reading = async { Ok(self.read_all(begun, bounds, read_one).await) };
        let hashing = self.hash_all(from.clone(), read, hashed_one);
        let sending = async {
            let mut hashed_pieces = hashed;
            let mut reached = from;
            while let Some((piece, place)) = hashed_pieces.recv().await {
                track.room(piece.len() as u64).await;
                let dense = dense_until.saturating_sub(reached.position);
                let sent = self.send_parts(sink, &piece, dense).await;
                sent.map_err(Broken::Host)?;
                track.note(place.clone());
                self.cx.report("uploading", place.position, total);
                reached = place;
            }
            Ok((reached.position, reached.hash))
        };
        let (read_to_its_end, (), sent) = tokio::try_join!(reading, hashing, sending)?;
        read_to_its_end.map(|()| sent)
    }

    /// Reads until the source ends or the receiver is dropped.
    async fn read_all(
        &self,
        begun: &mut TransferBegun,
        mut bounds: Bounds,
        read: mpsc::Sender<Bytes>,
    ) -> Result<(), Broken> {
        let mut first = std::mem::take(&mut begun.first).into_iter();
        loop {
            let next = match first.next() {
                Some(piece) => Some(piece),
                None => begun.pieces.next().await.map_err(broken_source)?,
            };
            let Some(piece) = next else {
                return Ok(());
            };
            let bounded = bounds.take(&piece);
            bounded.map_err(|failure| Broken::Source(failure.of_object(&self.params.url)))?;
            if read.send(piece).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Hashes each piece and passes it on with the position after it.
    async fn hash_all(
        &self,
        from: UploadPosition,
        mut read: mpsc::Receiver<Bytes>,
        hashed: mpsc::Sender<(Bytes, UploadPosition)>,
    ) -> Result<(), Broken> {
        let UploadPosition {
            mut position,
            mut hash,
        } = from;
        while let Some(piece) = read.recv().await {
            hash = self.hashes.add(hash, &piece).await.map_err(Broken::Host)?;
            position = position.saturating_add(piece.len() as u64);
            let place = UploadPosition {
                position,
                hash: hash.clone(),
            };
            if hashed.send((piece, place)).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Sends a piece. In its first `dense` bytes the volume may hold other bytes than zeros.
    async fn send_parts(
        &self,
        sink: &mut dyn UploadSink,
        piece: &Bytes,
        dense: u64,
    ) -> Result<(), Failure> {
        let parts = match dense {
            0 => parts(piece),
            _ => vec![PiecePart::Data(piece.clone())],
        };
        for part in parts {
            match part {
                PiecePart::Data(bytes) => {
                    self.ports.may_send(bytes.len()).await;
                    sink.send(bytes).await?;
                }
                PiecePart::Hole(length) => sink.send_hole(length).await?,
            }
        }
        Ok(())
    }
}

fn is_other_length(now: &SourceInfo, known: &SourceInfo) -> bool {
    now.length.is_some() && now.length != known.length
}

fn broken_source(error: crate::ports::SourceError) -> Broken {
    Broken::Source(error.into())
}
