//! What simulated guests write into their disks: numbered tokens.
//!
//! A token is a number that no other write has. It is in the file that the guest's running definition names at
//! that moment. Whoever reads a file reads the tokens of its backing files too, so a layer has only what was
//! written since it was put over its disk. Copies and merges carry tokens as they carry bytes.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{SimHostState, Volume};
use crate::ports::DomainState;

/// The most backing files that are followed.
const DEPTH: usize = 32;
/// How many tokens a guest leaves in a file. It overwrites others of its own, never the oldest and the newest.
const MOST: usize = 8;

/// A disk of a guest that runs, after the guest wrote a token into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenWrite {
    /// The guest's domain.
    pub uuid: Uuid,
    /// The disk's target, such as `vda`.
    pub target: String,
    /// The file that the running definition names.
    pub path: String,
    /// The token.
    pub token: u64,
    /// An older token that the guest itself overwrote.
    pub overwritten: Option<u64>,
}

impl SimHostState {
    /// Lets each guest that runs write a token into each disk that is not read-only. `next` numbers them. A
    /// guest whose file is gone writes nothing that anybody could read.
    pub fn guests_write(&mut self, next: &mut u64) -> Vec<TokenWrite> {
        let domains = self.domains.values();
        let running = domains.filter(|domain| domain.state == DomainState::Running);
        let mut disks = Vec::new();
        for domain in running {
            let spec = domain.running.as_ref().unwrap_or(&domain.spec);
            for disk in spec.disks.iter().filter(|disk| !disk.readonly) {
                let copy = domain.block_copies.get(&disk.target).cloned();
                disks.push((spec.uuid, disk.target.clone(), disk.path.clone(), copy));
            }
        }
        let mut writes = Vec::new();
        for (uuid, target, path, copy) in disks {
            *next = next.saturating_add(1);
            let overwritten = self.write_token(&path, *next);
            if let Some(copy) = copy {
                self.write_token(&copy, *next);
            }
            writes.push(TokenWrite {
                uuid,
                target,
                path,
                token: *next,
                overwritten,
            });
        }
        writes
    }

    fn write_token(&mut self, path: &str, token: u64) -> Option<u64> {
        let change = self.change();
        let volume = self.by_path_mut(path)?;
        volume.modified = change;
        volume.tokens.insert(token);
        let is_full = volume.tokens.len() > MOST;
        let middle = volume.tokens.iter().nth(MOST / 2).copied();
        let overwritten = middle.filter(|_| is_full)?;
        volume.tokens.remove(&overwritten);
        Some(overwritten)
    }

    /// The tokens that are read from the file at this path, in it and in its backing files.
    pub fn tokens_at(&self, path: &str) -> BTreeSet<u64> {
        self.by_path(path)
            .map(|volume| self.tokens_of(volume))
            .unwrap_or_default()
    }

    /// The tokens that are read from a volume and its backing files. Nothing is read from a file whose backing
    /// file is missing.
    pub(super) fn tokens_of(&self, volume: &Volume) -> BTreeSet<u64> {
        let mut tokens = volume.tokens.clone();
        let mut below = volume.backing.as_deref();
        for _ in 0..DEPTH {
            let Some(path) = below else {
                return tokens;
            };
            let Some(file) = self.by_path(path) else {
                return BTreeSet::new();
            };
            tokens.extend(&file.tokens);
            below = file.backing.as_deref();
        }
        tokens
    }

    /// The tokens that can be read on the host, from files in its pools and outside of them.
    pub fn all_tokens(&self) -> BTreeSet<u64> {
        let files = (self.pools.values())
            .flat_map(|pool| pool.volumes.values())
            .chain(self.loose.values());
        files.flat_map(|file| self.tokens_of(file)).collect()
    }

    /// The tokens of a copy of this volume that has that backing file: those that are not in the backing file.
    pub(super) fn copied_tokens(&self, source: &Volume, backing: Option<&str>) -> BTreeSet<u64> {
        let below = backing.map(|path| self.tokens_at(path)).unwrap_or_default();
        self.tokens_of(source).difference(&below).copied().collect()
    }
}
