//! The volumes of a data disk: the one that the disk is now, those that it was, and the next one.
//!
//! The journal names a data disk by its first volume, in every desired state and in every step's parameters. A
//! restoration makes another volume beside the present one, under a name that none had before, and one definition
//! switches the guest to it. Which volume the disk is now follows from the facts in the disk's own stream, whichever VSI
//! restored it, so that whoever works on the disk asks here immediately before.

use uuid::Uuid;
use vsiflow_engine::model::Objects;

use crate::{names, ports::VolumeKey};

/// The volumes of a data disk in its journal.
#[derive(Clone, Debug)]
pub struct DataDiskVolumes<'a> {
    objects: &'a Objects,
    pool: &'a str,
    uid: Uuid,
}

impl<'a> DataDiskVolumes<'a> {
    /// Those of the disk that a volume is, or was; `objects` are those of the disk. `None` if it has no name of a data
    /// disk.
    pub fn of(volume: &'a VolumeKey, objects: &'a Objects) -> Option<Self> {
        let (uid, _) = names::numbered_data_disk(&volume.name)?;
        let pool = &volume.pool;
        Some(Self { objects, pool, uid })
    }

    fn volume(&self, number: u64) -> VolumeKey {
        names::data_disk(self.pool, self.uid, number)
    }

    fn number(&self, object: &str) -> Option<u64> {
        let name = object.strip_prefix(self.pool)?.strip_prefix('/')?;
        let (uid, number) = names::numbered_data_disk(name)?;
        (uid == self.uid).then_some(number)
    }

    fn current_number(&self) -> u64 {
        let used = self.objects.in_use.as_ref();
        used.and_then(|used| self.number(used.object.as_str()))
            .unwrap_or(0)
    }

    fn made(&self) -> impl Iterator<Item = u64> {
        let objects = self.objects.made.keys();
        objects.filter_map(|object| self.number(object.as_str()))
    }

    fn begun(&self) -> impl Iterator<Item = u64> {
        let begun = self.objects.begun.iter();
        begun.filter_map(|object| self.number(object.as_str()))
    }

    /// The one that the disk is now.
    pub fn current(&self) -> VolumeKey {
        self.volume(self.current_number())
    }

    /// The one that a restoration makes: one that was begun and that no definition named, or the one after all others.
    pub fn next(&self) -> VolumeKey {
        let current = self.current_number();
        if let Some(begun) = self.begun().filter(|number| *number > current).max() {
            return self.volume(begun);
        }
        self.volume(self.highest().saturating_add(1))
    }

    /// The highest number that the journal knows of.
    pub fn highest(&self) -> u64 {
        let newest = (self.objects.newest.as_ref()).and_then(|object| self.number(object.as_str()));
        let recorded = self.made().chain(self.begun()).chain(newest);
        recorded.chain([self.current_number()]).max().unwrap_or(0)
    }

    /// Those that the definition of a guest may name: the present one, and those that were handed to a guest since,
    /// newest first. A definition may have been written although its run never recorded that.
    pub fn nameable(&self) -> Vec<VolumeKey> {
        let current = self.current_number();
        let newer = self.made().filter(|number| *number > current);
        let mut numbers: Vec<u64> = newer.chain([current]).collect();
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        numbers
            .into_iter()
            .map(|number| self.volume(number))
            .collect()
    }

    /// All that may exist, the present one first; each with whether a guest may have written to it.
    pub fn all(&self) -> Vec<(VolumeKey, bool)> {
        let current = self.current_number();
        let written = self.made().filter(|number| *number != current);
        let scratch = self.begun().filter(|number| *number != current);
        let guarded = [current]
            .into_iter()
            .chain(written)
            .map(|number| (number, true));
        guarded
            .chain(scratch.map(|number| (number, false)))
            .map(|(number, is_written)| (self.volume(number), is_written))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use vsiflow_engine::model::{ObjectInUse, Text};

    use super::*;

    const UID: Uuid = Uuid::from_u128(0xd15c);

    fn volume(number: u64) -> VolumeKey {
        names::data_disk("images", UID, number)
    }

    fn object(number: u64) -> Text {
        Text::new(volume(number).to_string())
    }

    fn in_use(number: u64) -> Option<ObjectInUse> {
        Some(ObjectInUse {
            object: object(number),
            generation: 1,
        })
    }

    fn made<const N: usize>(numbers: [u64; N]) -> std::collections::BTreeMap<Text, Text> {
        let made = numbers.map(|number| (object(number), Text::new("8:1")));
        made.into()
    }

    #[test]
    fn a_disk_is_its_first_volume_until_a_definition_names_another() {
        let key = volume(0);
        let mut objects = Objects::none();
        let now = |of: &Objects| DataDiskVolumes::of(&key, of).unwrap().current();
        assert_eq!(now(&objects), volume(0));
        objects.made = made([0, 1]);
        objects.begun = [object(2)].into();
        assert_eq!(now(&objects), volume(0));
        objects.in_use = in_use(1);
        assert_eq!(now(&objects), volume(1));
    }

    #[test]
    fn no_volume_gets_a_name_that_another_had() {
        let key = volume(0);
        let mut objects = Objects::none();
        let next = |of: &Objects| DataDiskVolumes::of(&key, of).unwrap().next();
        assert_eq!(next(&objects), volume(1));
        objects.begun = [object(1)].into();
        objects.newest = Some(object(1));
        assert_eq!(next(&objects), volume(1), "a half one is made again");
        objects.begun.clear();
        assert_eq!(
            next(&objects),
            volume(2),
            "it is gone, and its name was used"
        );
        objects.made = made([0, 4]);
        objects.in_use = in_use(4);
        objects.newest = Some(object(2));
        assert_eq!(next(&objects), volume(5));
    }

    #[test]
    fn a_guest_may_have_the_present_volume_or_a_newer_one_and_never_one_that_was_given_up() {
        let key = volume(0);
        let objects = Objects {
            made: made([0, 1, 2]),
            in_use: in_use(1),
            begun: [object(3)].into(),
            ..Objects::none()
        };
        let volumes = DataDiskVolumes::of(&key, &objects).unwrap();
        assert_eq!(volumes.nameable(), [volume(2), volume(1)]);
        let all = [
            (volume(1), true),
            (volume(0), true),
            (volume(2), true),
            (volume(3), false),
        ];
        assert_eq!(volumes.all(), all);
    }

    #[test]
    fn only_a_uid_and_a_plain_number_are_the_name_of_a_data_disk() {
        assert_eq!(names::numbered_data_disk(&volume(0).name), Some((UID, 0)));
        assert_eq!(names::numbered_data_disk(&volume(17).name), Some((UID, 17)));
        for name in [
            String::new(),
            format!("{UID}-0"),
            format!("{UID}-01"),
            format!("{UID}-+1"),
            format!("{UID}.qcow2"),
            format!("{UID}-1.qcow2"),
            format!("{UID}\u{e9}"),
            UID.simple().to_string(),
            UID.to_string().to_uppercase(),
            format!("boot-{UID}"),
        ] {
            assert_eq!(names::numbered_data_disk(&name), None, "{name}");
        }
    }
}
