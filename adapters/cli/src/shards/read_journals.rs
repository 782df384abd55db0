//! Journals of a set that are opened for reading, each when it is first needed.

use std::collections::BTreeMap;

use futures::future::try_join_all;

use super::SetPlace;
use crate::{args::Common, compose::App, exit::ExitProblem};

/// Journals that are open for reading.
pub(super) struct ReadJournals<'a> {
    pub(super) place: &'a SetPlace,
    common: &'a Common,
    pub(super) open: BTreeMap<u16, App>,
}

impl<'a> ReadJournals<'a> {
    pub(super) fn none(place: &'a SetPlace, common: &'a Common) -> Self {
        let open = BTreeMap::new();
        Self {
            place,
            common,
            open,
        }
    }

    pub(super) async fn open(&mut self, numbers: &[u16]) -> Result<(), ExitProblem> {
        let missing = numbers
            .iter()
            .filter(|number| !self.open.contains_key(number));
        let opening = missing.map(|number| {
            let member = self.place.member(self.common, *number, None);
            async move {
                Box::pin(App::open_to_read_at(&member))
                    .await
                    .map(|app| (*number, app))
            }
        });
        let opened = try_join_all(opening).await?;
        self.open.extend(opened);
        Ok(())
    }

    pub(super) async fn open_all(&mut self) -> Result<(), ExitProblem> {
        let all: Vec<_> = (0..self.place.set.journals()).collect();
        self.open(&all).await
    }

    pub(super) async fn close(self) {
        App::end(self.open.into_values().collect(), ()).await;
    }
}
