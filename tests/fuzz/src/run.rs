//! Runs a target on its corpus and on mutations.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    FuzzTarget,
    corpus::{self, Corpus},
    mutation::{Material, Mutation, any_mutation},
    watch::Present,
};

/// The number of inputs of a sample, and of each round of a long run.
const CASES: u32 = 512;

/// The most bytes that any target may hold at the same time, whatever it states and however long its input is:
/// what one outsider's input may cost in a process of 512 MiB.
const MEMORY_MAX: u64 = 64 * 1024 * 1024;

/// The most processor time of one input, for any target.
const TIME_MAX: Duration = Duration::from_secs(1);

/// How long an input that broke a target is made smaller, in milliseconds.
const SHRINKING_MS: u32 = 30_000;

/// Runs the target on its corpus, then on mutations. The error names the first input that breaks a bound.
pub(crate) fn all(target: &FuzzTarget, present: &Present) -> Result<(), String> {
    let corpus = Corpus::load(target.name);
    for (name, seed) in &corpus.seeds {
        one(target, present, seed).map_err(|why| format!("{}/{name}: {why}", target.name))?;
    }
    let until = seconds().map(|seconds| Instant::now() + seconds);
    loop {
        round(target, present, &corpus)?;
        if until.is_none_or(|until| Instant::now() >= until) {
            return Ok(());
        }
    }
}

/// How long a long run takes; none for a sample.
fn seconds() -> Option<Duration> {
    let seconds = std::env::var("VSIFLOW_FUZZ_SECONDS").ok()?;
    let seconds = seconds.parse().expect("VSIFLOW_FUZZ_SECONDS is a number");
    Some(Duration::from_secs(seconds))
}

fn round(target: &FuzzTarget, present: &Present, corpus: &Corpus) -> Result<(), String> {
    let material = Material {
        seeds: &corpus.seeds,
        words: target.words,
    };
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        max_shrink_time: SHRINKING_MS,
        failure_persistence: None,
        ..Config::default()
    });
    let inputs = (any::<Index>(), prop::collection::vec(any_mutation(), 1..8));
    let failed = runner.run(&inputs, |(seed, mutations)| {
        one(target, present, &material.input(seed, &mutations)).map_err(TestCaseError::fail)
    });
    failed.map_err(|error| match error {
        TestError::Fail(why, (seed, mutations)) => {
            found(target, &material, seed, &mutations, why.message())
        }
        TestError::Abort(why) => why.message().to_owned(),
    })
}

fn found(
    target: &FuzzTarget,
    material: &Material<'_>,
    seed: Index,
    mutations: &[Mutation],
    why: &str,
) -> String {
    let input = material.input(seed, mutations);
    let kept = corpus::keep(target.name, &input);
    let place = kept.map_or_else(|e| e.to_string(), |path| path.display().to_string());
    let shown = input.get(..200).unwrap_or(&input).escape_ascii();
    format!(
        "{}: {why}\n{} bytes, kept as {place}: {shown}",
        target.name,
        input.len()
    )
}

/// Runs the target on one input. The error says which bound it breaks.
fn one(target: &FuzzTarget, present: &Present, input: &[u8]) -> Result<(), String> {
    present.begin(target, input);
    let (begun, mut ended) = (processor_time(), None);
    let taken = allocation_counter::measure(|| {
        ended = Some(catch_unwind(AssertUnwindSafe(|| (target.run)(input))));
    });
    let time = processor_time().saturating_sub(begun);
    present.end();
    if let Some(Err(panic)) = ended {
        return Err(format!("panics: {}", message(panic.as_ref())));
    }
    let length = u64::try_from(input.len()).unwrap_or(u64::MAX);
    let allowed = target
        .memory_per_byte
        .saturating_mul(length)
        .saturating_add(target.memory)
        .min(MEMORY_MAX);
    if taken.bytes_max > allowed {
        return Err(format!(
            "holds {} bytes at once of {allowed} allowed",
            taken.bytes_max
        ));
    }
    let allowed_time = target.time.min(TIME_MAX);
    if time > allowed_time {
        return Err(format!("takes {time:?} of {allowed_time:?} allowed"));
    }
    Ok(())
}

/// The processor time of this thread, which other processes do not affect.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "of no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(target: FuzzTarget) -> Result<(), String> {
        one(&target, &Present::default(), b"input")
    }

    #[test]
    fn no_target_may_allow_itself_more_than_an_outsider_may_cost() {
        let generous = |run| FuzzTarget {
            memory: u64::MAX,
            time: Duration::from_secs(60),
            ..FuzzTarget::new("generous", run)
        };
        let greedy = outcome(generous(|_| drop(vec![1_u8; 65 << 20])));
        assert!(greedy.unwrap_err().contains("67108864 allowed"));
        let slow = outcome(generous(|_| {
            while processor_time() < Duration::from_secs(2) {
                std::hint::spin_loop();
            }
        }));
        assert!(slow.unwrap_err().contains("1s allowed"));
        assert_eq!(outcome(generous(|_| drop(vec![1_u8; 60 << 20]))), Ok(()));
    }
}
