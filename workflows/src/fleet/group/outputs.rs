//! Reads the outputs of group members. The guest's text is checked before it is stored.

use std::collections::{BTreeMap, BTreeSet};

use vsiflow_engine::{
    model::{Failure, FailureClass},
    secret::{Secret, SecretError},
};

use crate::fleet::{
    ErrorKind, Fleet, FleetError, GroupHandle,
    group::gate::guest,
    index::Known,
    known::{KnownGroup, KnownPool},
};
use crate::{
    group::{FilledOutput, GroupRecord, ItemRecord, OutputValue, WaveRecord, is_same_place},
    spec::{
        ResolvedVsi,
        group::{OutputPlace, OutputSource, ResolvedGroup},
        substitute,
        template_texts::texts,
    },
};

/// The longest output, in bytes.
const MAX_LEN: usize = 64 << 10;

/// The value of a group's output. Its `Debug` form hides the value.
#[derive(Clone)]
pub struct FoundOutput(Secret);

impl FoundOutput {
    /// The value that was read.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

impl std::fmt::Debug for FoundOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FoundOutput(<hidden>)")
    }
}

impl GroupHandle<'_> {
    /// Returns an output of a group that is not deleted.
    ///
    /// # Errors
    /// When there is no group or output of that name, or the output was not read yet.
    pub async fn output(
        self,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<FoundOutput, FleetError> {
        let group = self
            .fleet
            .find_record::<GroupRecord>(namespace, name, false)
            .await?;
        let record = &group.record;
        let refused = |message: String, remedy: String| {
            let failure = Failure::new(FailureClass::Blocked, "VSI0735", message)
                .of_object(format!("group/{}", record.full_name()))
                .with_remedy(remedy);
            FleetError::new(ErrorKind::NotFound, failure)
        };
        let known: Vec<_> = record.outputs.iter().map(|one| one.name.as_str()).collect();
        if !known.contains(&key) {
            let remedy = match known.as_slice() {
                [] => "the group's document has none below spec.outputs".to_owned(),
                names => format!("name one of its outputs: {}", names.join(", ")),
            };
            return Err(refused(format!("it has no output {key:?}"), remedy));
        }
        match record.found.get(key) {
            Some(OutputValue::Shown(text)) => {
                Ok(FoundOutput(Secret::new(text.clone().into_bytes())))
            }
            Some(OutputValue::Secret(secret)) => {
                Ok(FoundOutput(self.fleet.secrets.get(secret).await?))
            }
            None => {
                let why = Box::pin(self.fleet.why_unread(&group, key)).await?;
                Err(refused(
                    format!("output {key} was not read yet: {why}"),
                    format!(
                        "`vsiflow describe group/{}` says what it waits for",
                        group.label()
                    ),
                ))
            }
        }
    }
}

/// The outputs that the texts of a template refer to.
pub(super) fn output_references(template: &ResolvedVsi) -> BTreeSet<String> {
    let words = texts(template).into_iter().filter_map(|text| text.words());
    let mut names = BTreeSet::new();
    for text in words {
        let references = substitute::references(&text);
        let outputs = references.filter_map(|path| path.strip_prefix("group.outputs."));
        names.extend(outputs.map(ToOwned::to_owned));
    }
    names
}

impl Fleet {
    /// The outputs that were read and are still wanted. One that is read from another place now is read again, unless
    /// its member is gone for good; one that became a secret is stored as a secret.
    pub(super) async fn outputs_that_stay(
        &self,
        group: &ResolvedGroup,
        before: &GroupRecord,
        dry: bool,
    ) -> Result<BTreeMap<String, OutputValue>, FleetError> {
        let mut stay = BTreeMap::new();
        for output in &group.outputs {
            let value = before.found.get(&output.name);
            let value = value.filter(|_| before.keeps_output(output));
            if let Some(value) = value {
                let value = self.value_of_output(output, value, dry).await?;
                stay.extend(value.map(|value| (output.name.clone(), value)));
            }
        }
        Ok(stay)
    }

    /// The outputs that templates were filled with, stored as the document wants them now, without those that left the
    /// document. A `dry` run stores nothing.
    pub(super) async fn filled_that_stay(
        &self,
        group: &ResolvedGroup,
        before: &GroupRecord,
        dry: bool,
    ) -> Result<BTreeMap<String, BTreeMap<String, FilledOutput>>, FleetError> {
        let mut stay = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (item, filled_before) in &before.filled {
            for (name, earlier) in filled_before {
                let mut outputs = group.outputs.iter();
                let Some(output) = outputs.find(|output| output.name == *name) else {
                    continue;
                };
                let mut kept = earlier.clone();
                let mut source = earlier.source.iter();
                // What was a secret at another place stays one.
                if output.secret || source.any(|source| is_same_place(source, output)) {
                    let value = self.value_of_output(output, &earlier.value, dry).await?;
                    kept.value = value.unwrap_or(kept.value);
                }
                let of_item = stay.entry(item.clone()).or_default();
                of_item.insert(name.clone(), kept);
            }
        }
        Ok(stay)
    }

    /// The value that was read, stored as the document wants it now; `None` if it is to be read again. A `dry`
    /// run stores nothing.
    async fn value_of_output(
        &self,
        output: &OutputSource,
        value: &OutputValue,
        dry: bool,
    ) -> Result<Option<OutputValue>, FleetError> {
        Ok(match value {
            OutputValue::Shown(text) if output.secret && !dry => {
                let secret = Secret::new(text.clone().into_bytes());
                Some(OutputValue::Secret(self.secrets.put(secret).await?))
            }
            OutputValue::Secret(name) if !output.secret && !dry => {
                match self.secrets.get(name).await {
                    Ok(secret) => secret
                        .expose_str()
                        .map(|text| OutputValue::Shown(text.to_owned())),
                    Err(SecretError::Missing(_)) => None,
                    Err(error) => return Err(error.into()),
                }
            }
            OutputValue::Shown(_) | OutputValue::Secret(_) => Some(value.clone()),
        })
    }

    /// The values of those outputs for an item, as far as they are known, by name.
    pub(super) async fn output_texts(
        &self,
        group: &GroupRecord,
        item: &ItemRecord,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, String>, FleetError> {
        let mut texts = BTreeMap::new();
        for name in names {
            if let Some(value) = group.output_for(&item.name, name) {
                texts.insert(name.clone(), self.output_text(value).await?);
            }
        }
        Ok(texts)
    }

    /// The text of an output.
    pub(super) async fn output_text(&self, value: &OutputValue) -> Result<String, FleetError> {
        Ok(match value {
            OutputValue::Shown(text) => text.clone(),
            OutputValue::Secret(secret) => {
                let secret = self.secrets.get(secret).await?;
                String::from_utf8_lossy(secret.expose()).into_owned()
            }
        })
    }

    /// Reads an output of a member, without storing it.
    pub(super) async fn read_text(
        &self,
        known: &Known,
        output: &OutputSource,
    ) -> Result<Result<Secret, String>, FleetError> {
        let host = self.hosts.host(&known.record.vsi.host).await;
        let ports = host.map_err(Failure::from)?;
        let guest = guest(known);
        let read = match &output.from {
            OutputPlace::File(path) => {
                let read = guest.read_file(&ports, path, MAX_LEN).await;
                read.map_err(Failure::from)?
            }
            OutputPlace::Console(pattern) => {
                let read = guest.read_console(&ports, pattern).await;
                read.map_err(Failure::from)?.map(String::into_bytes)
            }
        };
        let text = read.and_then(|bytes| checked(&bytes));
        let text = text.map(|text| Secret::new(text.into_bytes()));
        Ok(text.map_err(|why| format!("output {}: {why}", output.name)))
    }

    /// Stores the output of a member. A crash before the record refers to the secret leaves one that
    /// the next start erases.
    pub(super) async fn store_output(
        &self,
        output: &OutputSource,
        text: Secret,
    ) -> Result<Result<OutputValue, String>, FleetError> {
        // Checked again, because the text may have come from another process.
        let text = match checked(text.expose()) {
            Ok(text) => text,
            Err(why) => return Ok(Err(format!("output {}: {why}", output.name))),
        };
        Ok(Ok(if !output.secret {
            OutputValue::Shown(text)
        } else {
            OutputValue::Secret(self.secrets.put(Secret::new(text.into_bytes())).await?)
        }))
    }
}

/// Why an output cannot be read: its member does not exist. A cordoned one is not made again.
pub(super) fn not_there(output: &OutputSource, is_cordoned: bool) -> String {
    let name = &output.name;
    if is_cordoned {
        format!("output {name}: its member is not there, and is made again once it is uncordoned")
    } else {
        format!("output {name}: its member is not there")
    }
}

/// The guest's text without its trailing newlines, if it is valid.
fn checked(bytes: &[u8]) -> Result<String, String> {
    if bytes.len() > MAX_LEN {
        return Err(format!("it is longer than {MAX_LEN} bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        Err("it is empty".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

impl KnownGroup {
    /// The outputs of a wave's members that were not read yet. Those of removed members, and of numbers
    /// that the pool does not have any more, cannot be read and do not count.
    pub(super) fn unread<'a>(
        &'a self,
        wave: &'a WaveRecord,
        pools: &'a BTreeMap<String, KnownPool>,
    ) -> impl Iterator<Item = &'a OutputSource> {
        let record = &self.record;
        let outputs = record.outputs.iter();
        outputs.filter(move |output| {
            let is_of_wave = wave.items.iter().any(|item| item.name == output.item);
            let pool = pools.get(&output.item);
            let stays = !record.removed.contains(&output.item)
                && pool.is_none_or(|pool| output.number < pool.record.replicas);
            is_of_wave && stays && !record.found.contains_key(&output.name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_says_is_bounded_text() {
        assert_eq!(checked(b"token\n").as_deref(), Ok("token"));
        assert_eq!(checked(b"a\nb\r\n").as_deref(), Ok("a\nb"));
        assert!(checked(&[b'x'; MAX_LEN]).is_ok());
        for bad in [&[b'x'; MAX_LEN + 1][..], b"", b"\n", &[0xff, 0xfe]] {
            assert!(checked(bad).is_err());
        }
    }
}
