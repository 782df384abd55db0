//! Checks the gates of waves, and reads the outputs of their members and records them.

use crate::fleet::{
    Fleet, FleetError,
    group::reconcile::{CarriedOut, GroupPools},
    known::KnownGroup,
};
use crate::{
    group::{GroupRecord, ItemRecord, OutputValue},
    spec::group::OutputSource,
};

/// What reading the outputs of a wave came to.
pub(super) struct ReadWave {
    pub(super) carried_out: CarriedOut,
    /// Why the first of those that cannot be read yet cannot.
    why: Option<String>,
}

impl ReadWave {
    fn without_problem(carried_out: CarriedOut) -> Self {
        let why = None;
        Self { carried_out, why }
    }
}

impl Fleet {
    /// Checks the gate of a wave, and reads the wave's outputs before it opens.
    pub(super) async fn check_gate(
        &self,
        group: &KnownGroup,
        found: &GroupPools,
        wave: usize,
    ) -> Result<CarriedOut, FleetError> {
        let Some(current) = group.record.waves.get(wave) else {
            return Ok(CarriedOut::Done);
        };
        let gate = Box::pin(self.ask_gate(group, current, &found.pools)).await?;
        let Some(gate) = gate else {
            return Ok(CarriedOut::Asked);
        };
        if let Err(why) = gate {
            self.pools.gate(&group.entity, Some(why));
            return Ok(CarriedOut::Waits);
        }
        let read = self.read_outputs(group, found, wave).await?;
        if read.carried_out == CarriedOut::Asked {
            return Ok(CarriedOut::Asked);
        }
        let is_closed = read.why.is_some();
        self.pools.gate(&group.entity, read.why);
        if is_closed {
            return Ok(read.carried_out);
        }
        // The outputs that were read are in the newest record.
        let Some(newest) = self.known_record::<GroupRecord>(&group.entity).await? else {
            return Ok(CarriedOut::Done);
        };
        let mut record = newest.record.clone();
        let revision = current.revision(&record.removed);
        record.opened.insert(current.name.clone(), revision);
        let what = format!("the gate of wave {}", current.name);
        self.record_progress(&newest, record, &what).await?;
        Ok(CarriedOut::Recorded)
    }

    /// Shows why an output of an open wave is not read yet.
    pub(super) fn show_unread(&self, group: &KnownGroup, read: &Result<ReadWave, FleetError>) {
        if let Ok(read) = read
            && read.carried_out != CarriedOut::Asked
        {
            self.pools.gate(&group.entity, read.why.clone());
        }
    }

    /// Reads the outputs of a wave's members and records them. One that cannot be read keeps no other from being
    /// read.
    pub(super) async fn read_outputs(
        &self,
        group: &KnownGroup,
        found: &GroupPools,
        wave: usize,
    ) -> Result<ReadWave, FleetError> {
        let Some(current) = group.record.waves.get(wave) else {
            return Ok(ReadWave::without_problem(CarriedOut::Done));
        };
        let unread: Vec<_> = group.unread(current, &found.pools).cloned().collect();
        if unread.is_empty() {
            return Ok(ReadWave::without_problem(CarriedOut::Done));
        }
        let asked = self.ask_outputs(group, &found.pools, unread.clone());
        let Some(texts) = asked.await? else {
            return Ok(ReadWave::without_problem(CarriedOut::Asked));
        };
        let mut values = Vec::new();
        let (mut why, mut failed) = (None, None);
        for (output, text) in unread.into_iter().zip(texts) {
            let stored = match text {
                Ok(Ok(text)) => self.store_output(&output, text).await?,
                Ok(Err(reason)) => Err(reason),
                Err(error) => {
                    failed.get_or_insert(error);
                    continue;
                }
            };
            match stored {
                Ok(value) => values.push((output, value)),
                Err(reason) => {
                    why.get_or_insert(reason);
                }
            }
        }
        match failed {
            Some(failed) if values.is_empty() => return Err(failed),
            Some(failed) => why = why.or(Some(failed.failure.to_string())),
            None => {}
        }
        let carried_out = if values.is_empty() {
            CarriedOut::Waits
        } else {
            let changed = self.record_outputs(group, values).await?;
            why = why.or(changed);
            CarriedOut::Recorded
        };
        Ok(ReadWave { carried_out, why })
    }

    /// Records outputs that were read. Returns why one is not recorded, if a newer document changed it.
    async fn record_outputs(
        &self,
        group: &KnownGroup,
        values: Vec<(OutputSource, OutputValue)>,
    ) -> Result<Option<String>, FleetError> {
        let Some(newest) = self.known_record::<GroupRecord>(&group.entity).await? else {
            return Ok(None);
        };
        let mut record = newest.record.clone();
        let (mut names, mut changed) = (Vec::new(), None);
        for (output, value) in values {
            if record.outputs.contains(&output) {
                names.push(output.name.clone());
                record.found.insert(output.name, value);
            } else {
                let why = || format!("output {}: the document was changed", output.name);
                changed.get_or_insert_with(why);
            }
        }
        let what = match names.as_slice() {
            [] => return Ok(changed),
            [name] => format!("output {name}"),
            names => format!("outputs {}", names.join(", ")),
        };
        self.record_progress(&newest, record, &what).await?;
        Ok(changed)
    }

    /// Why an output was not read yet.
    pub(super) async fn why_unread(
        &self,
        group: &KnownGroup,
        name: &str,
    ) -> Result<String, FleetError> {
        let record = &group.record;
        let Some(output) = record.output(name) else {
            return Ok("the group has no such output".to_owned());
        };
        if record.removed.contains(&output.item) {
            return Ok(format!("{} was removed from the group", output.item));
        }
        let waves = &record.waves;
        let is_own = |item: &ItemRecord| item.name == output.item;
        let own = waves.iter().position(|wave| wave.items.iter().any(is_own));
        let found = Box::pin(self.group_pools(group, &[])).await?;
        let view = own.and_then(|own| found.view.waves.get(own));
        let asked = self.pools.closed_gate(&group.entity);
        let asked = asked.filter(|why| why.starts_with(&format!("output {name}: ")));
        let is_asked = asked.is_some() || view.is_some_and(|wave| wave.open);
        if !is_asked {
            // Its wave, or one before it, is not there yet.
            return Ok(self.group_object(group, &[]).await?.status.message);
        }
        let unread = || {
            let why = if self.pools.drives(&group.entity) {
                "its member is being asked"
            } else {
                "no process works on the group here"
            };
            why.to_owned()
        };
        Ok(asked.unwrap_or_else(unread))
    }
}
