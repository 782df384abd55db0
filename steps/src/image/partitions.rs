//! Finds raw disks that were cut short by their partition table, MBR or GPT.
//!
//! Only the end of a partition counts. A GPT whose second header is missing is repaired by its guest, and the sector
//! that covers the whole disk in a protective MBR is often larger than it.

use flate2::Crc;

use super::{format::SECTOR, qcow2::Unfit};

const MBR_TABLE: usize = 446;
const MBR_ENTRY: usize = 16;
const MBR_MARK: [u8; 2] = [0x55, 0xaa];
/// The type of the partition that covers a disk with a GPT.
const PROTECTIVE: u8 = 0xee;
const GPT_MARK: &[u8] = b"EFI PART";
/// The sector sizes of disks, in bytes.
const SECTORS: [u64; 2] = [SECTOR, 4096];
/// The shortest header and entry of a GPT, in bytes.
const GPT_HEADER: usize = 92;
const GPT_ENTRY: usize = 128;
/// Where a file system of a CD has its mark. The partitions of hybrid images are rounded up to whole cylinders.
const ISO_9660: (usize, &[u8]) = (32_769, b"CD001");
/// The marks of file systems whose first sector ends like an MBR, with their positions.
const BOOT_SECTORS: [(usize, &[u8]); 4] = [
    (3, b"NTFS    "),
    (3, b"EXFAT   "),
    (54, b"FAT"),
    (82, b"FAT32"),
];

/// Checks that each partition ends within a disk of `length` bytes that begins with `head`. A table that a guest would
/// not read, or that is not within `head`, is passed over.
///
/// # Errors
/// [`Unfit::CutDisk`].
pub(super) fn check(head: &[u8], length: u64) -> Result<(), Unfit> {
    let end = match mbr(head) {
        Some(entries) if entries.iter().any(|entry| entry.kind == PROTECTIVE) => gpt_end(head),
        Some(entries) => entries.iter().map(MbrEntry::end).max(),
        None => None,
    };
    if end.is_some_and(|end| end > length) {
        return Err(Unfit::CutDisk);
    }
    Ok(())
}

/// A partition of an MBR.
struct MbrEntry {
    kind: u8,
    start: u32,
    sectors: u32,
}

impl MbrEntry {
    /// `None` if its first byte is none of an entry.
    fn read(entry: &[u8]) -> Option<Self> {
        let &[0 | 0x80, _, _, _, kind, _, _, _, ref places @ ..] = entry else {
            return None;
        };
        let (start, rest) = places.split_first_chunk()?;
        Some(Self {
            kind,
            start: u32::from_le_bytes(*start),
            sectors: u32::from_le_bytes(*rest.first_chunk()?),
        })
    }

    /// The end in bytes; 0 if it is unused.
    fn end(&self) -> u64 {
        if self.kind == 0 || self.start == 0 || self.sectors == 0 {
            return 0;
        }
        let end = u64::from(self.start).saturating_add(u64::from(self.sectors));
        end.saturating_mul(SECTOR)
    }
}

/// The partitions of an MBR; `None` if it has none. As Linux does it, one wrong entry makes the table none.
fn mbr(head: &[u8]) -> Option<Vec<MbrEntry>> {
    let has =
        |(at, mark): &(usize, &[u8])| head.get(*at..).is_some_and(|rest| rest.starts_with(mark));
    if has(&ISO_9660) || BOOT_SECTORS.iter().any(has) {
        return None;
    }
    let (table, end) = head.get(MBR_TABLE..)?.split_at_checked(4 * MBR_ENTRY)?;
    if !end.starts_with(&MBR_MARK) {
        return None;
    }
    table.chunks(MBR_ENTRY).map(MbrEntry::read).collect()
}

/// Where the last partition of a GPT ends, in bytes; `None` if its header is damaged or none.
fn gpt_end(head: &[u8]) -> Option<u64> {
    let of_sector = |sector: u64| {
        let entries = gpt_entries(head, sector)?;
        let ends = entries.map(|entry| gpt_partition_end(entry, sector));
        ends.max()
    };
    SECTORS.into_iter().find_map(of_sector)
}

/// The entries of a GPT on a disk with such sectors, as far as header and entries are what their checksums say.
fn gpt_entries(head: &[u8], sector: u64) -> Option<impl Iterator<Item = &[u8]>> {
    let rest = head.get(usize::try_from(sector).ok()?..)?;
    let length = usize::try_from(le32(rest, 12)?).ok()?;
    let header = rest.get(..length.max(GPT_HEADER))?;
    if !header.starts_with(GPT_MARK) || header_checksum(header) != le32(header, 16)? {
        return None;
    }
    let start = usize::try_from(le64(header, 72)?.checked_mul(sector)?).ok()?;
    let count = usize::try_from(le32(header, 80)?).ok()?;
    let size = usize::try_from(le32(header, 84)?).ok()?;
    let entries = head.get(start..)?.get(..count.checked_mul(size)?)?;
    let is_whole = size >= GPT_ENTRY && checksum(&[entries]) == le32(header, 88)?;
    is_whole.then(|| entries.chunks(size))
}

/// The checksum of a header, whose own field counts as zero.
fn header_checksum(header: &[u8]) -> u32 {
    let preceding = header.get(..16).unwrap_or_default();
    let behind = header.get(20..).unwrap_or_default();
    checksum(&[preceding, &[0; 4], behind])
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut sum = Crc::new();
    parts.iter().for_each(|part| sum.update(part));
    sum.sum()
}

/// Where a partition ends, in bytes; 0 if it is unused.
fn gpt_partition_end(entry: &[u8], sector: u64) -> u64 {
    let is_unused = entry.iter().take(16).all(|byte| *byte == 0);
    match (le64(entry, 32), le64(entry, 40)) {
        (Some(first), Some(last)) if !is_unused && first <= last => {
            last.saturating_add(1).saturating_mul(sector)
        }
        _ => 0,
    }
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*four))
}

fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*eight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    /// A head with an MBR of these partitions: type, first sector, sectors.
    fn mbr_disk(partitions: &[(u8, u32, u32)]) -> Vec<u8> {
        let mut head = vec![0; 65_536];
        for (index, (kind, start, sectors)) in partitions.iter().enumerate() {
            let entry = &mut head[MBR_TABLE + index * MBR_ENTRY..][..MBR_ENTRY];
            entry[4] = *kind;
            entry[8..12].copy_from_slice(&start.to_le_bytes());
            entry[12..].copy_from_slice(&sectors.to_le_bytes());
        }
        head[510..512].copy_from_slice(&MBR_MARK);
        head
    }

    /// A head with a GPT of one partition up to this sector.
    fn gpt_disk(sector: usize, last: u64) -> Vec<u8> {
        let mut head = mbr_disk(&[(PROTECTIVE, 1, u32::MAX)]);
        let entries = 2 * sector;
        head[entries] = 7;
        head[entries + 32..][..8].copy_from_slice(&40_u64.to_le_bytes());
        head[entries + 40..][..8].copy_from_slice(&last.to_le_bytes());
        let entries_sum = checksum(&[&head[entries..][..128 * GPT_ENTRY]]);
        let header = &mut head[sector..][..GPT_HEADER];
        header[..8].copy_from_slice(GPT_MARK);
        header[12..16].copy_from_slice(&92_u32.to_le_bytes());
        header[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        header[72..80].copy_from_slice(&2_u64.to_le_bytes());
        header[80..84].copy_from_slice(&128_u32.to_le_bytes());
        header[84..88].copy_from_slice(&128_u32.to_le_bytes());
        header[88..92].copy_from_slice(&entries_sum.to_le_bytes());
        let sum = header_checksum(header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        head
    }

    #[test]
    fn a_partition_that_ends_beyond_the_disk_shows_that_it_was_cut_short() {
        let disk = mbr_disk(&[(0x83, 2048, 2048), (0x83, 4096, 4096)]);
        assert_eq!(check(&disk, 4 * MIB), Ok(()));
        assert_eq!(check(&disk, 4 * MIB - SECTOR), Err(Unfit::CutDisk));
        for sector in [512_u64, 4096] {
            let with_gpt = gpt_disk(sector as usize, 8 * MIB / sector - 1);
            assert_eq!(check(&with_gpt, 8 * MIB), Ok(()), "{sector}");
            let cut = check(&with_gpt, 8 * MIB - SECTOR);
            assert_eq!(cut, Err(Unfit::CutDisk), "{sector}");
        }
        assert_eq!(
            super::super::format::of_whole(&disk, 2 * MIB),
            Err(Unfit::CutDisk)
        );
    }

    #[test]
    fn a_table_that_no_guest_reads_is_no_sign() {
        let broken = |at: usize, byte: u8| {
            let mut disk = gpt_disk(512, u64::MAX - 1);
            disk[at] ^= byte;
            disk
        };
        assert_eq!(check(&broken(600, 0), MIB), Err(Unfit::CutDisk));
        // The header, its entries, and the MBR that protects them.
        for at in [512, 520, 1100, MBR_TABLE, 511] {
            assert_eq!(check(&broken(at, 1), MIB), Ok(()), "{at}");
        }
        let beyond = [(0x83, 1, u32::MAX)];
        let mut boot_sector = mbr_disk(&beyond);
        boot_sector[3..11].copy_from_slice(b"NTFS    ");
        let mut hybrid = mbr_disk(&beyond);
        hybrid[32_769..32_774].copy_from_slice(b"CD001");
        let mut code = mbr_disk(&beyond);
        code[MBR_TABLE + MBR_ENTRY] = 7;
        for disk in [
            boot_sector,
            hybrid,
            code,
            mbr_disk(&[(0, 1, u32::MAX), (0x83, 9, 0), (0x83, 0, 9)]),
        ] {
            assert_eq!(check(&disk, MIB), Ok(()));
        }
        for length in [0, 446, 511, 600, 1024] {
            assert_eq!(check(&broken(600, 0)[..length], MIB), Ok(()), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_table_makes_it_panic(
            header in proptest::collection::vec(any::<u8>(), GPT_HEADER),
            length in any::<u64>(),
        ) {
            let mut head = gpt_disk(512, 9);
            head[512..][..GPT_HEADER].copy_from_slice(&header);
            head[512..520].copy_from_slice(GPT_MARK);
            head[524..528].copy_from_slice(&92_u32.to_le_bytes());
            let sum = header_checksum(&head[512..][..GPT_HEADER]);
            head[528..532].copy_from_slice(&sum.to_le_bytes());
            let _ = check(&head, length);
        }
    }
}
