//! Maintenance of hosts by the user of a sanctity game. It orders nothing to be destroyed.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use vsiflow_workflows::fleet::{Fleet, FleetError, ShutdownPolicy};

use crate::world::{HOSTS, user};

/// A command about hosts.
#[derive(Clone, Copy, Debug)]
pub enum HostCare {
    /// Pauses everything, or ends that.
    PauseAll(bool),
    /// Cordons a host and shuts its guests down.
    Drain(&'static str),
    /// Ends that, and starts those guests again.
    Uncordon(&'static str),
}

impl HostCare {
    pub fn draw(random: &mut StdRng) -> Self {
        let host = HOSTS.choose(random).unwrap();
        match random.random_range(0..6) {
            0 => Self::PauseAll(true),
            1 | 2 => Self::PauseAll(false),
            3 => Self::Drain(host),
            _ => Self::Uncordon(host),
        }
    }

    pub async fn give(self, fleet: &Fleet) -> Result<(), FleetError> {
        let hosts = fleet.hosts();
        match self {
            Self::PauseAll(on) => fleet.set_global_pause(on, user()).await,
            Self::Drain(host) => {
                let drained = hosts.drain(host, ShutdownPolicy::default(), user());
                drained.await.map(drop)
            }
            Self::Uncordon(host) => hosts.uncordon(host, true, user()).await.map(drop),
        }
    }

    /// What ends all of it.
    pub fn ends() -> impl Iterator<Item = Self> {
        let uncordoned = HOSTS.into_iter().map(Self::Uncordon);
        std::iter::once(Self::PauseAll(false)).chain(uncordoned)
    }
}
