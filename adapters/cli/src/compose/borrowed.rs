//! Lends the open journal of this process to the commands of callers.

use std::future::Future;

use super::App;

tokio::task_local! {
    static HELD: App;
}

impl App {
    /// Runs a caller's command with everything that this process has open.
    pub(crate) async fn lend<T>(self, work: impl Future<Output = T>) -> T {
        HELD.scope(self, work).await
    }

    /// What this process has open, for a caller's command.
    pub(crate) fn held() -> Option<Self> {
        HELD.try_with(Self::clone).ok()
    }

    /// A handle for a caller's command, which must not close it.
    pub(crate) fn for_others(&self) -> Self {
        Self {
            borrowed: true,
            ..self.clone()
        }
    }

    /// Whether this is a caller's command.
    pub(crate) fn is_borrowed(&self) -> bool {
        self.borrowed
    }
}
