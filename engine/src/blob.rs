//! Blobs: payloads too long for an event, stored beside the journal and named by their content.
//!
//! A blob is durable before the event that names it can be written, so no event ever names a
//! missing blob. A blob without an event is harmless, and the next equal payload uses it.

mod dir;
mod memory;

pub use dir::DirBlobs;
pub use memory::MemoryBlobs;

use async_trait::async_trait;

use crate::{
    journal::JournalError,
    model::{Hash, INLINE_MAX, Payload},
};

/// A store of blobs.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Stores `bytes` as a blob, however short they are; durable when it returns.
    ///
    /// Cancel safety: dropping the future may leave the blob behind, but never a part of it under
    /// its name.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn put_blob(&self, bytes: &[u8]) -> Result<Payload, JournalError>;

    /// The blob with that hash and length; both are checked.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] when the blob is missing or changed, otherwise when the store
    /// cannot be read.
    async fn get_blob(&self, hash: Hash, len: u64) -> Result<Vec<u8>, JournalError>;

    /// A payload for an event: inside the event up to [`INLINE_MAX`] bytes, otherwise a blob.
    ///
    /// # Errors
    /// As for [`Blobs::put_blob`].
    async fn put(&self, bytes: &[u8]) -> Result<Payload, JournalError> {
        if bytes.len() <= INLINE_MAX {
            return Ok(Payload::Inline(bytes.to_vec()));
        }
        self.put_blob(bytes).await
    }

    /// The bytes of a payload, inline or from a blob.
    ///
    /// # Errors
    /// As for [`Blobs::get_blob`].
    async fn get(&self, payload: &Payload) -> Result<Vec<u8>, JournalError> {
        match payload {
            Payload::Inline(bytes) => Ok(bytes.clone()),
            Payload::Blob { hash, len } => self.get_blob(*hash, *len).await,
        }
    }
}

fn payload_of(bytes: &[u8]) -> Payload {
    Payload::Blob {
        hash: Hash::of(bytes),
        len: bytes.len() as u64,
    }
}

fn checked(bytes: Vec<u8>, hash: Hash, len: u64) -> Result<Vec<u8>, JournalError> {
    if bytes.len() as u64 != len {
        return Err(damaged(
            hash,
            format!("it has {} bytes, not {len}", bytes.len()),
        ));
    }
    if Hash::of(&bytes) != hash {
        return Err(damaged(
            hash,
            "its content does not match its name".to_owned(),
        ));
    }
    Ok(bytes)
}

fn damaged(hash: Hash, why: String) -> JournalError {
    JournalError::Damaged {
        place: format!("blob {hash}"),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn keeps_payloads(blobs: &dyn Blobs) {
        let short = vec![1; INLINE_MAX];
        assert_eq!(blobs.put(&short).await, Ok(Payload::Inline(short.clone())));
        for bytes in [vec![2; INLINE_MAX + 1], vec![3; 1 << 20], Vec::new()] {
            let payload = blobs.put_blob(&bytes).await.unwrap();
            assert_eq!(blobs.put_blob(&bytes).await.unwrap(), payload);
            assert_eq!(payload, payload_of(&bytes));
            assert_eq!(blobs.get(&payload).await, Ok(bytes));
        }
        let missing = blobs.get(&payload_of(b"missing")).await;
        assert!(
            matches!(&missing, Err(error) if error.is_damage()),
            "{missing:?}"
        );
    }

    #[tokio::test]
    async fn memory_keeps_blobs() {
        keeps_payloads(&MemoryBlobs::new()).await;
    }

    #[tokio::test]
    async fn a_folder_keeps_blobs_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = DirBlobs::open(dir.path().join("blobs")).await.unwrap();
        keeps_payloads(&blobs).await;
        assert_eq!(
            std::fs::read_dir(dir.path().join("blobs")).unwrap().count(),
            3
        );
    }

    #[tokio::test]
    async fn a_damaged_blob_is_found_and_made_good_by_the_next_put() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = DirBlobs::open(dir.path()).await.unwrap();
        let payload = blobs.put_blob(b"abc").await.unwrap();
        for wrong in ["abd", "ab", ""] {
            std::fs::write(dir.path().join(Hash::of(b"abc").to_string()), wrong).unwrap();
            let found = blobs.get(&payload).await;
            assert!(
                matches!(&found, Err(error) if error.is_damage()),
                "{found:?}"
            );
        }
        blobs.put_blob(b"abc").await.unwrap();
        assert_eq!(blobs.get(&payload).await, Ok(b"abc".to_vec()));
    }
}
