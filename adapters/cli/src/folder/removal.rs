//! Decides when a document that is missing from a folder counts as removed.

use std::time::{Duration, Instant};

use super::reading::FolderVersion;

/// How long a reading has to stay the same before its missing documents count as removed.
const SETTLED: Duration = Duration::from_secs(10);

/// The version of the folder, and since when it has been the same.
#[derive(Debug, Default)]
pub(super) struct Removal {
    since: Option<(FolderVersion, Instant)>,
}

impl Removal {
    /// Whether documents missing from this reading count as removed. A commit is always complete.
    /// Files have to be the same for a while, because it is unknown when all of them are written.
    pub(super) fn counts(&mut self, version: &FolderVersion, now: Instant) -> bool {
        if matches!(version, FolderVersion::Commit(_)) {
            return true;
        }
        match &self.since {
            Some((before, since)) if before == version => now.duration_since(*since) >= SETTLED,
            _ => {
                self.since = Some((version.clone(), now));
                false
            }
        }
    }

    /// Restarts the waiting time, because the folder could not be read.
    pub(super) fn begin_anew(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> FolderVersion {
        FolderVersion::Files(vsiflow_engine::model::Hash::of(text.as_bytes()))
    }

    #[test]
    fn what_is_left_out_of_files_is_gone_after_ten_seconds_without_a_change() {
        let (mut removal, begun) = (Removal::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert!(!removal.counts(&files("a"), at(0)));
        assert!(!removal.counts(&files("a"), at(9)));
        assert!(!removal.counts(&files("b"), at(10)), "it changed");
        assert!(!removal.counts(&files("b"), at(19)));
        assert!(removal.counts(&files("b"), at(20)));
        removal.begin_anew();
        assert!(
            !removal.counts(&files("b"), at(40)),
            "it was absent in the meantime"
        );
    }

    #[test]
    fn a_commit_is_whole_by_itself() {
        let commit = FolderVersion::Commit("4b825dc".to_owned());
        assert!(Removal::default().counts(&commit, Instant::now()));
    }
}
