//! A compacted journal says what the whole one says.

use proptest::prelude::*;

use super::*;
use crate::executor::folded;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(work)
}

/// Some lives, the last of them cut off somewhere.
async fn journal(lives: u64, cut: usize) -> MemoryJournal {
    let journal = MemoryJournal::new();
    herd::write(&journal, 0..lives).await;
    let last = herd::batches(lives);
    herd::append(&journal, &last[..cut.min(last.len())]).await;
    journal
}

async fn same_states(whole: &dyn ChainedJournal, compacted: &dyn ChainedJournal) {
    let (before, after) = (folded(whole).await, folded(compacted).await);
    let archived = |run: &crate::model::RunId| !after.runs.contains_key(run);
    let mut expected = before.clone();
    expected.runs.retain(|run, _| !archived(run));
    for (state, _) in expected.entities.values_mut() {
        state.runs.retain(|run| !archived(run));
    }
    assert_eq!(after, expected);
    for (run, (state, _)) in &before.runs {
        assert!(state.result().is_some() || !archived(run), "{run} is open");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_folded_is_the_same_before_and_after(
        lives in 0..3_u64,
        cut in 0..30_usize,
        first in 0..4_u64,
        second in 0..4_u64,
    ) {
        block_on(async {
            let whole = journal(lives, cut).await;
            let Some(once) = in_memory(&whole, herd::time(first)).await else {
                return;
            };
            same_states(&whole, &once).await;
            verified(&once).await;
            let rest = herd::batches(lives);
            let rest = &rest[cut.min(rest.len())..];
            herd::append(&whole, rest).await;
            herd::append(&once, rest).await;
            same_states(&whole, &once).await;
            if let Some(twice) = in_memory(&once, herd::time(second)).await {
                same_states(&whole, &twice).await;
                verified(&twice).await;
            }
        });
    }
}
