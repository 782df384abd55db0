//! Watches a target from another thread, so that the test ends and names the input even if the target hangs.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{FuzzTarget, corpus};

/// A target that needs longer for one input counts as hanging, even on a slow machine.
const HANGS: Duration = Duration::from_secs(60);

/// The input that is being parsed, and when that began.
#[derive(Clone, Default)]
pub(crate) struct Present(Arc<Mutex<Option<Begun>>>);

/// When parsing began, and the input.
type Begun = (Instant, Vec<u8>);

impl Present {
    pub(crate) fn begin(&self, target: &FuzzTarget, input: &[u8]) {
        // A stack overflow ends the process, so the input must be in a file.
        if std::env::var_os("VSIFLOW_FUZZ_SECONDS").is_some() {
            let path = std::env::temp_dir().join(format!("vsiflow-fuzz-{}", target.name));
            let _ = std::fs::write(path, input);
        }
        self.set(Some((Instant::now(), input.to_vec())));
    }

    pub(crate) fn end(&self) {
        self.set(None);
    }

    fn set(&self, input: Option<(Instant, Vec<u8>)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = input;
    }

    fn hanging(&self) -> Option<Vec<u8>> {
        let present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hangs = present
            .as_ref()
            .filter(|(since, _)| since.elapsed() > HANGS);
        hangs.map(|(_, input)| input.clone())
    }
}

/// Runs `work` on a new thread, whose stack has the same size as those of vsiflow's threads.
pub(crate) fn on_thread(target: FuzzTarget, work: fn(&FuzzTarget, &Present) -> Result<(), String>) {
    let (present, (done, ended)) = (Present::default(), mpsc::channel());
    let seen = present.clone();
    let _thread = thread::spawn(move || done.send(work(&target, &seen)));
    loop {
        match ended.recv_timeout(Duration::from_secs(1)) {
            Ok(Ok(())) => return,
            Ok(Err(why)) => panic!("{why}"),
            Err(RecvTimeoutError::Disconnected) => panic!("{} ended unexpectedly", target.name),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(input) = present.hanging() {
            let kept = corpus::keep(target.name, &input);
            panic!("{} does not end: {kept:?}", target.name);
        }
    }
}
