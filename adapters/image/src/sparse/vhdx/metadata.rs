//! Reads the disk's properties from the metadata region.

use std::ops::Range;

use super::{KIB, MIB, guid};
use crate::packing::vmdk::number;
use crate::sparse::error::{SparseFault, Unread};
use crate::sparse::ranges::Ranges;

/// The length of the table of items; the items follow it.
const TABLE: u64 = 64 * KIB;
const ENTRY: usize = 32;
const MAX_ENTRIES: u64 = 2_047;
const IS_USERS: u64 = 1;
const IS_REQUIRED: u64 = 1 << 2;
const HAS_PARENT: u64 = 1 << 1;

const PARAMETERS: [u8; 16] = guid(0xcaa1_6737_fa36_4d43_b3b6_33f0_aa44_e76b);
const SIZE: [u8; 16] = guid(0x2fa5_4224_cd1b_4876_b211_5dbe_d83b_f4b8);
const LOGICAL_SECTOR: [u8; 16] = guid(0x8141_bf1d_a96f_4709_ba47_f233_a8fa_ab5f);
const PHYSICAL_SECTOR: [u8; 16] = guid(0xcda3_48c7_445d_4471_9cc9_e988_5251_c556);
const PAGE_83: [u8; 16] = guid(0xbeca_12ab_b2e6_4523_93ef_c309_e000_c746);
const PARENT: [u8; 16] = guid(0xa8d3_5f2d_b30b_454d_abf7_d3d8_4834_ab0c);

/// The sector size that guests have.
pub(super) const SECTOR: u64 = 512;

/// The properties of a disk.
pub(super) struct DiskMetadata {
    /// The size that a guest sees, in bytes.
    pub(super) capacity: u64,
    /// A block's length in bytes.
    pub(super) block: u64,
}

/// The offsets of the required items in the file.
#[derive(Default)]
struct Items {
    parameters: Option<u64>,
    size: Option<u64>,
    sector: Option<u64>,
}

pub(super) async fn read(
    file: &mut impl Ranges,
    region: &Range<u64>,
) -> Result<DiskMetadata, Unread> {
    let table = file.exactly(region.start, TABLE).await?;
    let items = items(&table, region)?;
    let missing = SparseFault::Wrong("a property of its disk is missing");
    let place = items.parameters.ok_or(missing)?;
    let parameters = file.exactly(place, 8).await?;
    if number::<4>(&parameters, 4) & HAS_PARENT != 0 {
        return Err(SparseFault::NotAlone.into());
    }
    let size = file.exactly(items.size.ok_or(missing)?, 8).await?;
    let sector = file.exactly(items.sector.ok_or(missing)?, 4).await?;
    match number::<4>(&sector, 0) {
        SECTOR => {}
        4_096 => return Err(SparseFault::Sectors.into()),
        _ => return Err(SparseFault::Wrong("the length of its sectors").into()),
    }
    let (capacity, block) = (number::<8>(&size, 0), number::<4>(&parameters, 0));
    let fits = block.is_power_of_two() && (MIB..=256 * MIB).contains(&block);
    if !fits || !capacity.is_multiple_of(SECTOR) {
        return Err(SparseFault::Wrong("a size is out of bounds").into());
    }
    Ok(DiskMetadata { capacity, block })
}

fn items(table: &[u8], region: &Range<u64>) -> Result<Items, SparseFault> {
    let count = number::<2>(table, 10);
    if !table.starts_with(b"metadata") || count > MAX_ENTRIES {
        return Err(SparseFault::Wrong("the table of its properties"));
    }
    let mut items = Items::default();
    let entries = table.get(ENTRY..).unwrap_or_default().chunks_exact(ENTRY);
    for (_, entry) in (0..count).zip(entries) {
        let flags = number::<4>(entry, 24);
        let name = entry.get(..16).unwrap_or_default();
        let (known, length) = match name {
            _ if flags & IS_USERS != 0 => (None, 0),
            name if name == PARENT => return Err(SparseFault::NotAlone),
            name if name == PARAMETERS => (Some(&mut items.parameters), 8),
            name if name == SIZE => (Some(&mut items.size), 8),
            name if name == LOGICAL_SECTOR => (Some(&mut items.sector), 4),
            name if name == PHYSICAL_SECTOR || name == PAGE_83 => continue,
            _ => (None, 0),
        };
        match known {
            Some(item) => {
                let previous = item.replace(place(entry, length, region)?);
                if previous.is_some() {
                    return Err(SparseFault::Wrong("it has a property twice"));
                }
            }
            // A reader must not open a file with an unknown required item.
            None if flags & IS_REQUIRED != 0 => {
                return Err(SparseFault::Wrong("a property that it requires is unknown"));
            }
            None => {}
        }
    }
    Ok(items)
}

/// The offset of an item with this length in the file.
fn place(entry: &[u8], length: u64, region: &Range<u64>) -> Result<u64, SparseFault> {
    let (offset, recorded) = (number::<4>(entry, 16), number::<4>(entry, 20));
    let within = |start: &u64| {
        start
            .checked_add(length)
            .is_some_and(|end| end <= region.end)
    };
    region
        .start
        .checked_add(offset)
        .filter(|start| offset >= TABLE && recorded == length && within(start))
        .ok_or(SparseFault::Wrong("the place of a property"))
}
