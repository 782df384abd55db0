//! Reads the region table.

use std::ops::Range;

use super::{KIB, MIB, guid, has_checksum};
use crate::packing::vmdk::number;
use crate::sparse::error::{SparseFault, Unread};
use crate::sparse::ranges::Ranges;

/// The offsets of the table and its copy.
const PLACES: [u64; 2] = [192 * KIB, 256 * KIB];
const LENGTH: u64 = 64 * KIB;
/// The length of an entry in bytes. The table's header has half of it.
const ENTRY: usize = 32;
const MAX_ENTRIES: u64 = 2_047;
const BAT: [u8; 16] = guid(0x2dc2_7766_f623_4200_9d64_115e_9bfd_4a08);
const METADATA: [u8; 16] = guid(0x8b7c_a206_4790_4b9a_b8fe_575f_050f_886e);

/// The ranges of the regions in the file.
pub(super) struct Regions {
    pub(super) bat: Range<u64>,
    pub(super) metadata: Range<u64>,
    /// All ranges without blocks of the disk: these two, other regions, the headers and the log.
    pub(super) taken: Vec<Range<u64>>,
}

pub(super) async fn read(file: &mut impl Ranges, log: Range<u64>) -> Result<Regions, Unread> {
    for place in PLACES {
        let table = file.exactly(place, LENGTH).await?;
        if table.starts_with(b"regi") && has_checksum(&table) {
            return Ok(regions(&table, log)?);
        }
    }
    Err(SparseFault::Wrong("neither of its region tables is whole").into())
}

fn regions(table: &[u8], log: Range<u64>) -> Result<Regions, SparseFault> {
    let count = number::<4>(table, 8);
    if count > MAX_ENTRIES {
        return Err(SparseFault::Wrong("it has too many regions"));
    }
    let (mut bat, mut metadata) = (None, None);
    let mut occupied = vec![0..MIB, log];
    let entries = table.get(16..).unwrap_or_default().chunks_exact(ENTRY);
    for (_, entry) in (0..count).zip(entries) {
        let region = region(entry)?;
        let known_region = match entry.get(..16) {
            Some(name) if name == BAT => &mut bat,
            Some(name) if name == METADATA => &mut metadata,
            // A reader must not open a file with an unknown required region.
            _ if number::<4>(entry, 28) & 1 != 0 => {
                return Err(SparseFault::Wrong("a region that it requires is unknown"));
            }
            _ => continue,
        };
        if known_region.replace(region.clone()).is_some() {
            return Err(SparseFault::Wrong("it has a region twice"));
        }
        let overlaps = |other: &Range<u64>| region.start < other.end && other.start < region.end;
        if occupied.iter().any(overlaps) {
            return Err(SparseFault::Wrong("two regions share a place in the file"));
        }
        occupied.push(region);
    }
    let missing = SparseFault::Wrong("a region is missing");
    Ok(Regions {
        bat: bat.ok_or(missing)?,
        metadata: metadata.ok_or(missing)?,
        taken: occupied,
    })
}

fn region(entry: &[u8]) -> Result<Range<u64>, SparseFault> {
    let (start, length) = (number::<8>(entry, 16), number::<4>(entry, 24));
    let whole = start.is_multiple_of(MIB) && length.is_multiple_of(MIB);
    let end = start
        .checked_add(length)
        .filter(|_| whole && start >= MIB && length > 0)
        .ok_or(SparseFault::Wrong("the place of a region"))?;
    Ok(start..end)
}
