//! The only access of a journal of a set to hosts.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use vsiflow_postgres::shards::{ShardError, ShardSet};
use vsiflow_steps::ports::{PortError, PortErrorKind, PortResult};

use crate::membership::Membership;

/// Permits a journal to reach only its own hosts.
pub(crate) struct HostFence {
    set: Arc<ShardSet>,
    number: u16,
    /// Cache of the hosts that belong to this journal; that never changes.
    own: Mutex<BTreeSet<String>>,
}

impl HostFence {
    /// The fence of a journal; `None` if this process only reads it.
    pub(crate) fn of(shard: &Membership) -> Option<Self> {
        shard.held.is_some().then(|| Self {
            set: shard.set().clone(),
            number: shard.number,
            own: Mutex::default(),
        })
    }

    fn knows(&self, what: &str) -> bool {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.contains(what)
    }

    fn learns(&self, what: String) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.insert(what);
    }

    /// Checks that a host belongs to this journal.
    pub(crate) async fn check(&self, id: &str) -> PortResult<()> {
        let what = format!("host {id}");
        if self.knows(&what) {
            return Ok(());
        }
        let refused = |kind, why: String| PortError::new(kind, id, "", why);
        match self.set.journal_of(id).await {
            Ok(Some(journal)) if journal == self.number => {
                self.learns(what);
                Ok(())
            }
            Ok(found) => {
                let why = match found {
                    Some(journal) => format!("the host belongs to journal {journal} of the set"),
                    None => "the host belongs to no journal of the set yet".to_owned(),
                };
                Err(refused(PortErrorKind::Denied, why))
            }
            Err(error) => Err(refused(PortErrorKind::Unreachable, error.to_string())),
        }
    }

    /// Checks that the machine that answers as a host belongs to this journal, and claims a new
    /// machine for it.
    pub(crate) async fn claim(&self, id: &str, machine: Option<&str>) -> PortResult<()> {
        let refused = |kind, why: String| PortError::new(kind, id, "", why);
        let Some(machine) = machine else {
            if id == "sim" || id.starts_with("sim:") {
                return Ok(());
            }
            let why = "it does not report which machine it is: permit the account to run `cat /etc/machine-id`";
            return Err(refused(PortErrorKind::Denied, why.to_owned()));
        };
        let what = format!("machine {machine} of {id}");
        if self.knows(&what) {
            return Ok(());
        }
        match self.set.take_machine(machine, id, self.number).await {
            Ok(()) => {
                self.learns(what);
                Ok(())
            }
            Err(error @ ShardError::Elsewhere { .. }) => {
                Err(refused(PortErrorKind::Denied, error.to_string()))
            }
            Err(error) => Err(refused(PortErrorKind::Unreachable, error.to_string())),
        }
    }
}
