//! Reads the files in the root folder of an ISO 9660 volume, which may come from a hostile host.
//!
//! The work is bounded: one look at the descriptors, one at the records of the root folder. It follows no
//! subfolder, continuation area or chain of extents: a volume of a few megabytes can hold enough of those
//! to keep a general reader busy for days.

use std::str;

const SECTOR: usize = 2048;
/// The first sector with descriptors.
const DESCRIPTORS: usize = 16;
/// Maximum number of descriptors that are read.
const DESCRIPTORS_MAX: usize = 16;
/// Maximum size of the folder that is read, in bytes: a cidata volume has a few files.
const FOLDER_MAX: usize = 64 * 1024;

const PRIMARY: u8 = 1;
const SUPPLEMENTARY: u8 = 2;
const TERMINATOR: u8 = 255;

/// Flags of records that are not plain files: a folder, or a file with several extents.
const NOT_PLAIN_FILE: u8 = 0x02 | 0x80;
/// Flags of Rock Ridge names that are ignored: continued, or the name of the folder itself or its parent.
const NAME_FLAGS_IGNORED: u8 = 0x01 | 0x02 | 0x04;

/// Files, each with its name.
pub(super) struct IsoFiles<'a>(Vec<(String, &'a [u8])>);

impl<'a> IsoFiles<'a> {
    /// Reads the root folder, with the names that Linux would show: Rock Ridge's, else Joliet's, else the
    /// plain ones. `None` if this is not a volume or is damaged.
    pub(super) fn read(iso: &'a [u8]) -> Option<Self> {
        let primary = descriptor(iso, |sector| sector.first() == Some(&PRIMARY))?;
        let plain = records(iso, primary)?;
        let named = |name: fn(&IsoRecord<'a>) -> Option<String>, records: &[IsoRecord<'a>]| {
            let files = records.iter().filter(|record| record.is_file());
            files
                .filter_map(|record| Some((name(record)?, record.content(iso)?)))
                .collect::<Vec<_>>()
        };
        if plain.iter().any(|record| record.rock_ridge().is_some()) {
            return Some(Self(named(IsoRecord::rock_ridge, &plain)));
        }
        match descriptor(iso, is_joliet) {
            Some(joliet) => Some(Self(named(IsoRecord::joliet, &records(iso, joliet)?))),
            None => Some(Self(named(IsoRecord::plain, &plain))),
        }
    }

    /// A file's content. `None` if two files have this name, because tools differ in which one they read.
    pub(super) fn get(&self, name: &str) -> Option<&'a [u8]> {
        let mut same_named = self.0.iter().filter(|(file_name, _)| file_name == name);
        let (_, content) = same_named.next()?;
        same_named.next().is_none().then_some(*content)
    }
}

/// The first descriptor that matches.
fn descriptor(iso: &[u8], matches: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
    let mut descriptors = iso
        .chunks_exact(SECTOR)
        .skip(DESCRIPTORS)
        .take(DESCRIPTORS_MAX)
        .take_while(|sector| {
            sector.get(1..7) == Some(b"CD001\x01") && sector.first() != Some(&TERMINATOR)
        });
    descriptors.find(|sector| matches(sector))
}

fn is_joliet(sector: &[u8]) -> bool {
    let escapes: [&[u8]; 3] = [b"%/@", b"%/C", b"%/E"];
    sector.first() == Some(&SUPPLEMENTARY)
        && sector
            .get(88..91)
            .is_some_and(|escape| escapes.contains(&escape))
}

/// The records of the descriptor's root folder.
fn records<'a>(iso: &'a [u8], descriptor: &'a [u8]) -> Option<Vec<IsoRecord<'a>>> {
    let sector_size = u16::from_le_bytes(*descriptor.get(128..)?.first_chunk()?);
    if usize::from(sector_size) != SECTOR {
        return None;
    }
    let content = IsoRecord(descriptor.get(156..190)?).content(iso)?;
    let folder = content.get(..FOLDER_MAX).unwrap_or(content);
    // No record crosses the end of a sector; zeros fill the rest of the sector.
    let records = folder.chunks(SECTOR).flat_map(IsoRecords);
    // Skips the folder itself and its parent.
    Some(records.skip(2).collect())
}

/// The records of one sector.
struct IsoRecords<'a>(&'a [u8]);

impl<'a> Iterator for IsoRecords<'a> {
    type Item = IsoRecord<'a>;

    fn next(&mut self) -> Option<IsoRecord<'a>> {
        let length = usize::from(*self.0.first()?);
        let (record, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        (length > IsoRecord::HEAD).then_some(IsoRecord(record))
    }
}

/// A folder's record of one file.
struct IsoRecord<'a>(&'a [u8]);

impl<'a> IsoRecord<'a> {
    /// Number of bytes before the name.
    const HEAD: usize = 33;

    fn number(&self, at: usize) -> Option<usize> {
        let four = self.0.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*four)).ok()
    }

    fn content<'b>(&self, iso: &'b [u8]) -> Option<&'b [u8]> {
        let start = self.number(2)?.checked_mul(SECTOR)?;
        let end = start.checked_add(self.number(10)?)?;
        iso.get(start..end)
    }

    fn is_file(&self) -> bool {
        self.0
            .get(25)
            .is_some_and(|flags| flags & NOT_PLAIN_FILE == 0)
    }

    fn name(&self) -> Option<&'a [u8]> {
        let length = usize::from(*self.0.get(32)?);
        self.0.get(Self::HEAD..Self::HEAD.checked_add(length)?)
    }

    /// The name without its version, in lower case, as Linux shows it.
    fn plain(&self) -> Option<String> {
        let name = str::from_utf8(self.name()?).ok()?;
        Some(unversioned(name).trim_end_matches('.').to_ascii_lowercase())
    }

    fn joliet(&self) -> Option<String> {
        let pairs = self.name()?.chunks_exact(2);
        let units = pairs.filter_map(|pair| pair.first_chunk().copied().map(u16::from_be_bytes));
        let name: Result<String, _> = char::decode_utf16(units).collect();
        name.ok().map(|name| unversioned(&name).to_owned())
    }

    /// The alternate name, if the record itself holds it.
    fn rock_ridge(&self) -> Option<String> {
        let padded = self.name()?.len() | 1;
        let mut rest = self.0.get(Self::HEAD.checked_add(padded)?..)?;
        loop {
            let length = usize::from(*rest.get(2)?);
            let (entry, after) = rest.split_at_checked(length)?;
            match entry {
                [b'N', b'M', _, _, flags, name @ ..] if flags & NAME_FLAGS_IGNORED == 0 => {
                    return str::from_utf8(name).ok().map(str::to_owned);
                }
                // An entry shorter than its own head would make this loop endless.
                [_, _, _, _, ..] => rest = after,
                _ => return None,
            }
        }
    }
}

fn unversioned(name: &str) -> &str {
    name.split_once(';').map_or(name, |(name, _)| name)
}
