//! Unpacks each image on a thread of its own.
//!
//! An image is unpacked as fast as its source sends it, and some sources take hours. The runtime has a limited number of
//! threads for blocking work, on which everybody's files are read: slow sources of one tenant would hold all of them.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use tokio::runtime::Handle;

use super::Unpacking;

/// The error when unpacking has a defect: what was sent until then is not the whole image.
#[derive(Debug, thiserror::Error)]
#[error("unpacking it panicked")]
struct Panicked;

/// Does the work on a thread of its own. The reader of the image receives its error, also that of a panic.
pub(crate) fn spawn(
    unpacking: Arc<Unpacking>,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) {
    let (runtime, reader) = (Handle::current(), unpacking.clone());
    let unpack = move || {
        let _timers = runtime.enter();
        let result = catch_unwind(AssertUnwindSafe(work));
        if let Err(error) = result.unwrap_or_else(|_| Err(io::Error::other(Panicked))) {
            unpacking.fail(error);
        }
    };
    let spawned = thread::Builder::new()
        .name("unpacking".to_owned())
        .spawn(unpack);
    if let Err(error) = spawned {
        reader.fail_now(error);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_no_end_of_the_image() {
        let (to, mut image) = mpsc::channel(1);
        spawn(Arc::new(Unpacking::new(Arc::default(), to)), || {
            panic!("the test asked for it")
        });
        let error = image.recv().await.unwrap().unwrap_err();
        assert!(error.get_ref().unwrap().is::<Panicked>());
        assert!(image.recv().await.is_none());
    }
}
