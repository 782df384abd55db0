//! Requests that read whole journals, damaged or not: verification, the audit anchor, and replay.
//!
//! They never need the fleet, because whoever asks whether a journal is sound must be answered of one that is not.
//! How a stored journal is read is behind the port [`JournalAudits`].

use async_trait::async_trait;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    audit::{AuditAnchor, PublicKey, Violation},
    journal::Offset,
};

use super::{JournalUse, Operation, ServiceRequest};
use crate::{Caller, Problem, Rights, api::Api};

/// The error code of an anchor or a key that is none.
const UNUSABLE: &str = "VSI0905";

/// Reads the journals as they are stored.
#[async_trait]
pub trait JournalAudits: Send + Sync + 'static {
    /// Verifies each journal, against an anchor and a key if there are any. Cancel safe.
    ///
    /// # Errors
    /// If a journal cannot be read at all, or holds records of a newer format.
    async fn verify(
        &self,
        anchor: Option<&AuditAnchor>,
        key: Option<&PublicKey>,
    ) -> Result<Vec<VerifiedJournal>, Problem>;

    /// The anchor of each journal. Cancel safe.
    ///
    /// # Errors
    /// If a journal cannot be read.
    async fn anchors(&self) -> Result<Vec<JournalAnchor>, Problem>;

    /// Computes the state of each journal from its events again, and checks the decisions too if `verify`. Cancel safe.
    ///
    /// # Errors
    /// If a journal cannot be read.
    async fn replay(&self, verify: bool) -> Result<Vec<ReplayedJournal>, Problem>;
}

/// Reads nothing: of a process that opened the fleets alone.
#[derive(Clone, Copy, Debug)]
pub struct NoAudits;

#[async_trait]
impl JournalAudits for NoAudits {
    async fn verify(
        &self,
        _anchor: Option<&AuditAnchor>,
        _key: Option<&PublicKey>,
    ) -> Result<Vec<VerifiedJournal>, Problem> {
        Err(unread())
    }

    async fn anchors(&self) -> Result<Vec<JournalAnchor>, Problem> {
        Err(unread())
    }

    async fn replay(&self, _verify: bool) -> Result<Vec<ReplayedJournal>, Problem> {
        Err(unread())
    }
}

fn unread() -> Problem {
    Problem::defect(&"the stored journal is not read here")
}

/// Asks whether journals are sound: nothing was changed, removed, reordered or inserted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct VerifyRequest {
    /// An anchor that was stored elsewhere: it reveals a journal that was cut off or replaced by an older copy.
    pub head: Option<String>,
    /// The public key that anchors and bases are signed with, as OpenSSH writes it or as PEM.
    pub public_key: Option<String>,
}

/// What the verification of journals found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifiedJournals {
    /// Each journal.
    pub journals: Vec<VerifiedJournal>,
}

/// What the verification of a journal found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedJournal {
    /// The journal's number in a set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<u16>,
    /// The journal's ID.
    pub journal_id: String,
    /// How many events were read.
    pub events: u64,
    /// How many batches the chain has.
    pub batches: u64,
    /// How many streams the journal has.
    pub streams: u64,
    /// How many payloads beside the journal its events name.
    pub blobs: u64,
    /// How many bases exist that an event commits to.
    pub bases: u64,
    /// Ranges of events that were removed on purpose and that a base replaces.
    pub removed: Vec<RemovedEvents>,
    /// Everything that is wrong, by offset; empty if the journal is sound.
    pub violations: Vec<Problem>,
    /// Whether so much is wrong that the verification ended before the journal's end.
    pub stopped: bool,
}

/// Events that were removed on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemovedEvents {
    /// The range, in words.
    pub range: String,
    /// The offset as of which the base is that replaces them.
    pub base: Offset,
}

impl VerifiedJournal {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.violations.is_empty()
    }

    /// What was found, in a sentence.
    pub fn summary(&self) -> String {
        let Self {
            journal_id,
            events,
            batches,
            streams,
            blobs,
            ..
        } = self;
        if self.is_sound() {
            return format!(
                "journal {journal_id}: {events} events in {batches} batches and {streams} streams, {blobs} blobs: \
                 nothing was changed, removed, reordered or inserted"
            );
        }
        let many = self.violations.len();
        let more = if self.stopped { " or more" } else { "" };
        let noun = if many == 1 { "violation" } else { "violations" };
        format!("{many}{more} {noun} in {events} events")
    }
}

impl VerifyRequest {
    /// The anchor and the key as they are used.
    fn parsed(&self) -> Result<(Option<AuditAnchor>, Option<PublicKey>), Problem> {
        let anchor = self.head.as_deref().map(str::parse::<AuditAnchor>);
        let anchor = anchor.transpose().map_err(|error| {
            let remedy =
                "pass --head the line that `vsiflow audit head` printed, or a file with it";
            unusable(&error, remedy)
        })?;
        let key = self.public_key.as_deref().map(PublicKey::read);
        let key = key.transpose().map_err(|error| {
            unusable(
                &error,
                "name an Ed25519 key, such as `ssh-keygen -t ed25519` makes",
            )
        })?;
        Ok((anchor, key))
    }
}

impl Problem {
    /// What is wrong in a journal.
    pub fn of_violation(violation: &Violation) -> Self {
        let (status, flaw) = (StatusCode::CONFLICT, violation.flaw);
        Self {
            object: violation.place(),
            ..Self::new(status, flaw.code(), &violation.what, flaw.remedy())
        }
    }
}

fn unusable(error: &impl std::fmt::Display, remedy: &str) -> Problem {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Problem::new(status, UNUSABLE, error.to_string(), remedy)
}

impl ServiceRequest for VerifyRequest {
    type Answer = VerifiedJournals;
    const OPERATION: Operation = Operation {
        id: "verifyJournals",
        path: "/v1/audit/verify",
        summary: "Check that nothing in the journals was changed, removed, reordered or inserted",
    };
    const NEEDS: Rights = Rights::Look;
    const USE: JournalUse = JournalUse::Inspect;

    fn is_shared(&self) -> bool {
        self.head.is_none() && self.public_key.is_none()
    }

    async fn answer(self, api: &Api, _caller: &Caller) -> Result<VerifiedJournals, Problem> {
        let (anchor, key) = self.parsed()?;
        if let (Some(signed), Some(by)) = (&anchor, &key)
            && let Err(violation) = signed.check(by)
        {
            // The journal is not compared with an anchor that anybody may have written.
            let unsigned = VerifiedJournal {
                journal_id: signed.journal.clone(),
                violations: vec![Problem::of_violation(&violation)],
                stopped: true,
                ..VerifiedJournal::default()
            };
            return Ok(VerifiedJournals {
                journals: vec![unsigned],
            });
        }
        let verified = api.audits().verify(anchor.as_ref(), key.as_ref());
        let journals = verified.await?;
        Ok(VerifiedJournals { journals })
    }
}

/// Asks for the newest link of each journal's chain, to be stored elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnchorRequest {}

/// The anchors of journals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JournalAnchors {
    /// Each journal's.
    pub journals: Vec<JournalAnchor>,
}

/// The anchor of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JournalAnchor {
    /// The journal's number in a set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<u16>,
    /// The anchor, without a signature: a line for [`VerifyRequest::head`].
    pub head: String,
}

impl ServiceRequest for AnchorRequest {
    type Answer = JournalAnchors;
    const OPERATION: Operation = Operation {
        id: "getAuditHead",
        path: "/v1/audit/head",
        summary: "Show the newest link of each journal's chain, to be stored elsewhere",
    };
    const NEEDS: Rights = Rights::Look;
    const USE: JournalUse = JournalUse::Inspect;

    async fn answer(self, api: &Api, _caller: &Caller) -> Result<JournalAnchors, Problem> {
        let journals = api.audits().anchors().await?;
        Ok(JournalAnchors { journals })
    }
}

/// Asks for the state that the events of each journal lead to, computed again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayRequest {
    /// Check each event against what the engine decides, and the states that are stored against those of their events.
    pub verify: bool,
}

/// What the replay of journals found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayedJournals {
    /// Each journal.
    pub journals: Vec<ReplayedJournal>,
}

/// What the replay of a journal found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayedJournal {
    /// The journal's number in a set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<u16>,
    /// What the events lead to; none if they do not follow one another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<ReplaySummary>,
    /// What is wrong, if anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<Problem>,
}

/// What the events of a journal lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplaySummary {
    /// Events.
    pub events: u64,
    /// The offset of the base from which the replay began because earlier events are missing; 0 if it began with the
    /// journal.
    pub began: Offset,
    /// Durable batches.
    pub batches: u64,
    /// Entities.
    pub entities: u64,
    /// Entities whose newest desired state has not been reached.
    pub unsettled: u64,
    /// Runs that succeeded.
    pub succeeded: u64,
    /// Runs that failed.
    pub failed: u64,
    /// Runs that were cancelled.
    pub cancelled: u64,
    /// Runs that a newer desired state superseded.
    pub superseded: u64,
    /// Runs that are open.
    pub open: u64,
}

impl ServiceRequest for ReplayRequest {
    type Answer = ReplayedJournals;
    const OPERATION: Operation = Operation {
        id: "replayJournals",
        path: "/v1/replay",
        summary: "Compute the state of each journal from its events again, and check it",
    };
    const NEEDS: Rights = Rights::Look;
    const USE: JournalUse = JournalUse::Inspect;

    async fn answer(self, api: &Api, _caller: &Caller) -> Result<ReplayedJournals, Problem> {
        let journals = api.audits().replay(self.verify).await?;
        Ok(ReplayedJournals { journals })
    }
}
