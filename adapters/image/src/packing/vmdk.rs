//! Reads stream-optimised VMDK files, the form for transport: compressed grains one after the other, each
//! after a marker with its position. They are converted to a raw disk while they are read.
//!
//! Only a single extent without a parent is accepted. Grains must be in the order of their positions, as all
//! known programs write them, because bytes that were sent cannot be changed.

use std::io::{self, Read};

use flate2::read::ZlibDecoder;

use super::{Outlet, PIECE};

/// The first bytes of a VMDK.
pub(crate) const MAGIC: &[u8] = b"KDMV";
pub(crate) const SECTOR: u64 = 512;
/// The length limit of header, description and tables before the first grain, in bytes.
const MAX_OVERHEAD_LEN: u64 = 32 << 20;
/// The length limit of a grain, in bytes.
const MAX_GRAIN_LEN: u64 = 1 << 20;
/// The size limit of a disk: 64 TiB.
const LARGEST: u64 = 64 << 40;
/// The position of the grain directory if the tables follow the grains.
const AT_END: u64 = u64::MAX;
/// Flags: grains are compressed, and have markers.
pub(crate) const STREAM: u32 = 3 << 16;
const DEFLATE: u16 = 1;

/// Why a VMDK cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnfitVmdk {
    #[error("the VMDK is not stream-optimised")]
    NotAStream,
    #[error("the VMDK needs another file: its description names a parent or other extents")]
    NotAlone,
    #[error("the VMDK is not what its header says: {0}")]
    Wrong(&'static str),
    #[error("the VMDK ends before its last grain")]
    Short,
}

fn unfit(why: UnfitVmdk) -> io::Error {
    io::Error::other(why)
}

fn wrong(why: &'static str) -> io::Error {
    unfit(UnfitVmdk::Wrong(why))
}

/// Sends the disk inside. Reads to the end of the extent and no further.
pub(super) fn unpack(from: &mut impl Read, to: &mut Outlet) -> io::Result<bool> {
    let extent = ExtentHeader::read(from)?;
    let mut disk = RawDisk { to, at: 0 };
    let mut grains = 0_u64;
    while let Some(marker) = Marker::read(from)? {
        match marker {
            Marker::Grain { sector, size } => {
                let start = sector.checked_mul(SECTOR).ok_or_else(|| wrong("a place"))?;
                if start < disk.at || start >= extent.capacity {
                    return Err(wrong("grains are out of order"));
                }
                let grain = extent.grain(from, size)?;
                let rest = extent.capacity.saturating_sub(start);
                let length =
                    usize::try_from(rest).map_or(grain.len(), |rest| rest.min(grain.len()));
                let data = grain.get(..length).unwrap_or_default();
                if !disk.zeros(start)? || !disk.data(data)? {
                    return Ok(false);
                }
                grains = grains.saturating_add(1);
            }
            Marker::Table { sectors } => skip(from, sectors.saturating_mul(SECTOR))?,
            Marker::End => {
                return if extent.grains.is_none_or(|expected| expected == grains) {
                    disk.zeros(extent.capacity)
                } else {
                    Err(unfit(UnfitVmdk::Short))
                };
            }
        }
    }
    // Some programs write no end marker. Their tables precede the grains and show how many there are.
    if extent.grains == Some(grains) {
        disk.zeros(extent.capacity)
    } else {
        Err(unfit(UnfitVmdk::Short))
    }
}

/// The raw disk that is being sent.
struct RawDisk<'a> {
    to: &'a mut Outlet,
    at: u64,
}

impl RawDisk<'_> {
    /// Sends zeros up to the offset `end`. Returns whether the receiver wants more.
    fn zeros(&mut self, end: u64) -> io::Result<bool> {
        while self.at < end {
            let rest = usize::try_from(end.saturating_sub(self.at)).unwrap_or(PIECE);
            if !self.data(&vec![0; rest.min(PIECE)])? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.at = self.at.saturating_add(bytes.len() as u64);
        self.to.put(bytes.to_vec())
    }
}

/// The header of an extent.
#[derive(Debug)]
struct ExtentHeader {
    /// The size that a guest sees, in bytes.
    capacity: u64,
    /// The length of a whole grain, in bytes.
    grain: u64,
    /// How many grains there are, if tables before them show it.
    grains: Option<u64>,
}

impl ExtentHeader {
    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut header = [0; SECTOR as usize];
        exactly(from, &mut header)?;
        let (short, long) = (
            |offset| number::<4>(&header, offset),
            |offset| number::<8>(&header, offset),
        );
        let flags = u32::try_from(short(8)).unwrap_or_default();
        let packing = u16::try_from(number::<2>(&header, 77)).unwrap_or_default();
        if !header.starts_with(MAGIC) || flags & STREAM != STREAM || packing != DEFLATE {
            return Err(unfit(UnfitVmdk::NotAStream));
        }
        let bytes = |sectors: u64, most: u64| {
            let bytes = sectors.checked_mul(SECTOR);
            let fits = bytes.filter(|bytes| (SECTOR..=most).contains(bytes));
            fits.ok_or_else(|| wrong("a size is out of bounds"))
        };
        let capacity = bytes(long(12), LARGEST)?;
        let grain = bytes(long(20), MAX_GRAIN_LEN)?;
        let overhead = bytes(long(64), MAX_OVERHEAD_LEN)?;
        let mut overhead_bytes = header.to_vec();
        let rest = overhead.saturating_sub(SECTOR);
        from.by_ref().take(rest).read_to_end(&mut overhead_bytes)?;
        if overhead_bytes.len() as u64 != overhead {
            return Err(unfit(UnfitVmdk::Short));
        }
        let description = section(&overhead_bytes, long(28), long(36).saturating_mul(SECTOR))?;
        is_standalone(description, CreateType::StreamOptimized).map_err(unfit)?;
        let grains = match long(56) {
            AT_END => None,
            tables => Some(count(
                &overhead_bytes,
                tables,
                short(44),
                capacity.div_ceil(grain),
            )?),
        };
        Ok(Self {
            capacity,
            grain,
            grains,
        })
    }

    /// Reads and unpacks the next grain.
    fn grain(&self, from: &mut impl Read, size: u64) -> io::Result<Vec<u8>> {
        // Data that cannot be compressed becomes slightly longer.
        if size > self.grain.saturating_mul(2).saturating_add(SECTOR) {
            return Err(wrong("a packed grain is too long"));
        }
        let (mut packed, mut grain) = (Vec::new(), Vec::new());
        from.by_ref().take(size).read_to_end(&mut packed)?;
        if packed.len() as u64 != size {
            return Err(unfit(UnfitVmdk::Short));
        }
        let mut unpacked = ZlibDecoder::new(packed.as_slice()).take(self.grain.saturating_add(1));
        let damaged = |_| wrong("a grain cannot be unpacked");
        unpacked.read_to_end(&mut grain).map_err(damaged)?;
        if grain.len() as u64 > self.grain {
            return Err(wrong("a grain unpacks to more than a grain"));
        }
        // The marker's first bytes and the compressed data are padded to whole sectors.
        let used = size.saturating_add(MARKER) % SECTOR;
        skip(from, SECTOR.saturating_sub(used) % SECTOR)?;
        grain.resize(usize::try_from(self.grain).unwrap_or(grain.len()), 0);
        Ok(grain)
    }
}

/// The length of a marker before a compressed grain, in bytes.
const MARKER: u64 = 12;

enum Marker {
    Grain { sector: u64, size: u64 },
    Table { sectors: u64 },
    End,
}

impl Marker {
    /// Reads the next marker; `None` at the end of the file.
    fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        from.by_ref().take(MARKER).read_to_end(&mut head)?;
        if head.is_empty() {
            return Ok(None);
        }
        if head.len() as u64 != MARKER {
            return Err(unfit(UnfitVmdk::Short));
        }
        let (value, size) = (number::<8>(&head, 0), number::<4>(&head, 8));
        if size > 0 {
            let sector = value;
            return Ok(Some(Self::Grain { sector, size }));
        }
        let mut rest = [0; SECTOR as usize - MARKER as usize];
        exactly(from, &mut rest)?;
        match number::<4>(&rest, 0) {
            0 => Ok(Some(Self::End)),
            // Grain tables, the grain directory, and a copy of the header.
            1..=3 if value <= MAX_OVERHEAD_LEN / SECTOR => Ok(Some(Self::Table { sectors: value })),
            _ => Err(wrong("a marker")),
        }
    }
}

/// How many grains the tables before the grains name.
fn count(before: &[u8], tables: u64, entries: u64, grains: u64) -> io::Result<u64> {
    if entries == 0 || entries > 4_096 {
        return Err(wrong("its tables"));
    }
    let directory = section(before, tables, grains.div_ceil(entries).saturating_mul(4))?;
    let (mut found, mut left) = (0_u64, grains);
    for place in directory.chunks_exact(4) {
        let in_table = left.min(entries);
        let table = section(before, number::<4>(place, 0), in_table.saturating_mul(4))?;
        let named = table
            .chunks_exact(4)
            .filter(|entry| number::<4>(entry, 0) > 1);
        found = found.saturating_add(named.count() as u64);
        left = left.saturating_sub(in_table);
    }
    Ok(found)
}

/// `length` bytes from the start of a sector.
fn section(before: &[u8], sector: u64, length: u64) -> io::Result<&[u8]> {
    let start = sector.checked_mul(SECTOR);
    let end = start.and_then(|start| start.checked_add(length));
    let range = start
        .zip(end)
        .and_then(|(start, end)| Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?));
    let table = range.and_then(|range| before.get(range));
    table.ok_or_else(|| wrong("a table is outside of the file"))
}

/// The `createType` of a description.
#[derive(Clone, Copy)]
pub(crate) enum CreateType {
    StreamOptimized,
    MonolithicSparse,
}

impl CreateType {
    fn name(self) -> &'static str {
        match self {
            Self::StreamOptimized => "streamoptimized",
            Self::MonolithicSparse => "monolithicsparse",
        }
    }
}

/// Checks that the description names one extent of this type and no parent.
pub(crate) fn is_standalone(description: &[u8], form: CreateType) -> Result<(), UnfitVmdk> {
    let text = description.split(|byte| *byte == 0).next();
    let text = std::str::from_utf8(text.unwrap_or_default())
        .map_err(|_| UnfitVmdk::Wrong("its description"))?;
    let mut extents = 0_usize;
    for line in text.lines().map(str::trim) {
        let lower = line.to_ascii_lowercase();
        let value = |key: &str| {
            let value = lower.strip_prefix(key)?.trim_start().strip_prefix('=')?;
            Some(value.trim().trim_matches('"').to_owned())
        };
        if value("parentfilenamehint").is_some() {
            return Err(UnfitVmdk::NotAlone);
        }
        if value("parentcid").is_some_and(|parent| parent != "ffffffff") {
            return Err(UnfitVmdk::NotAlone);
        }
        if value("createtype").is_some_and(|kind| kind != form.name()) {
            return Err(UnfitVmdk::NotAStream);
        }
        if ["rw ", "rdonly ", "noaccess "]
            .iter()
            .any(|way| lower.starts_with(way))
        {
            extents = extents.saturating_add(1);
        }
    }
    match extents {
        1 => Ok(()),
        _ => Err(UnfitVmdk::NotAlone),
    }
}

/// A little-endian number; bytes beyond the end count as 0.
pub(crate) fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let window = bytes.iter().skip(at).take(N);
    window
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn exactly(from: &mut impl Read, into: &mut [u8]) -> io::Result<()> {
    from.read_exact(into).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => unfit(UnfitVmdk::Short),
        _ => error,
    })
}

fn skip(from: &mut impl Read, length: u64) -> io::Result<()> {
    match io::copy(&mut from.by_ref().take(length), &mut io::sink())? {
        skipped if skipped == length => Ok(()),
        _ => Err(unfit(UnfitVmdk::Short)),
    }
}
