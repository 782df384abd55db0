//! Several processes that share the journals of one database: `serve --shards auto`.
//!
//! A database holds a set of journals ([`vsiflow_postgres::shards`]). A host belongs to one of them for good;
//! a VSI and its disks belong to the journal of their host. Each journal has its own engine and fleet, in the
//! process that has its lease. So objects never move between journals: only the lease of a whole journal
//! moves.
//!
//! - [`share`] (pure): how many journals are a process's share.
//! - [`rebalance`]: takes and releases journals; [`journal`]: works on one; [`answering`]: carries out the
//!   requests to it ([`journal_holder`], [`under_way`]).
//! - [`front`]: routes a command on a set: it reads all journals, or sends requests to the holders of those
//!   that it concerns; [`ask`]: such a request and its answer.
//! - [`documents`]: has the journals that documents concern do their parts; [`local_documents`]: the part that
//!   belongs to a journal; [`claims`]: names that belong to one journal.
//! - [`consoles`]: consoles and screens, which the journals of VSIs record.
//! - [`adopting`]: adopts domains into the journals of their hosts.
//! - [`snapshots`]: the names of snapshots, and the journals that have them.
//! - [`networks`]: the journals that have a network, and how it ends in all of them.
//! - [`choose`]: journal 0 chooses hosts over all journals, and hands over; [`report`]: what a journal
//!   reports for that.
//! - [`members`]: requests of the pools and groups of journal 0 to all journals; [`object_requests`]: how
//!   these are found again.
//! - [`cluster`]: the custom resources of a Kubernetes cluster, of which each journal serves its own;
//!   [`decided`]: those that journal 0 decides about.
//! - [`api`]: requests to the API that change something in one journal; [`command_set`]: those of a command.
//! - [`view`]: all journals, for the page and the API of a process.
//!
//! `compose::host_fence` permits a journal its own hosts only.
//!
//! Guarantees, in addition to those of [`vsiflow_postgres::shards`]:
//! - **No host is acted on by two journals.** Before a journal's first call to a host, the database confirms
//!   that the host, and the machine that answers there, belong to this journal. And a journal has one writer,
//!   whose lease bounds what it does to hosts.
//! - **A process that loses one lease ends completely.** It was stopped or disconnected, so its other leases
//!   prove nothing.
//! - **A command on several journals succeeds or fails in each of them separately, and each result is
//!   reported.** It is atomic within one journal, but not over several.
//!
//! This module decides nothing about a VSI, records only through a fleet, and never half does what needs
//! several journals at the same time. Documents that name no host are refused (VSI0763), as are commands that
//! would show or change only a part (VSI0764).

pub(crate) mod adopting;
mod answering;
mod api;
mod ask;
mod choose;
mod claims;
mod cluster;
mod command_set;
pub(crate) mod consoles;
mod decided;
mod documents;
mod failure;
pub(crate) mod front;
mod journal;
mod journal_holder;
pub(crate) mod local_documents;
mod members;
mod networks;
mod object_requests;
mod read_journals;
mod rebalance;
mod remote_problem;
mod report;
mod share;
pub(crate) mod snapshots;
mod under_way;
mod view;

use std::sync::Arc;

use vsiflow_postgres::{Held, shards::ShardError};

use crate::{
    args::Common,
    compose::App,
    exit::{Exit, ExitProblem},
    membership::{Membership, SetPlace},
};

pub(crate) use command_set::CommandSet;
pub(crate) use rebalance::serve;

/// The number of the journal that decides over all of them.
const DECIDES: u16 = 0;

impl SetPlace {
    /// The options of a command, for one of the journals.
    pub(crate) fn member(&self, common: &Common, number: u16, held: Option<Arc<Held>>) -> Common {
        Common {
            journal: Some(self.set.member(number).into()),
            shard: Some(Membership {
                number,
                place: self.clone(),
                held,
                turn: Arc::default(),
            }),
            set: None,
            ..common.clone()
        }
    }

    /// Opens all journals for reading.
    pub(crate) async fn open_all_to_read(&self, common: &Common) -> Result<Vec<App>, ExitProblem> {
        let members = self.members(common);
        futures::future::try_join_all(members.iter().map(App::open_to_read_at)).await
    }

    /// The options of a command, for each of the journals.
    pub(crate) fn members(&self, common: &Common) -> Vec<Common> {
        let numbers = 0..self.set.journals();
        numbers
            .map(|number| self.member(common, number, None))
            .collect()
    }
}

/// The problem to report for an error of a set.
pub(crate) fn problem(error: &ShardError) -> ExitProblem {
    let exit = match error {
        ShardError::Many { .. }
        | ShardError::Name { .. }
        | ShardError::Size { .. }
        | ShardError::IsJournal { .. } => Exit::Usage,
        ShardError::Elsewhere { .. } => Exit::Blocked,
        _ => Exit::Failed,
    };
    ExitProblem::new(exit, error.code(), error.to_string(), error.remedy())
}
