//! Decides which frames are packed, and packs them.
//!
//! Packing uses one core of the sender and a little of the host, so it is useful if the link is slower than
//! that. With [`Transfer::Auto`] a frame is packed as a trial once sending takes longer than packing might.
//! Packing continues while it takes less than half of the last time for sending the bytes unpacked, and saves
//! a tenth.
//! bytes unpacked took last, and saves a tenth.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};
use vsiflow_steps::ports::Transfer;
use zstd::bulk::Compressor;

use super::frames::ImageFrame;

/// The minimum length of packed frames in bytes; shorter ones do not justify another process on the host.
const MIN_LENGTH: u64 = 64 * 1024;
/// The minimum length of measured frames: a shorter one may fit into the send window (2 MiB in OpenSSH).
const MIN_MEASURED: u64 = 3 << 20;
/// The best rate of packing, in bytes per second.
const BEST_RATE: u128 = 500_000_000;
/// The fastest level of zstd that still finds distant repetitions.
const LEVEL: i32 = 1;
/// How many frames pass between an unsuccessful trial and the next one.
const TRIAL_PAUSE: u32 = 32;

/// A frame after packing.
#[derive(Debug)]
pub(super) struct PackedFrame {
    pub(super) frame: ImageFrame,
    /// The packed bytes; `None` if packing saves too little.
    pub(super) zstd: Option<Bytes>,
    took: Duration,
}

/// Decides for each frame whether to pack it.
#[derive(Debug)]
pub(super) struct PackingPolicy {
    transfer: Transfer,
    /// How many nanoseconds a MiB takes unpacked.
    sends: Option<u128>,
    /// Whether packing the last frame was worthwhile.
    pays: bool,
    /// How many frames to wait before the next trial.
    pause: u32,
}

impl PackingPolicy {
    /// Follows `transfer`; packs nothing if the host cannot unpack.
    pub(super) fn new(transfer: Transfer, host_unpacks: bool) -> Self {
        let transfer = if host_unpacks {
            transfer
        } else {
            Transfer::Plain
        };
        Self {
            transfer,
            sends: None,
            pays: false,
            pause: 0,
        }
    }

    /// Whether to pack this frame.
    pub(super) fn tries(&mut self, frame: &ImageFrame) -> bool {
        if frame.data.is_empty() || frame.length < MIN_LENGTH {
            return false;
        }
        match self.transfer {
            Transfer::Plain | Transfer::Libvirt => false,
            Transfer::Packed => true,
            Transfer::Auto => self.pays || self.is_trial(),
        }
    }

    fn is_trial(&mut self) -> bool {
        let at_best = 1_048_576 * 1_000_000_000 / BEST_RATE;
        if self.sends.is_none_or(|sends| sends < 2 * at_best) {
            return false;
        }
        self.pause = self.pause.saturating_sub(1);
        self.pause == 0
    }

    /// Records the result of packing a frame.
    pub(super) fn packed(&mut self, packed: &PackedFrame) {
        let saves = packed.zstd.is_some();
        let packs = per_mib(packed.took, packed.frame.length);
        let pays = saves
            && self
                .sends
                .is_some_and(|sends| packs.saturating_mul(2) <= sends);
        if !pays {
            self.pause = TRIAL_PAUSE;
        }
        self.pays = pays;
    }

    /// Records how long a frame took to send unpacked.
    pub(super) fn sent(&mut self, length: u64, took: Duration) {
        if length < MIN_MEASURED {
            return;
        }
        let last = per_mib(took, length);
        // Averaged, so that a single disturbed frame does not decide.
        self.sends = Some(self.sends.map_or(last, |sends| (sends + last) / 2));
    }
}

/// The nanoseconds per MiB.
pub(super) fn per_mib(took: Duration, length: u64) -> u128 {
    took.as_nanos().saturating_mul(1_048_576) / u128::from(length.max(1))
}

/// Packs frames one after another in a thread of its own, which reuses its memory.
#[derive(Debug, Default)]
pub(super) struct Packer {
    frames: Option<mpsc::Sender<(ImageFrame, oneshot::Sender<PackedFrame>)>>,
}

impl Packer {
    /// Begins to pack a frame, after earlier ones.
    pub(super) async fn pack(&mut self, frame: ImageFrame) -> oneshot::Receiver<PackedFrame> {
        let (done, packed) = oneshot::channel();
        let frames = self.frames.get_or_insert_with(|| {
            let (frames, taken) = mpsc::channel(1);
            spawn_blocking(move || pack_all(taken));
            frames
        });
        // If the thread has ended, the receiver reports it.
        let _ = frames.send((frame, done)).await;
        packed
    }
}

/// Packs frames until the sender is dropped.
fn pack_all(mut frames: mpsc::Receiver<(ImageFrame, oneshot::Sender<PackedFrame>)>) {
    let mut work = PackingMemory::default();
    while let Some((frame, done)) = frames.blocking_recv() {
        // The receiver may have been dropped.
        let _ = done.send(work.pack(frame));
    }
}

#[derive(Default)]
struct PackingMemory {
    zstd: Option<Compressor<'static>>,
    from: Vec<u8>,
    to: Vec<u8>,
}

impl PackingMemory {
    fn pack(&mut self, frame: ImageFrame) -> PackedFrame {
        let begun = Instant::now();
        let zstd = self.zstd_of(&frame.data);
        PackedFrame {
            zstd,
            frame,
            took: begun.elapsed(),
        }
    }

    /// `None` if packing saves too little, or zstd failed.
    fn zstd_of(&mut self, data: &[Bytes]) -> Option<Bytes> {
        self.from.clear();
        data.iter()
            .for_each(|bytes| self.from.extend_from_slice(bytes));
        let most = self.from.len() / 10 * 9;
        self.to.clear();
        self.to.reserve(most);
        if self.zstd.is_none() {
            self.zstd = Compressor::new(LEVEL).ok();
        }
        // zstd reports an error if the output does not fit, which means that it saves too little.
        let length = self
            .zstd
            .as_mut()?
            .compress_to_buffer(&self.from, &mut self.to);
        let packed = self.to.get(..length.ok()?)?;
        (packed.len() <= most).then(|| Bytes::copy_from_slice(packed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(pieces: &[&[u8]]) -> ImageFrame {
        let data: Vec<_> = pieces
            .iter()
            .map(|piece| Bytes::copy_from_slice(piece))
            .collect();
        ImageFrame {
            at: 0,
            length: data.iter().map(|piece| piece.len() as u64).sum(),
            data,
        }
    }

    fn pack(frame: ImageFrame) -> PackedFrame {
        PackingMemory::default().pack(frame)
    }

    fn large(length: u64) -> ImageFrame {
        let data = vec![Bytes::from_static(b"x")];
        ImageFrame {
            at: 0,
            length,
            data,
        }
    }

    fn noise(length: u64) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..length).map(next).collect()
    }

    #[test]
    fn what_is_packed_unpacks_to_the_same_bytes_and_noise_stays_as_it_is() {
        let text = "all work and no play ".repeat(20_000);
        let (noise, some) = (noise(300_000), [b'a'; 5]);
        let packed = pack(frame(&[text.as_bytes(), b"", &noise, &some]));
        let expected = [text.as_bytes(), &noise, &some].concat();
        let zstd = packed.zstd.unwrap();
        assert!(zstd.len() < expected.len() * 9 / 10);
        assert_eq!(zstd::bulk::decompress(&zstd, 1 << 20).unwrap(), expected);
        assert!(pack(frame(&[&noise])).zstd.is_none());
    }

    #[tokio::test]
    async fn frames_are_packed_one_after_another_with_the_same_memory() {
        let mut packer = Packer::default();
        for text in ["one ", "another ", "the third "] {
            let text = text.repeat(100_000);
            let packed = packer.pack(frame(&[text.as_bytes()])).await.await.unwrap();
            let zstd = packed.zstd.unwrap();
            let found = zstd::bulk::decompress(&zstd, 2 << 20).unwrap();
            assert!(found == text.as_bytes());
            let none = packer.pack(frame(&[&noise(100_000)])).await.await.unwrap();
            assert!(none.zstd.is_none());
        }
    }

    #[test]
    fn a_host_that_cannot_unpack_and_a_user_who_says_so_get_plain_bytes() {
        let frame = large(4 << 20);
        assert!(PackingPolicy::new(Transfer::Packed, true).tries(&frame));
        assert!(!PackingPolicy::new(Transfer::Packed, false).tries(&frame));
        assert!(!PackingPolicy::new(Transfer::Plain, true).tries(&frame));
        assert!(!PackingPolicy::new(Transfer::Packed, true).tries(&large(100)));
        let hole = ImageFrame {
            data: Vec::new(),
            ..frame
        };
        assert!(!PackingPolicy::new(Transfer::Packed, true).tries(&hole));
    }

    #[test]
    fn frames_are_packed_where_the_way_takes_longer_and_as_long_as_that_pays() {
        let ms = Duration::from_millis;
        let length = 4 << 20;
        let outcome = |saves: bool, took| PackedFrame {
            frame: large(length),
            zstd: saves.then(Bytes::new),
            took,
        };
        let mut packing = PackingPolicy::new(Transfer::Auto, true);
        assert!(
            !packing.tries(&large(length)),
            "nothing is known of the way"
        );
        packing.sent(length, ms(5));
        assert!(!packing.tries(&large(length)), "the way is fast");
        let mut quick = PackingPolicy::new(Transfer::Auto, true);
        quick.sent(1 << 20, ms(1_000));
        assert!(
            !quick.tries(&large(length)),
            "what is sent ahead tells nothing"
        );
        quick.sent(length, ms(40));
        assert!(quick.tries(&large(length)));
        quick.packed(&outcome(true, ms(15)));
        assert!(quick.tries(&large(length)));
        for not_worth_it in [outcome(true, ms(30)), outcome(false, ms(5))] {
            quick.packed(&not_worth_it);
            let until = (1..100).find(|_| quick.tries(&large(length)));
            assert_eq!(until, Some(TRIAL_PAUSE as usize));
        }
    }
}
