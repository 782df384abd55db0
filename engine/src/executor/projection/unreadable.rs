//! Entities whose events cannot be understood, and the errors that report them.

use crate::{
    journal::{Offset, Record},
    model::{EntityId, Failure, FailureClass, StreamId},
};

/// Why an entity's events cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableEntity {
    /// The stream: the entity's or that of one of its runs.
    pub stream: StreamId,
    /// The sequence in the stream of the event that cannot be understood.
    pub seq: u64,
    /// The offset of the event in the journal.
    pub offset: Offset,
    /// What is wrong with it.
    pub why: String,
}

impl UnreadableEntity {
    /// The error that users see.
    pub fn failure(&self, entity: &EntityId) -> Failure {
        let Self {
            stream,
            seq,
            offset,
            why,
        } = self;
        let message = format!("{stream} #{seq} (offset {offset}) cannot be understood: {why}");
        let failure = Failure::new(FailureClass::Blocked, "VSI0018", message);
        failure.of_object(entity.to_string()).with_remedy(
            "restore a backup, or use the version of vsiflow that wrote it where that is newer; nothing \
             is done for it until then, and `vsiflow audit verify` names the damage",
        )
    }

    /// The error if a blob that the entity names is lost.
    pub fn lost(entity: &EntityId, what: &str) -> Failure {
        let message = format!("something that it names is lost: {what}");
        let failure = Failure::new(FailureClass::Blocked, "VSI0018", message);
        failure.of_object(entity.to_string()).with_remedy(
            "restore a backup, or put the blob back into `blobs/` of the state directory; nothing is \
             done for it until then, and `vsiflow audit verify` names what is missing",
        )
    }

    pub(super) fn of(record: &Record, why: String) -> Self {
        Self {
            stream: record.stream.clone(),
            seq: record.seq,
            offset: record.offset,
            why,
        }
    }
}
