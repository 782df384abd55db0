//! A SHA-256 in progress that can be stored and resumed, and the one of a whole source.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use sha2::{
    Digest as _, Sha256,
    digest::common::hazmat::{SerializableState as _, SerializedState},
};
use vsiflow_engine::{
    low_priority,
    model::{Failure, Hash},
    step::StepContext,
};

use super::{
    Params,
    bounds::Bounds,
    from_start::{self, StartRead},
};
use crate::{
    error,
    ports::{
        HostPorts, ImageSource,
        pieces::{ContentPieces, PIECE},
    },
};

/// Shorter pieces are hashed on the current thread: handing them over would cost more.
const INLINE_MAX: usize = 4 * 1024;

/// The state of a hash. Equal for equal bytes.
pub(super) type HashState = SerializedState<Sha256>;

/// Hashes on a blocking thread, so that other tasks can run; holds one piece at a time.
#[derive(Clone, Default)]
pub(super) struct RunningHash(Sha256);

impl RunningHash {
    pub(super) async fn add(self, bytes: Bytes) -> Result<Self, Failure> {
        let Self(mut hasher) = self;
        if bytes.len() <= INLINE_MAX {
            hasher.update(&bytes);
            return Ok(Self(hasher));
        }
        let added = low_priority::blocking(move || {
            hasher.update(&bytes);
            hasher
        });
        added
            .await
            .map(Self)
            .map_err(|_| error::VERIFICATION.failure("hashing was interrupted"))
    }

    /// The current state.
    pub(super) fn serialized(&self) -> HashState {
        self.0.serialize()
    }

    /// The current state as text.
    pub(super) fn state(&self) -> String {
        BASE64.encode(self.serialized())
    }

    /// Resumes from a state; `None` if the text is not a state.
    pub(super) fn at(state: &str) -> Option<Self> {
        let bytes = BASE64.decode(state).ok()?;
        let serialized = SerializedState::<Sha256>::try_from(bytes.as_slice()).ok()?;
        Sha256::deserialize(&serialized).ok().map(Self)
    }

    pub(super) fn end(self) -> Hash {
        Hash(self.0.finalize().into())
    }
}

/// Reads the whole source to hash it, but no more than the image's pool could hold.
pub(super) async fn hash_source(
    cx: &StepContext,
    source: &dyn ImageSource,
    ports: &HostPorts,
    params: &Params,
    what: &str,
) -> Result<Hash, Failure> {
    let mut bounds = Bounds::of_pool(ports, &params.volume.pool).await?;
    let stream = source.open(&params.url).await?;
    let total = stream.info().length;
    let mut pieces = ContentPieces::new(stream, PIECE);
    let (mut hash, mut size) = (RunningHash::default(), 0_u64);
    loop {
        let bytes = match pieces.next().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break,
            Err(cause) => return Err(ended_early(cx, cause.into(), size).await?),
        };
        bounds
            .take(&bytes)
            .map_err(|failure| failure.of_object(&params.url))?;
        size = size.saturating_add(bytes.len() as u64);
        hash = hash.add(bytes).await?;
        cx.report(what, size, total);
    }
    Ok(hash.end())
}

/// The failure of a source that ended while it was hashed. Saves how far it was read.
async fn ended_early(cx: &StepContext, failure: Failure, read: u64) -> Result<Failure, Failure> {
    let read_before = cx.saved().await?;
    cx.save(&read).await?;
    let remedy = from_start::HASH;
    Ok(StartRead {
        read,
        before: read_before,
        remedy,
    }
    .explained(cx, failure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_goes_on_where_it_was_put_down() {
        let bytes: Vec<u8> = (0..100_001_u32).map(|n| (n % 251) as u8).collect();
        for at in [0, 1, 63, 64, 65, 77_777, bytes.len()] {
            let (first, rest) = bytes.split_at(at);
            let part = RunningHash::default()
                .add(Bytes::copy_from_slice(first))
                .await
                .unwrap();
            let state = part.state();
            let again = RunningHash::at(&state).unwrap();
            assert_eq!(again.state(), state);
            let whole = again.add(Bytes::copy_from_slice(rest)).await.unwrap();
            assert_eq!(whole.end(), Hash::of(&bytes), "{at}");
        }
        assert!(RunningHash::at("").is_none() && RunningHash::at("????").is_none());
    }
}
