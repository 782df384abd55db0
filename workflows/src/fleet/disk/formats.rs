//! The recorded formats of data disks, which each desired state of a VSI contains.

use crate::fleet::{Fleet, FleetError, index::Known};
use crate::{
    formats,
    record::{DiskFormat, VsiRecord},
};

impl Fleet {
    /// The formats of a VSI's data disks: those in its desired state, and those that its runs found since.
    /// Runs are dropped some day; the formats in the next desired state stay.
    ///
    /// # Errors
    /// When the output of a run cannot be read.
    pub(in crate::fleet) async fn formats(
        &self,
        known: &Known,
    ) -> Result<Vec<DiskFormat>, FleetError> {
        let mut found = known.record.formats.clone();
        for run in &known.state.runs {
            let Some(run) = self.engine.run(*run) else {
                continue;
            };
            if let Some(output) = formats::output(&run) {
                let bytes = self.blobs.get(output).await?;
                let more = formats::read(&known.record, &bytes);
                formats::add(&mut found, more.unwrap_or_default());
            }
        }
        Ok(found)
    }

    /// The formats that other VSIs of the same host, deleted ones too, attached these disks with.
    ///
    /// # Errors
    /// As for [`Fleet::formats`].
    pub(in crate::fleet) async fn formats_of_others(
        &self,
        record: &VsiRecord,
        known: &[Known],
    ) -> Result<Vec<DiskFormat>, FleetError> {
        let (volumes, mut found) = (record.volumes(), Vec::new());
        let others = known.iter().filter(|other| {
            let same_host = other.record.vsi.host == record.vsi.host;
            let (had, has) = (&other.record.formats, other.record.volumes());
            let mut theirs = had.iter().map(|one| &one.volume).chain(&has);
            same_host && theirs.any(|volume| volumes.contains(volume))
        });
        for other in others {
            // An unreadable VSI may have recorded another format of the disk.
            let other = other.clone().readable()?;
            formats::add(&mut found, self.formats(&other).await?);
        }
        found.retain(|one| volumes.contains(&one.volume));
        Ok(found)
    }
}
