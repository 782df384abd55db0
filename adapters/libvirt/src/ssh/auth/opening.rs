//! Opens private keys outside of the runtime's threads. Deriving the key of one that is encrypted takes up to a second of
//! a processor and 32 MiB, and the user who configures hosts decides how many there are: one is opened at a time, in
//! turns of their owners, and what came of it is remembered.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use russh::keys::PrivateKey;
use vsiflow_engine::low_priority;
use vsiflow_steps::turns::WorkTurns;

use super::cost::KeyCost;
use super::decoding::GivenKey;
use crate::connect_error::{ConnectError, KeyProblem};

/// How many opened keys are remembered.
const REMEMBERED: usize = 64;

static OPENED_KEYS: LazyLock<Arc<OpenedKeys>> = LazyLock::new(Arc::default);

/// What became of a key: itself, or that its passphrase is wrong.
type Opening = Result<PrivateKey, KeyProblem>;

/// Opens a key; an encrypted one in a turn of the owner.
///
/// # Errors
/// [`ConnectError::Key`].
pub(super) async fn opened(key: GivenKey, owner: &Arc<str>) -> Result<PrivateKey, ConnectError> {
    open(key, owner).await.map_err(ConnectError::Key)
}

async fn open(given: GivenKey, owner: &Arc<str>) -> Opening {
    let digest = given.digest(owner);
    let key = low_priority::blocking(|| given.readable())
        .await
        .map_err(|_| failed())??;
    match key.cost {
        KeyCost::None => {
            let decoded = low_priority::blocking(move || key.decode()).await;
            decoded.map_err(|_| failed())?
        }
        KeyCost::Derivation => {
            Arc::clone(&OPENED_KEYS)
                .find_or_open(owner, digest, move || key.decode())
                .await
        }
    }
}

fn failed() -> KeyProblem {
    KeyProblem::Malformed("reading it failed".to_owned())
}

/// The keys that were opened. Keys are found by a hash over text and passphrase; no passphrase is stored.
#[derive(Default)]
struct OpenedKeys {
    /// The oldest first.
    keys: Mutex<VecDeque<OpenedKey>>,
}

struct OpenedKey {
    owner: Arc<str>,
    digest: [u8; 32],
    opening: Opening,
}

impl OpenedKeys {
    /// The key with this hash if it was opened before, or else what `open` makes of it in a turn of the owner. The
    /// turn lasts until the work has ended, also if nobody waits for it any more, and what came of it is remembered.
    async fn find_or_open(
        self: Arc<Self>,
        owner: &Arc<str>,
        digest: [u8; 32],
        open: impl FnOnce() -> Opening + Send + 'static,
    ) -> Opening {
        if let Some(opening) = self.find(digest) {
            return opening;
        }
        let turn = WorkTurns::current().take(owner).await;
        // Another login may have opened it meanwhile.
        if let Some(opening) = self.find(digest) {
            return opening;
        }
        let owner = Arc::clone(owner);
        let work = move || {
            let _turn = turn;
            let opening = open();
            self.remember(owner, digest, &opening);
            opening
        };
        let opening = low_priority::aside(work).await;
        opening.unwrap_or_else(|_| Err(failed()))
    }

    fn find(&self, digest: [u8; 32]) -> Option<Opening> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let same = keys.iter().find(|key| key.digest == digest);
        same.map(|key| key.opening.clone())
    }

    /// Remembers a key, or that its passphrase is wrong. If there are too many, the oldest key goes of the owner who has
    /// most.
    fn remember(&self, owner: Arc<str>, digest: [u8; 32], opening: &Opening) {
        if !matches!(opening, Ok(_) | Err(KeyProblem::WrongPassphrase)) {
            return;
        }
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.push_back(OpenedKey {
            owner,
            digest,
            opening: opening.clone(),
        });
        if keys.len() <= REMEMBERED {
            return;
        }
        let mut counts = HashMap::<&str, usize>::new();
        for key in keys.iter() {
            let count = counts.entry(&key.owner).or_default();
            *count = count.saturating_add(1);
        }
        let most = counts.values().copied().max();
        let is_of_most = |key: &OpenedKey| counts.get(&*key.owner).copied() == most;
        if let Some(oldest) = keys.iter().position(is_of_most) {
            keys.remove(oldest);
        }
    }
}

#[cfg(test)]
mod tests;
