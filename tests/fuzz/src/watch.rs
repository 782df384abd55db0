//! Watching a target from another thread: whatever it does, its test ends and names the input.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{Target, corpus};

/// After so long an input counts as one that never ends, however slow the machine.
const HANGS: Duration = Duration::from_secs(60);

/// The input that is being parsed, and since when.
#[derive(Clone, Default)]
pub(crate) struct Present(Arc<Mutex<Option<Begun>>>);

/// When parsing began, and of what.
type Begun = (Instant, Vec<u8>);

impl Present {
    pub(crate) fn begin(&self, target: &Target, input: &[u8]) {
        // A stack that overflows takes the process with it: only a file tells of the input.
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

/// Runs `work` on a thread of its own, with the stack that threads of the product have.
pub(crate) fn on_thread(target: Target, work: fn(&Target, &Present) -> Result<(), String>) {
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
