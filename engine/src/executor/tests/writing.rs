//! The engine's behaviour while the journal writes a batch.

use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
};

use super::*;
use crate::journal::{Append, JournalError, JournalLayer, States, StatesUpdate, StreamState};

/// More appends than any test makes.
const MANY: usize = 1_000;

/// A journal whose appends wait until the test releases them.
struct Slow {
    inner: Arc<MemoryJournal>,
    gate: Semaphore,
    /// The number of appends so far.
    appends: watch::Sender<usize>,
    /// The updates that the index received.
    published: Mutex<Vec<StatesUpdate>>,
    fails: std::sync::atomic::AtomicBool,
    /// Whether a base is due, whose writing panics.
    base_panics: std::sync::atomic::AtomicBool,
}

impl Slow {
    fn before(bench: &Bench) -> Arc<Self> {
        Arc::new(Self {
            inner: bench.journal.clone(),
            gate: Semaphore::new(MANY),
            appends: watch::Sender::default(),
            published: Mutex::default(),
            fails: false.into(),
            base_panics: false.into(),
        })
    }

    fn hold(&self) {
        self.gate.forget_permits(MANY);
    }

    fn release(&self, appends: usize) {
        self.gate.add_permits(appends);
    }

    /// Waits until that many appends were requested.
    async fn wait_for_appends(&self, appends: usize) {
        let mut seen = self.appends.subscribe();
        let reached = seen.wait_for(|seen| *seen >= appends);
        let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
        assert!(reached.is_ok(), "{appends} appends");
    }

    fn so_far(&self) -> usize {
        *self.appends.borrow()
    }
}

#[async_trait]
impl JournalLayer for Slow {
    fn inner(&self) -> &dyn Journal {
        self.inner.as_ref()
    }

    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        self.appends.send_modify(|appends| *appends += 1);
        self.gate.acquire().await.unwrap().forget();
        if self.fails.load(Ordering::SeqCst) {
            return Err(JournalError::Storage("the test wants it so".into()));
        }
        self.inner.append(batch).await
    }

    fn base_is_due(&self) -> bool {
        self.base_panics.load(Ordering::SeqCst)
    }

    async fn write_base(&self, _: States) -> Result<Option<Hash>, JournalError> {
        panic!("the test asked for it")
    }

    fn publish(&self, update: StatesUpdate) {
        self.published.lock().unwrap().push(update);
    }
}

type Answer = JoinHandle<Result<Vec<u64>, EngineError>>;

/// Submits a desired state that the engine decides on while a batch is written.
async fn decided_meanwhile(engine: &Engine, id: &str) -> Answer {
    let (other, update) = (engine.clone(), update_of(id, "one", Precedence::Supersede));
    let answer = tokio::spawn(async move { other.submit(vec![update], by()).await });
    tokio::task::yield_now().await;
    // When this request is answered, the earlier one has been decided.
    let refused = engine.submit(vec![update_of("r", "refused", Precedence::Supersede)], by());
    let refused = tokio::time::timeout(Duration::from_secs(60), refused).await;
    assert!(matches!(refused, Ok(Err(EngineError::Refused(_)))));
    answer
}

#[tokio::test(start_paused = true)]
async fn what_is_decided_while_a_batch_is_written_is_shown_and_carried_out_after_it() {
    let bench = Bench::default();
    let journal = Slow::before(&bench);
    let engine = bench.open_on(journal.clone()).await;
    journal.hold();
    let first = decided_meanwhile(&engine, "x").await;
    journal.wait_for_appends(1).await;
    let second = decided_meanwhile(&engine, "x").await;
    let other = decided_meanwhile(&engine, "y").await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!((journal.so_far(), bench.attempts()), (1, 0));
    assert_eq!(engine.entity(&entity("x")), None);

    journal.release(1);
    assert_eq!(first.await.unwrap(), Ok(vec![1]));
    journal.wait_for_appends(2).await;
    let shown = engine.entity(&entity("x")).unwrap();
    assert_eq!(shown.desired.as_ref().unwrap().generation, 1);
    assert_eq!(engine.entity(&entity("y")), None);
    assert_eq!(engine.end(), bench.events().await.len() as u64);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(!second.is_finished() && !other.is_finished());
    assert!(bench.attempts() <= 1, "y is attempted");

    journal.release(MANY);
    assert_eq!(second.await.unwrap(), Ok(vec![2]));
    assert_eq!(other.await.unwrap(), Ok(vec![1]));
    settled(&engine, "x").await;
    settled(&engine, "y").await;
}

#[tokio::test(start_paused = true)]
async fn an_index_is_told_states_as_the_durable_batch_left_them() {
    let bench = Bench::default();
    let journal = Slow::before(&bench);
    let engine = bench.open_on(journal.clone()).await;
    journal.hold();
    let answers = [
        decided_meanwhile(&engine, "x").await,
        decided_meanwhile(&engine, "x").await,
        decided_meanwhile(&engine, "y").await,
    ];
    journal.release(MANY);
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    settled(&engine, "x").await;
    settled(&engine, "y").await;
    engine.close().await;

    let events = bench.events().await;
    let published = std::mem::take(&mut *journal.published.lock().unwrap());
    assert!(published.len() > 2, "{}", published.len());
    for update in published {
        for state in update.changed {
            let (stream, next_seq, hash) = match &state {
                StreamState::Entity(_, folded) => (state.stream(), folded.next_seq, folded.hash),
                StreamState::Run(_, folded) => (state.stream(), folded.next_seq, folded.hash),
                StreamState::Journal { next_seq, hash } => (state.stream(), *next_seq, *hash),
            };
            let mut its = events.iter().filter(|record| record.stream == stream);
            let newest = its.rfind(|record| record.offset < update.as_of);
            let newest = newest.map(|record| (record.seq + 1, record.hash));
            assert_eq!(
                newest,
                Some((next_seq, hash)),
                "{stream} as of {}",
                update.as_of
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_a_batch_cannot_be_written_those_who_wait_for_the_next_one_are_told_so_as_well() {
    let bench = Bench::default();
    let journal = Slow::before(&bench);
    let engine = bench.open_on(journal.clone()).await;
    journal.hold();
    let first = decided_meanwhile(&engine, "x").await;
    journal.wait_for_appends(1).await;
    let second = decided_meanwhile(&engine, "y").await;
    journal.fails.store(true, Ordering::SeqCst);
    journal.release(MANY);
    let failed = |answer: Result<Vec<u64>, EngineError>| {
        assert!(matches!(
            answer,
            Err(EngineError::Journal(JournalError::Storage(_)))
        ));
    };
    failed(first.await.unwrap());
    failed(second.await.unwrap());
    assert_eq!((journal.so_far(), bench.events().await.len()), (1, 0));
    let ended = engine.submit(vec![update_of("z", "one", Precedence::Supersede)], by());
    assert_eq!(ended.await, Err(EngineError::Ended));
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_writes_what_was_decided_meanwhile() {
    let bench = Bench::default();
    let journal = Slow::before(&bench);
    let engine = bench.open_on(journal.clone()).await;
    journal.hold();
    let first = decided_meanwhile(&engine, "x").await;
    journal.wait_for_appends(1).await;
    let second = decided_meanwhile(&engine, "y").await;
    let closing = tokio::spawn({
        let engine = engine.clone();
        async move { engine.close().await }
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    journal.release(MANY);
    assert_eq!(first.await.unwrap(), Ok(vec![1]));
    assert_eq!(second.await.unwrap(), Ok(vec![1]));
    closing.await.unwrap();
    let again = bench.open().await;
    again.drive(Drive::All).await.unwrap();
    settled(&again, "x").await;
    settled(&again, "y").await;
}

#[tokio::test(start_paused = true)]
async fn a_run_is_not_forgotten_before_its_end_is_durable() {
    let bench = Bench::playing([Play::UntilLet]);
    let journal = Slow::before(&bench);
    let engine = bench.open_on(journal.clone()).await;
    submit_one(&engine, "x", "one").await;
    while bench.attempts() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    journal.hold();
    let before = journal.so_far();
    bench.script.hold.notify_one();
    journal.wait_for_appends(before + 1).await;
    let never = Timestamp(u64::MAX);
    assert_eq!(engine.forget_ended(never, |_, _| true).await, Ok(0));
    journal.release(MANY);
    settled(&engine, "x").await;
    assert_eq!(engine.forget_ended(never, |_, _| true).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_base_whose_writing_panics_ends_the_engine() {
    let bench = Bench::default();
    let journal = Slow::before(&bench);
    journal.base_panics.store(true, Ordering::SeqCst);
    let engine = bench.open_on(journal).await;
    let mut notices = engine.notices();
    let update = update_of("x", "one", Precedence::Supersede);
    engine.submit(vec![update], by()).await.unwrap();
    let ended = async { while !matches!(notices.recv().await, Ok(Notice::Ended)) {} };
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
    assert!(ended.is_ok(), "the engine continues");
}
