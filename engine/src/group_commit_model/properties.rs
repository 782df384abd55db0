//! Properties of the group commit that hold for any order of its threads.

use std::sync::Arc;

use futures::FutureExt as _;
use shuttle::future::{JoinHandle, block_on, spawn};

use super::{
    disk::{ALONE, LIGHT, ModelDisk, ModelStage, Writing, failure},
    group_commit::GroupWriter,
};
use crate::journal::JournalError;

type ModelWriter = Arc<GroupWriter<Writing>>;

fn writer(disk: &ModelDisk, fails_at: Option<usize>) -> ModelWriter {
    let (stage, commit) = (ModelStage::on(disk), Writing::to(disk, fails_at));
    Arc::new(GroupWriter::start("model", stage, commit).unwrap())
}

/// A caller that writes these requests one after another until one fails. Checks that each
/// acknowledged request is on the disk, and that its answer belongs to it.
fn caller(
    writer: &ModelWriter,
    disk: &ModelDisk,
    requests: [u32; 2],
) -> JoinHandle<Result<(), JournalError>> {
    let (writer, disk) = (writer.clone(), disk.clone());
    spawn(async move {
        for request in requests {
            let answer = writer.write(request).await?;
            assert_eq!(answer, request, "somebody else's answer");
            assert!(disk.has(request), "{request} was acknowledged, not written");
        }
        Ok(())
    })
}

/// Three concurrent callers: all requests are acknowledged and written once, and those of one caller
/// are in order.
pub(super) fn what_is_acknowledged_was_written() {
    let disk = ModelDisk::default();
    let writer = writer(&disk, None);
    let callers = [[1, 2], [3, 4], [5, 6]].map(|requests| caller(&writer, &disk, requests));
    block_on(async {
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Ok(()));
        }
        writer.close().await;
    });
    let mut written = disk.written();
    for (first, second) in [(1, 2), (3, 4), (5, 6)] {
        let place = |sought| written.iter().position(|request| *request == sought);
        assert!(place(first) < place(second), "{written:?}");
    }
    written.sort_unstable();
    assert_eq!(written, [1, 2, 3, 4, 5, 6]);
}

/// Requests for which there is room are written in the order of arrival.
pub(super) fn the_order_of_requests_is_kept() {
    // The order of requests that wait for room is not defined, so all of these fit.
    let requests = LIGHT..LIGHT + 5;
    let disk = ModelDisk::default();
    let writer = writer(&disk, None);
    block_on(async {
        let writes = requests.clone().map(|request| writer.write(request));
        let answers = futures::future::join_all(writes).await;
        assert_eq!(answers, requests.clone().map(Ok).collect::<Vec<_>>());
        writer.close().await;
    });
    assert_eq!(disk.written(), requests.collect::<Vec<_>>());
}

/// A request that is alone is written alone: later requests are admitted after it was written.
pub(super) fn nothing_is_taken_in_before_what_is_alone_is_written() {
    let disk = ModelDisk::default();
    let writer = writer(&disk, None);
    let callers =
        [[1, 2], [ALONE, 3], [4, ALONE + 1]].map(|requests| caller(&writer, &disk, requests));
    block_on(async {
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Ok(()));
        }
        writer.close().await;
    });
}

/// A disk that fails: every caller gets a correct answer, and no later write is begun.
pub(super) fn a_failure_answers_everybody_and_ends_all_writing() {
    let disk = ModelDisk::default();
    let writer = writer(&disk, Some(2));
    let callers = [[1, 2], [3, 4], [5, 6]].map(|requests| caller(&writer, &disk, requests));
    let waiting = writer.clone();
    let failed = shuttle::thread::spawn(move || block_on(waiting.failed()));
    block_on(async {
        for caller in callers {
            let ended = caller.await.unwrap();
            assert!(ended.is_ok() || ended == Err(failure()), "{ended:?}");
        }
        // Six requests are more than the first group takes.
        assert_eq!(failed.join().unwrap(), failure());
        assert_eq!(writer.check(), Err(failure()));
        assert_eq!(writer.write(7).await, Err(failure()));
        writer.close().await;
    });
    assert_eq!(disk.begun_after_failure(), 0);
    assert!(!disk.has(7));
}

/// A reader that finds a failing disk ends all writing; no caller waits forever.
pub(super) fn a_failure_met_elsewhere_ends_all_writing() {
    let disk = ModelDisk::default();
    let writer = writer(&disk, None);
    let callers = [[1, 2], [3, 4]].map(|requests| caller(&writer, &disk, requests));
    let reader = writer.clone();
    let reader = spawn(async move { reader.fail(&failure()) });
    block_on(async {
        reader.await.unwrap();
        assert_eq!(writer.write(7).await, Err(failure()));
        for caller in callers {
            let ended = caller.await.unwrap();
            assert!(ended.is_ok() || ended == Err(failure()), "{ended:?}");
        }
        writer.close().await;
    });
    assert!(!disk.has(7));
}

/// Closing with active callers: each is served or refused, and nothing is written afterwards.
pub(super) fn closing_finishes_what_waits() {
    let disk = ModelDisk::default();
    let writer = writer(&disk, None);
    let callers = [[1, 2], [3, 4]].map(|requests| caller(&writer, &disk, requests));
    let observed = disk.clone();
    block_on(async {
        writer.close().await;
        let written = observed.written();
        for caller in callers {
            let ended = caller.await.unwrap();
            assert!(
                ended.is_ok() || ended == Err(JournalError::Closed),
                "{ended:?}"
            );
        }
        assert_eq!(writer.write(7).await, Err(JournalError::Closed));
        assert_eq!(observed.written(), written, "written after it was closed");
    });
}

/// An admitted request is written even if its caller stopped waiting.
pub(super) fn nobody_has_to_wait_for_the_answer() {
    let disk = ModelDisk::default();
    let writer = writer(&disk, None);
    block_on(async {
        // The first poll admits the request, because there is room.
        let answered = writer.write(1).now_or_never();
        assert!(answered.is_none_or(|answer| answer == Ok(1)));
        writer.close().await;
    });
    assert_eq!(disk.written(), [1]);
}
