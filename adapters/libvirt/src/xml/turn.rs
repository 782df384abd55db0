//! Where documents of hosts are parsed: short ones at once, long ones outside of the runtime's threads.

use std::sync::Arc;

use vsiflow_engine::low_priority;
use vsiflow_steps::turns::WorkTurns;

use super::XmlError;

/// Documents up to this length are parsed at once: that takes a millisecond.
const AT_ONCE: usize = 64 << 10;

/// Parses documents of this length together. Long ones take a turn of the host's owner, which lasts as long as the
/// parsing, also if nobody waits for it any more.
///
/// # Errors
/// Those of `parse`.
pub(crate) async fn in_turn<T: Send + 'static>(
    owner: &Arc<str>,
    length: usize,
    parse: impl FnOnce() -> Result<T, XmlError> + Send + 'static,
) -> Result<T, XmlError> {
    if length <= AT_ONCE {
        return parse();
    }
    let turn = WorkTurns::current().take(owner).await;
    let work = move || {
        let _turn = turn;
        parse()
    };
    let parsed = low_priority::aside(work).await;
    parsed.unwrap_or_else(|_| Err(XmlError("reading it failed".to_owned())))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc,
        thread::{self, ThreadId},
    };

    use super::*;

    async fn thread_of(length: usize) -> ThreadId {
        let owner = "namespace/of-test".into();
        let parse = || Ok(thread::current().id());
        in_turn(&owner, length, parse).await.unwrap()
    }

    #[tokio::test]
    async fn long_documents_are_parsed_outside_of_the_runtimes_threads() {
        let here = thread::current().id();
        assert_eq!(thread_of(AT_ONCE).await, here);
        assert_ne!(thread_of(AT_ONCE + 1).await, here);
        let panics = || -> Result<(), XmlError> { panic!("of the parser") };
        let refused = in_turn(&"a".into(), AT_ONCE + 1, panics).await;
        assert!(refused.is_err());
    }

    #[tokio::test]
    async fn parsing_that_nobody_waits_for_keeps_its_turn_until_it_ends() {
        let owner: Arc<str> = "namespace/hostile".into();
        let (release, released) = mpsc::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let parse = move || {
            begun.send(()).unwrap();
            released.recv().unwrap();
            Ok(())
        };
        let of_task = owner.clone();
        let abandoned = tokio::spawn(async move { in_turn(&of_task, AT_ONCE + 1, parse).await });
        begins.await.unwrap();
        abandoned.abort();
        assert!(abandoned.await.is_err());
        let mut next = Box::pin(in_turn(&owner, AT_ONCE + 1, || Ok(7)));
        for _ in 0..100 {
            assert!(futures::poll!(&mut next).is_pending());
            tokio::task::yield_now().await;
        }
        release.send(()).unwrap();
        assert_eq!(next.await, Ok(7));
    }
}
