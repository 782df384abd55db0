//! Fills the values of a group into its templates, and builds the pool for each item of a wave.

use std::collections::BTreeMap;

use vsiflow_engine::{
    model::{Failure, FailureClass},
    secret::Secret,
};

use crate::fleet::{
    ErrorKind, Fleet, FleetError,
    group::outputs::output_references,
    known::{KnownGroup, KnownPool},
    pool::member_texts::too_long,
};
use crate::{
    group::{self, FilledOutput, ItemRecord},
    pool::{member_name, member_uid, number_of},
    record::pool_entity,
    spec::{
        DesiredPool, ResolvedPool, ResolvedVsi, UpdatePolicy,
        group::OfGroup,
        group_check::of_release,
        substitute::{self, TooLong},
        template_texts::texts,
    },
};

/// The field that is stored as a secret.
const SECRET_FIELD: &str = "userData";

/// Why a text of a template cannot be filled in.
enum Unfilled {
    /// This reference's value cannot be put into the field.
    Unfit(String),
    TooLong(TooLong),
}

impl From<TooLong> for Unfilled {
    fn from(error: TooLong) -> Self {
        Self::TooLong(error)
    }
}

impl Fleet {
    /// The addresses that an item's texts refer to and that are not resolved yet, by reference; or why
    /// one cannot be resolved now. `None` while a host is asked.
    pub(super) async fn new_addresses(
        &self,
        group: &KnownGroup,
        item: &ItemRecord,
        pools: &BTreeMap<String, KnownPool>,
    ) -> Result<Option<Result<BTreeMap<String, String>, String>>, FleetError> {
        let template = self.template_of(item).await?;
        let resolved = group.record.resolved.get(&item.name);
        let mut found = BTreeMap::new();
        for reference in address_references(&template) {
            if resolved.is_some_and(|resolved| resolved.contains_key(&reference)) {
                continue;
            }
            match self.ask_address(group, pools, &reference).await? {
                Some(Ok(address)) => found.insert(reference, address),
                Some(Err(why)) => return Ok(Some(Err(why))),
                None => return Ok(None),
            };
        }
        Ok(Some(Ok(found)))
    }

    /// Whether an item's texts refer to an output that they were not filled with before and that is still to be read:
    /// it was added later, or comes from another place now.
    pub(super) async fn awaits_output(
        &self,
        group: &KnownGroup,
        item: &ItemRecord,
        pools: &BTreeMap<String, KnownPool>,
    ) -> Result<bool, FleetError> {
        let waves = group.record.waves.iter();
        let unread: Vec<_> = waves.flat_map(|wave| group.unread(wave, pools)).collect();
        if unread.is_empty() {
            return Ok(false);
        }
        let names = output_references(&self.template_of(item).await?);
        let awaits = |name: &String| {
            let is_new = !group.record.has_filled(&item.name, name);
            is_new && names.contains(name)
        };
        Ok(unread.iter().any(|output| awaits(&output.name)))
    }

    /// The outputs that an item's texts refer to, that were read, and that the texts were not filled with before.
    pub(super) async fn new_outputs(
        &self,
        group: &KnownGroup,
        item: &ItemRecord,
    ) -> Result<BTreeMap<String, FilledOutput>, FleetError> {
        let record = &group.record;
        let mut names = output_references(&self.template_of(item).await?);
        names.retain(|name| !record.has_filled(&item.name, name));
        let read = names.into_iter().filter_map(|name| {
            let filled = FilledOutput {
                value: record.found.get(&name)?.clone(),
                source: record.output(&name).cloned(),
            };
            Some((name, filled))
        });
        Ok(read.collect())
    }

    /// The first address of a member now; or why it has none.
    pub(super) async fn address(
        &self,
        pool: &KnownPool,
        number: u32,
        reference: &str,
    ) -> Result<Result<String, String>, FleetError> {
        if let Some(journals) = self.pools.journals() {
            return Box::pin(self.address_over(journals, pool, number)).await;
        }
        let Some(known) = self.members(pool).await?.members.remove(&number) else {
            return Ok(Err(no_member(reference)));
        };
        self.address_of(&known).await
    }

    /// The template of an item before values are filled in.
    pub(super) async fn template_of(&self, item: &ItemRecord) -> Result<ResolvedVsi, FleetError> {
        let template = &item.template;
        let contract = self.secrets.get(&template.contract).await?;
        let image_url = match &template.image_credentials {
            Some(name) => Some(self.secrets.get(name).await?),
            None => None,
        };
        let desired = template.vsi.as_ref().clone();
        let source = desired.full_name();
        Ok(ResolvedVsi::of_record(desired, contract, image_url, source))
    }

    /// The pool of an item, with values filled in. The addresses and outputs that it needs are already recorded for
    /// the item.
    pub(super) async fn filled(
        &self,
        group: &KnownGroup,
        item: &ItemRecord,
        known: Option<&KnownPool>,
    ) -> Result<ResolvedPool, FleetError> {
        let mut template = self.template_of(item).await?;
        let names = output_references(&template);
        let outputs = self.output_texts(&group.record, item, &names).await?;
        let fill = |field: &str, text: &str| {
            let is_secret = field == SECRET_FIELD;
            let is_whole = substitute::whole(text).is_some();
            let max = substitute::filled_max(field, text);
            let filled = substitute::of_group(text, max, |reference| {
                if !substitute::is_below(reference, substitute::GROUP) {
                    return Ok(None);
                }
                let unknown = || Unfilled::Unfit(reference.to_owned());
                let value = value(group, item, &outputs, reference).ok_or_else(unknown)?;
                let shown = is_secret || !is_secret_output(group, item, reference);
                if shown && (is_whole || is_harmless(&value)) {
                    Ok(Some(value))
                } else {
                    Err(Unfilled::Unfit(reference.to_owned()))
                }
            });
            filled.map_err(|error| match error {
                Unfilled::Unfit(reference) => unfit(group, item, &reference),
                Unfilled::TooLong(error) => {
                    let object = format!("group/{}", group.record.full_name());
                    too_long(object, &format!("{field} of {}", item.name), error)
                }
            })
        };
        if let Ok(text) = std::str::from_utf8(template.contract.expose()) {
            let text = fill(SECRET_FIELD, text)?;
            template.contract = Secret::new(text.into_bytes());
        }
        let desired = &mut template.desired;
        for text in desired.network_config.iter_mut() {
            *text = fill("networkConfig", text)?;
        }
        if let Some(guest) = &mut desired.guest {
            for key in &mut guest.ssh_keys {
                *key = fill("sshKeys", key)?;
            }
            for text in guest.vendor_data.iter_mut() {
                *text = fill("vendorData", text)?;
            }
        }
        let label = (group::LABEL.to_owned(), group.record.name.clone());
        desired.labels.extend([label.clone()]);
        let name = group::pool_name(&group.record.name, &item.name);
        desired.name.clone_from(&name);
        let uid = match known {
            Some(known) => Some(known.record.uid),
            None => self.new_pool_uid(group, &name),
        };
        let pool = DesiredPool {
            namespace: group.record.namespace.clone(),
            name,
            uid,
            labels: BTreeMap::from([label]),
            replicas: item.replicas,
            strategy: item.strategy,
            update_policy: UpdatePolicy::Automatic,
            disks: item.template.disks.clone(),
            names_guests: item.template.names_guests,
            evictable: item.template.evictable,
            of_group: Some(OfGroup {
                uid: group.record.uid,
                group: group.record.name.clone(),
                item: item.name.clone(),
                revision: item.revision(),
            }),
            of_shared_cluster: group.record.of_shared_cluster,
        };
        let at = template.at.clone();
        let pool_desired = pool;
        Ok(ResolvedPool {
            desired: pool_desired,
            template,
            at,
        })
    }

    /// The UID of a new pool. It is derived from the group's UID, so that a repeated request after a
    /// lost answer makes the same entity.
    fn new_pool_uid(&self, group: &KnownGroup, name: &str) -> Option<uuid::Uuid> {
        let mut all = (0..1_000_000).map(|before| member_uid(group.record.uid, name, before));
        all.find(|uid| {
            let entity = pool_entity(*uid).ok();
            entity.is_some_and(|entity| self.engine.entity(&entity).is_none())
        })
    }
}

/// The pool and number of the member that a reference names.
pub(super) fn member_of_reference<'a>(
    pools: &'a BTreeMap<String, KnownPool>,
    reference: &str,
) -> Option<(&'a KnownPool, u32)> {
    let name = name_in(reference);
    pools
        .iter()
        .find_map(|(item, pool)| Some((pool, number_of(item, name)?)))
}

/// Why a reference has no value while its member does not exist.
pub(super) fn no_member(reference: &str) -> String {
    format!("member {} is not there", name_in(reference))
}

/// The name of the member in a reference to its address.
fn name_in(reference: &str) -> &str {
    reference.split('.').nth(2).unwrap_or_default()
}

/// The references to addresses in the texts of a template.
pub(super) fn address_references(template: &ResolvedVsi) -> Vec<String> {
    let words = texts(template).into_iter().filter_map(|text| text.words());
    let mut all = Vec::new();
    for text_words in words {
        let references = substitute::references(&text_words);
        let addresses = references.filter(|reference| reference.ends_with(".address"));
        all.extend(addresses.map(ToOwned::to_owned));
    }
    all.sort();
    all.dedup();
    all
}

/// The value of a reference in the texts of an item.
pub(super) fn value(
    group: &KnownGroup,
    item: &ItemRecord,
    outputs: &BTreeMap<String, String>,
    reference: &str,
) -> Option<String> {
    let segments: Vec<_> = reference.split('.').collect();
    match segments.as_slice() {
        ["group", "name"] => Some(group.record.name.clone()),
        ["group", "release", name, what] => of_release(&group.record.release, name, what).ok(),
        ["group", "members", name, what @ ("name" | "index")] => {
            let mut items = group.record.items();
            items.find_map(|group_item| {
                let number = number_of(&group_item.name, name)?;
                let pool = group::pool_name(&group.record.name, &group_item.name);
                Some(match *what {
                    "name" => member_name(&pool, number),
                    _ => number.to_string(),
                })
            })
        }
        ["group", "members", _, "address"] => {
            let resolved = group.record.resolved.get(&item.name);
            resolved
                .and_then(|resolved| resolved.get(reference))
                .cloned()
        }
        ["group", "outputs", name] => outputs.get(*name).cloned(),
        _ => None,
    }
}

fn is_secret_output(group: &KnownGroup, item: &ItemRecord, reference: &str) -> bool {
    let name = reference.strip_prefix("group.outputs.");
    name.is_some_and(|name| group.record.is_secret_output(&item.name, name))
}

/// Whether a value is safe inside a larger text, whatever language that is in: it has only ASCII letters and
/// digits, and characters of names, addresses, URLs and base64. A guest must not write what another guest runs.
fn is_harmless(value: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@+=~%".contains(c);
    value.chars().all(is_plain)
}

fn unfit(group: &KnownGroup, item: &ItemRecord, reference: &str) -> FleetError {
    let message = format!(
        "$({reference}) cannot be put into the template of {}: it is not known, or is not the whole of its \
         field and holds other characters than ASCII letters, digits and -_.:/@+=~%",
        item.name
    );
    let failure = Failure::new(FailureClass::Blocked, "VSI0734", message)
        .of_object(format!("group/{}", group.record.full_name()))
        .with_remedy("have the guest give it in base64, or make it the whole of a field");
    FleetError::new(ErrorKind::Blocked, failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_more_than_a_value_is_put_into_no_larger_text() {
        for value in [
            "abcdef.0123456789abcdef",
            "sha256:7c2e69131a36ae2a042a339b33381c6d0d43887e2de83720eff5359e26aec866",
            "https://user@10.0.0.1:6443/path_a-b~c",
            "c2VjcmV0IHRva2Vu+/==",
            "fe80::1%eth0",
        ] {
            assert!(is_harmless(value), "{value}");
        }
        for odd in [
            "a;b", "$(a)", "a$b", "[a", "a,b", "a b", "a\nb", "a'b", "a\"b", "a`b", "a\\b", "a|b",
            "a&b", "{a", "a#b", "é", "<a>",
        ] {
            assert!(!is_harmless(odd), "{odd}");
        }
    }
}
