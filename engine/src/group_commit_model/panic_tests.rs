//! How a writer behaves after a panic. Shuttle reports every panic as a failure, so these tests use
//! system threads.

use std::{sync::Arc, time::Duration};

use crate::{
    group_commit::{Commit, CommitRequest, GroupStage, GroupWriter},
    journal::JournalError,
};

/// Where it panics.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PanicPlace {
    Admit,
    Commit,
}

struct Faulty(Option<PanicPlace>);

impl CommitRequest for Faulty {
    fn weight(&self) -> usize {
        1
    }
}

#[derive(Default)]
struct FaultyStage(Vec<Faulty>);

impl GroupStage for FaultyStage {
    type Request = Faulty;
    type Group = Vec<Faulty>;

    fn admit(&mut self, request: Faulty) {
        assert!(request.0 != Some(PanicPlace::Admit), "on purpose");
        self.0.push(request);
    }

    fn seal(&mut self) -> Vec<Faulty> {
        std::mem::take(&mut self.0)
    }
}

struct FaultyCommit;

impl Commit for FaultyCommit {
    type Stage = FaultyStage;
    type Reply = ();

    fn commit(
        &mut self,
        group: Vec<Faulty>,
    ) -> Result<Vec<Result<(), JournalError>>, JournalError> {
        let ends = group
            .iter()
            .any(|request| request.0 == Some(PanicPlace::Commit));
        assert!(!ends, "on purpose");
        Ok(group.iter().map(|_| Ok(())).collect())
    }
}

fn writer() -> Arc<GroupWriter<FaultyCommit>> {
    Arc::new(GroupWriter::start("faulty", FaultyStage::default(), FaultyCommit).unwrap())
}

/// All writing ends with an error that says so, and no caller waits forever.
async fn all_writing_ends(writer: &GroupWriter<FaultyCommit>) {
    assert!(matches!(writer.failed().await, JournalError::Storage(_)));
    let later = writer.write(Faulty(None)).await;
    assert!(matches!(later, Err(JournalError::Storage(_))), "{later:?}");
    writer.close().await;
}

#[tokio::test]
async fn a_panic_of_the_thread_ends_all_writing() {
    let writer = writer();
    assert_eq!(writer.write(Faulty(None)).await, Ok(()));
    let answer = writer.write(Faulty(Some(PanicPlace::Commit))).await;
    assert!(
        matches!(answer, Err(JournalError::Storage(_))),
        "{answer:?}"
    );
    all_writing_ends(&writer).await;
}

#[tokio::test]
async fn a_panic_while_a_request_is_taken_in_ends_all_writing() {
    let writer = writer();
    // Long enough that the thread sleeps and has to be woken.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let caller = Arc::clone(&writer);
    let panicked = tokio::spawn(async move { caller.write(Faulty(Some(PanicPlace::Admit))).await });
    assert!(panicked.await.unwrap_err().is_panic());
    all_writing_ends(&writer).await;
}
