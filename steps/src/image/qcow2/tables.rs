//! Checks that a qcow2 file is whole: that it needs nothing that a host cannot have, and that all that its
//! tables name is within the file.

use std::ops::Range;

use bytes::Bytes;

use super::{Unfit, be32, be64, bitmaps};

/// The permitted sizes of clusters, as powers of two.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// The features that QEMU requires a reader to know, by their bits: open, corrupt, another file, compression,
/// subclusters. The first is left behind by a program that did not close the file; QEMU repairs that.
const KNOWN: u64 = 0b1_1111;
const OPEN: u64 = 1 << 0;
const COMPRESSION: u64 = 1 << 3;
const SUBCLUSTERS: u64 = 1 << 4;
/// The content of the other file, which a reader may use as a raw disk, is right.
const AUTOCLEAR_RAW_DATA_FILE: u64 = 1 << 1;
/// The smallest size of clusters that have subclusters, as a power of two.
const SUBCLUSTERS_BITS_MIN: u32 = 14;
/// The position of the kind of compression; shorter headers have none.
const COMPRESSION_AT: usize = 104;
const HEADER_WITH_COMPRESSION_MIN: u32 = 105;
/// The length limits of tables, in bytes, as QEMU has them.
const L1_MAX: u64 = 32 << 20;
const REFCOUNTS_MAX: u64 = 8 << 20;
/// The most snapshots that QEMU reads.
const SNAPSHOTS_MAX: u32 = 65_536;
/// The longest table of them that it reads, and the longest fields of one that are of a later version.
const SNAPSHOTS_LENGTH_MAX: u64 = 64 << 20;
const SNAPSHOT_EXTRA_MAX: u64 = 1024;
/// The fields that each entry of the table has.
const SNAPSHOT_LENGTH: usize = 40;
/// How many tables of clusters may have to be read. With clusters of the usual size they are for 8 TiB of data.
const L2_TABLES_MAX: usize = 16 << 10;
/// Tables that are at most so far apart are read at once, up to that length.
const NEAR: u64 = 256 << 10;
const READ_MAX: u64 = 4 << 20;

/// The bits of an entry that are a position in the file.
const POSITION: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros, whether it has a position or not.
const ZEROS: u64 = 1;

/// A file whose bytes can be read in any order.
pub(in crate::image) trait FileBytes: Send {
    /// The error of a read.
    type Error: From<Unfit> + Send;

    /// The file's length in bytes.
    fn length(&self) -> u64;

    /// Exactly `length` bytes at `at`; the caller made sure that they are within the file.
    fn exactly(
        &mut self,
        at: u64,
        length: u64,
    ) -> impl Future<Output = Result<Bytes, Self::Error>> + Send;
}

/// Where a table begins and how long it is, in bytes; zeros for a table that the file does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct TablePlace {
    position: u64,
    length: u64,
}

/// What a qcow2's header says about its tables. Lengths are in bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::image) struct Qcow2Tables {
    cluster_bits: u32,
    virtual_size: u64,
    l1: TablePlace,
    refcounts: TablePlace,
    refcount_bits: u32,
    features: u64,
    /// Where the table of snapshots begins, and how many there are.
    snapshots: (u64, u32),
    bitmaps: Option<(u64, u64)>,
}

impl Qcow2Tables {
    /// Reads the header, and refuses what no guest could read.
    ///
    /// # Errors
    /// The reason why it is refused.
    pub(in crate::image) fn read(head: &[u8]) -> Result<Self, Unfit> {
        let (version, cluster_bits) = (be32(head, 4)?, be32(head, 20)?);
        if !CLUSTER_BITS.contains(&cluster_bits) {
            return Err(Unfit::Version);
        }
        let (features, order) = match version {
            2 => (0, 4),
            _ => (be64(head, 72)?, be32(head, 96)?),
        };
        let autoclear = if version == 2 { 0 } else { be64(head, 88)? };
        if features & !KNOWN != 0 {
            return Err(Unfit::Features((features & !KNOWN).trailing_zeros()));
        }
        if be32(head, 32)? != 0 {
            return Err(Unfit::Encrypted);
        }
        check_compression(head, version, features)?;
        if features & SUBCLUSTERS != 0 && cluster_bits < SUBCLUSTERS_BITS_MIN {
            return Err(Unfit::Contradiction(
                "it has subclusters, for which its clusters are too small",
            ));
        }
        if autoclear & AUTOCLEAR_RAW_DATA_FILE != 0 {
            return Err(Unfit::Contradiction(
                "it says that another file has its content, and names none",
            ));
        }
        if order > 6 {
            return Err(Unfit::Version);
        }
        let (snapshots, snapshots_at) = (be32(head, 60)?, be64(head, 64)?);
        if snapshots > SNAPSHOTS_MAX || !snapshots_at.is_multiple_of(1 << cluster_bits) {
            return Err(Unfit::Tables);
        }
        let length = u64::from(be32(head, 56)?) << cluster_bits;
        Ok(Self {
            cluster_bits,
            virtual_size: be64(head, 24)?,
            l1: TablePlace {
                position: be64(head, 40)?,
                length: u64::from(be32(head, 36)?).saturating_mul(8),
            },
            refcounts: TablePlace {
                position: be64(head, 48)?,
                length,
            },
            refcount_bits: 1 << order,
            features,
            snapshots: (snapshots_at, snapshots),
            bitmaps: bitmaps(head),
        })
    }

    fn cluster(self) -> u64 {
        1 << self.cluster_bits
    }

    /// The length of an entry for a cluster.
    fn entry(self) -> u64 {
        if self.features & SUBCLUSTERS != 0 {
            16
        } else {
            8
        }
    }

    /// How many bytes of the disk a table of clusters maps.
    fn mapped(self) -> u64 {
        (self.cluster() / self.entry()).saturating_mul(self.cluster())
    }

    /// Checks that a table begins with a cluster and is within the file.
    fn inside(self, table: TablePlace, file: u64) -> Result<Range<u64>, Unfit> {
        let begin = table.position;
        let end = begin.checked_add(table.length).ok_or(Unfit::Cut)?;
        if begin == 0 || !begin.is_multiple_of(self.cluster()) {
            return Err(Unfit::Tables);
        }
        if end > file {
            return Err(Unfit::Cut);
        }
        Ok(begin..end)
    }

    /// The length of the table of tables that the disk needs.
    fn needed_l1(self) -> u64 {
        self.virtual_size.div_ceil(self.mapped()).saturating_mul(8)
    }

    fn check_header(self, file: u64) -> Result<(), Unfit> {
        // Without any table the disk has no data that could be missing.
        if self.l1 == TablePlace::default() {
            return Ok(());
        }
        let counters = 1..=REFCOUNTS_MAX;
        if self.l1.length < self.needed_l1()
            || self.l1.length > L1_MAX
            || !counters.contains(&self.refcounts.length)
        {
            return Err(Unfit::Tables);
        }
        self.inside(self.l1, file)?;
        self.inside(self.refcounts, file).map(drop)
    }

    /// Checks the lists that QEMU reads when it opens the file.
    async fn check_lists<F: FileBytes>(self, file: &mut F) -> Result<(), F::Error> {
        if let Some((at, length)) = self.bitmaps
            && at.checked_add(length).is_none_or(|end| end > file.length())
        {
            return Err(Unfit::Cut.into());
        }
        let (begin, mut left) = self.snapshots;
        let mut position = begin;
        while left > 0 {
            let room = file.length().saturating_sub(position).min(NEAR);
            if room < SNAPSHOT_LENGTH as u64 {
                return Err(Unfit::Cut.into());
            }
            let bytes = file.exactly(position, room).await?;
            let mut skipped = 0_u64;
            while let Some(length) = snapshot_length(&bytes, skipped).filter(|_| left > 0) {
                skipped = skipped.saturating_add(length?);
                left = left.saturating_sub(1);
            }
            position = position.saturating_add(skipped);
            if position.saturating_sub(begin) > SNAPSHOTS_LENGTH_MAX {
                return Err(Unfit::Tables.into());
            }
        }
        Ok(())
    }

    /// Checks with a few reads whether the file ends before its last cluster, by the counters that tell which
    /// clusters are in use.
    ///
    /// # Errors
    /// [`Unfit`], or the error of a read.
    pub(in crate::image) async fn check_end<F: FileBytes>(
        self,
        file: &mut F,
    ) -> Result<(), F::Error> {
        self.check_header(file.length())?;
        self.check_lists(file).await?;
        // A file that was not closed has counters that are not right.
        if self.l1 == TablePlace::default() || self.features & OPEN != 0 {
            return Ok(());
        }
        let TablePlace { position, length } = self.refcounts;
        let table = file.exactly(position, length).await?;
        let blocks: Vec<u64> = entries(&table).map(|entry| entry & POSITION).collect();
        let Some(last) = blocks.iter().rposition(|block| *block != 0) else {
            return Ok(());
        };
        let cluster = self.cluster();
        for block in blocks.iter().filter(|block| **block != 0) {
            let counters = TablePlace {
                position: *block,
                length: cluster,
            };
            self.inside(counters, file.length())?;
        }
        let block = blocks.get(last).copied().unwrap_or_default();
        let counters = file.exactly(block, cluster).await?;
        let per_block = cluster.saturating_mul(8) / u64::from(self.refcount_bits);
        let Some(byte) = counters.iter().rposition(|byte| *byte != 0) else {
            return Ok(());
        };
        // The first counter in that byte: which of those that share a byte is in use does not matter.
        let counter = (byte as u64).saturating_mul(8) / u64::from(self.refcount_bits);
        let number = (last as u64)
            .saturating_mul(per_block)
            .saturating_add(counter);
        if number.saturating_mul(cluster) < file.length() {
            Ok(())
        } else {
            Err(Unfit::Cut.into())
        }
    }

    /// Checks that every cluster of the disk is within the file.
    ///
    /// # Errors
    /// [`Unfit`], or the error of a read.
    pub(in crate::image) async fn check_all<F: FileBytes>(
        self,
        file: &mut F,
    ) -> Result<(), F::Error> {
        self.check_header(file.length())?;
        self.check_lists(file).await?;
        if self.l1.position == 0 {
            return Ok(());
        }
        let table = file.exactly(self.l1.position, self.needed_l1()).await?;
        let mut tables = Vec::new();
        for (number, entry) in (0_u64..).zip(entries(&table)) {
            if entry & POSITION != 0 {
                let l2 = TablePlace {
                    position: entry & POSITION,
                    length: self.cluster(),
                };
                tables.push((self.inside(l2, file.length())?.start, number));
            }
        }
        tables.sort_unstable();
        tables.dedup_by_key(|(place, _)| *place);
        if tables.len() > L2_TABLES_MAX {
            return Err(Unfit::TooManyTables.into());
        }
        let mut rest = tables.as_slice();
        while let Some((first, _)) = rest.first() {
            let end = self.end_of_read(*first, rest);
            let bytes = file.exactly(*first, end.saturating_sub(*first)).await?;
            let count = rest.partition_point(|(place, _)| *place < end);
            for (place, number) in rest.iter().take(count) {
                let from = usize::try_from(place.saturating_sub(*first)).unwrap_or(usize::MAX);
                let l2 = bytes.get(from..).unwrap_or_default();
                self.check_clusters(l2, *number, file.length())?;
            }
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// The end of the tables that are read together, beginning with the first.
    fn end_of_read(self, first: u64, tables: &[(u64, u64)]) -> u64 {
        let mut end = first.saturating_add(self.cluster());
        for (at, _) in tables {
            let next = at.saturating_add(self.cluster());
            let together = at.saturating_sub(end) <= NEAR && next.saturating_sub(first) <= READ_MAX;
            if !together {
                break;
            }
            end = next.max(end);
        }
        end
    }

    /// Checks the clusters of one table, which is the one of this number.
    fn check_clusters(self, table: &[u8], number: u64, file: u64) -> Result<(), Unfit> {
        let mut start = number.saturating_mul(self.mapped());
        let words = usize::try_from(self.entry() / 8).unwrap_or(1);
        let clusters = usize::try_from(self.cluster() / self.entry()).unwrap_or_default();
        let following = entries(table.get(8..).unwrap_or_default());
        let pairs = entries(table).zip(following.chain([0]));
        for (entry, subclusters) in pairs.step_by(words).take(clusters) {
            let needed = self.virtual_size.saturating_sub(start).min(self.cluster());
            if needed == 0 {
                return Ok(());
            }
            let used = needed.min(self.end_of_subclusters(subclusters));
            let end = self.end_of(entry, used)?;
            if end.is_some_and(|end| end > file) {
                return Err(Unfit::Cut);
            }
            start = start.saturating_add(self.cluster());
        }
        Ok(())
    }

    /// The length of a cluster up to the last subcluster that has data: QEMU does not write what follows it.
    fn end_of_subclusters(self, bitmap: u64) -> u64 {
        if self.features & SUBCLUSTERS == 0 {
            return self.cluster();
        }
        let written = u64::from(u32::BITS.saturating_sub(allocated(bitmap).leading_zeros()));
        (self.cluster() / 32).saturating_mul(written)
    }

    /// The byte after the part of the file that the entry needs; `None` if it needs none.
    fn end_of(self, entry: u64, needed: u64) -> Result<Option<u64>, Unfit> {
        if entry & COMPRESSED != 0 {
            // Below the bits for the length, in sectors after the first one.
            let bits = 62_u32.saturating_sub(self.cluster_bits.saturating_sub(8));
            let start = entry & (1_u64 << bits).saturating_sub(1);
            let more = (entry & !(COMPRESSED | 1 << 63)) >> bits;
            // QEMU does not fill up the last sector of the file, but begins it.
            let last = (start & !511).saturating_add(more.saturating_mul(512));
            return Ok(Some(last.max(start).saturating_add(1)));
        }
        let start = entry & POSITION;
        if start == 0 || self.features & SUBCLUSTERS == 0 && entry & ZEROS != 0 {
            return Ok(None);
        }
        if !start.is_multiple_of(self.cluster()) {
            return Err(Unfit::Tables);
        }
        Ok(Some(start.saturating_add(needed)))
    }
}

/// The length of the entry of a snapshot, up to the next one; `None` if it does not begin within the bytes.
fn snapshot_length(bytes: &[u8], at: u64) -> Option<Result<u64, Unfit>> {
    let entry = bytes.get(usize::try_from(at).ok()?..)?;
    let fields = entry.first_chunk::<SNAPSHOT_LENGTH>()?;
    let length_at = |from: usize| {
        let length = fields.get(from..)?.first_chunk::<2>()?;
        Some(u64::from(u16::from_be_bytes(*length)))
    };
    let (identity, name) = (length_at(12)?, length_at(14)?);
    let extra = u64::from(be32(fields, 36).ok()?);
    if extra > SNAPSHOT_EXTRA_MAX {
        return Some(Err(Unfit::Contradiction(
            "a snapshot of it has more fields than QEMU reads",
        )));
    }
    let texts = identity.saturating_add(name);
    let length = (SNAPSHOT_LENGTH as u64)
        .saturating_add(extra)
        .saturating_add(texts);
    Some(Ok(length.next_multiple_of(8)))
}

/// Checks that the kind of compression is known and has its feature bit, as QEMU does.
fn check_compression(head: &[u8], version: u32, features: u64) -> Result<(), Unfit> {
    let has_kind = version != 2 && be32(head, 100)? >= HEADER_WITH_COMPRESSION_MIN;
    let kind = if has_kind {
        *head.get(COMPRESSION_AT).ok_or(Unfit::Version)?
    } else {
        0
    };
    match (kind, features & COMPRESSION != 0) {
        (0, false) | (1, true) => Ok(()),
        (0, true) => Err(Unfit::Contradiction(
            "its feature bit for a compression is set, but its compression is zlib",
        )),
        (1, false) => Err(Unfit::Contradiction(
            "its compression is zstd, but the feature bit for that is not set",
        )),
        _ => Err(Unfit::Compression),
    }
}

/// The bits of the subclusters that have data; those above them are of subclusters that read as zeros.
fn allocated(bitmap: u64) -> u32 {
    u32::try_from(bitmap & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

fn entries(table: &[u8]) -> impl Iterator<Item = u64> {
    let words = table.chunks_exact(8);
    words.map(|word| {
        word.first_chunk()
            .map_or(0, |word| u64::from_be_bytes(*word))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file in memory.
    struct Memory(Vec<u8>);

    impl FileBytes for Memory {
        type Error = Unfit;

        fn length(&self) -> u64 {
            self.0.len() as u64
        }

        async fn exactly(&mut self, at: u64, length: u64) -> Result<Bytes, Unfit> {
            let (from, to) = (at as usize, (at + length) as usize);
            Ok(Bytes::copy_from_slice(&self.0[from..to]))
        }
    }

    fn judge(file: &[u8]) -> (Result<(), Unfit>, Result<(), Unfit>) {
        let tables = match Qcow2Tables::read(file) {
            Ok(tables) => tables,
            Err(unfit) => return (Err(unfit.clone()), Err(unfit)),
        };
        let mut file = Memory(file.to_vec());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let quick = runtime.block_on(tables.check_end(&mut file));
        (quick, runtime.block_on(tables.check_all(&mut file)))
    }

    /// A file with clusters of 512 bytes.
    fn image() -> Vec<u8> {
        image_of_clusters(9)
    }

    /// A file of such clusters: header, counters, table of tables, one table, two clusters of data.
    fn image_of_clusters(bits: u32) -> Vec<u8> {
        let cluster = 1_usize << bits;
        let place = |number: usize| (number * cluster) as u64;
        let mut file = crate::sim::source::qcow2_header(place(3));
        file.resize(7 * cluster, 0);
        for (at, word) in [
            (20, u64::from(bits) << 32),         // size of clusters
            (40, place(3)),                      // table of tables
            (48, place(1)),                      // counters
            (cluster, place(2)),                 // their only block
            (3 * cluster, (1 << 63) | place(4)), // the only table
            (4 * cluster, (1 << 63) | place(5)), // data
            (4 * cluster + 8, 0),                // a hole
            (4 * cluster + 16, (1 << 63) | place(6)),
        ] {
            file[at..at + 8].copy_from_slice(&word.to_be_bytes());
        }
        file[24..32].copy_from_slice(&place(3).to_be_bytes());
        file[36..40].copy_from_slice(&1_u32.to_be_bytes());
        file[56..60].copy_from_slice(&1_u32.to_be_bytes());
        for number in 0..7 {
            file[2 * cluster + number * 2 + 1] = 1;
        }
        file
    }

    fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut file = image();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    }

    #[test]
    fn a_whole_file_passes_and_one_that_was_cut_at_any_place_does_not() {
        let whole = image();
        assert_eq!(judge(&whole), (Ok(()), Ok(())));
        for length in 112..whole.len() {
            let (quick, all) = judge(&whole[..length]);
            assert_eq!(all, Err(Unfit::Cut), "{length}");
            assert!(
                quick == Err(Unfit::Cut) || length > 6 * 512,
                "{length}: {quick:?}"
            );
        }
    }

    #[test]
    fn what_a_host_could_not_read_is_refused_by_its_name() {
        assert_eq!(judge(&with(78, &[0x80])).1, Err(Unfit::Features(15)));
        assert_eq!(judge(&with(72, &[0x80])).1, Err(Unfit::Features(63)));
        assert_eq!(judge(&with(35, &[2])).1, Err(Unfit::Encrypted));
        for bits in [0, 8, 22, 255] {
            assert_eq!(judge(&with(23, &[bits])).1, Err(Unfit::Version));
        }
    }

    /// As `qemu-img info` judges them.
    #[test]
    fn a_compression_and_its_feature_bit_belong_together() {
        for length in [104, 105, 106, 111, 112, 113, 120] {
            for (kind, bit) in [(0, 0), (0, 8), (1, 0), (1, 8), (2, 0), (2, 8)] {
                let head = with(79, &[bit]);
                let head = [&head[..103], &[length, kind], &head[105..]].concat();
                let judged = Qcow2Tables::read(&head).map(drop);
                let read = if length > 104 { kind } else { 0 };
                match (read, bit) {
                    (0, 0) | (1, 8) => assert_eq!(judged, Ok(()), "{length} {kind} {bit}"),
                    (2, _) => assert_eq!(judged, Err(Unfit::Compression)),
                    _ => assert!(matches!(judged, Err(Unfit::Contradiction(_)))),
                }
            }
        }
        let short = &with(103, &[105])[..104];
        assert_eq!(Qcow2Tables::read(short).err(), Some(Unfit::Version));
        let mut old = with(7, &[2]);
        (old[79], old[103], old[104]) = (8, 112, 9);
        assert_eq!(judge(&old).1, Ok(()), "version 2 has no such fields");
    }

    #[test]
    fn features_that_contradict_the_header_are_refused() {
        for bits in 9..=21 {
            let mut head = with(23, &[bits]);
            head[79] = 16;
            let judged = Qcow2Tables::read(&head).map(drop);
            let refused = matches!(judged, Err(Unfit::Contradiction(_)));
            assert_eq!(refused, bits < 14, "{bits}: {judged:?}");
        }
        let judged = judge(&with(95, &[2])).1;
        assert!(matches!(judged, Err(Unfit::Contradiction(_))));
        for ignored in [1, 4, 0x80] {
            assert_eq!(judge(&with(95, &[ignored])).1, Ok(()));
        }
    }

    #[test]
    fn tables_that_name_what_is_not_there_are_refused() {
        let long = (1_u64 << 63 | 1 << 40).to_be_bytes();
        assert_eq!(judge(&with(3 * 512, &long)).1, Err(Unfit::Cut));
        assert_eq!(judge(&with(4 * 512, &long)).1, Err(Unfit::Cut));
        assert_eq!(judge(&with(512, &long)).0, Err(Unfit::Cut));
        let odd = (1_u64 << 63 | (5 * 512 + 1024)).to_be_bytes();
        assert_eq!(judge(&with(4 * 512, &odd)).1, Err(Unfit::Cut));
        assert_eq!(
            judge(&with(47, &[1])).1,
            Err(Unfit::Tables),
            "not at a cluster"
        );
        let compressed = |at: u64| (COMPRESSED | at).to_be_bytes();
        assert_eq!(judge(&with(4 * 512, &compressed(5 * 512))).1, Ok(()));
        assert_eq!(
            judge(&with(4 * 512, &compressed(7 * 512))).1,
            Err(Unfit::Cut)
        );
        let large = with(24, &(1_u64 << 50).to_be_bytes());
        assert_eq!(
            judge(&large).1,
            Err(Unfit::Tables),
            "its table of tables is too short"
        );
        let uncounted = with(56, &[0; 4]);
        assert_eq!(judge(&uncounted), (Err(Unfit::Tables), Err(Unfit::Tables)));
        let counted_twice = with(56, &((8_u32 << 20) / 512 + 1).to_be_bytes());
        assert_eq!(judge(&counted_twice).1, Err(Unfit::Tables));
        for snapshots in [
            (64, &300_u64.to_be_bytes()[..]),
            (60, &65_537_u32.to_be_bytes()),
        ] {
            let (at, bytes) = snapshots;
            assert_eq!(judge(&with(at, bytes)).1, Err(Unfit::Tables));
        }
        let zero = (ZEROS | 1 << 40).to_be_bytes();
        assert_eq!(judge(&with(4 * 512, &zero)).1, Ok(()));
    }

    /// A file with so many snapshots, each with fields of that length behind the usual ones.
    fn with_snapshots(count: u32, extra: u32) -> Vec<u8> {
        let mut file = with(60, &count.to_be_bytes());
        file[64..72].copy_from_slice(&(7 * 512_u64).to_be_bytes());
        for _ in 0..count {
            let mut entry = vec![0; 40];
            (entry[13], entry[15]) = (1, 2);
            entry[36..].copy_from_slice(&extra.to_be_bytes());
            entry.resize(40 + extra as usize, 7);
            entry.extend(b"1s1");
            entry.resize(entry.len().next_multiple_of(8), 0);
            file.extend(entry);
        }
        file
    }

    /// As `qemu-img info` judges them; it takes what is missing of a file for zeros.
    #[test]
    fn the_snapshots_of_a_file_are_those_that_qemu_reads() {
        let file = with_snapshots(3, 16);
        assert_eq!(judge(&file), (Ok(()), Ok(())));
        let many = with_snapshots(6_000, 24);
        assert_eq!(judge(&many), (Ok(()), Ok(())), "several reads");
        assert_eq!(judge(&with_snapshots(2, 1024)), (Ok(()), Ok(())));
        let (quick, all) = judge(&with_snapshots(2, 1025));
        assert!(matches!(quick, Err(Unfit::Contradiction(_))), "{quick:?}");
        assert_eq!(quick, all);
        let cut = (Err(Unfit::Cut), Err(Unfit::Cut));
        assert_eq!(judge(&file[..file.len() - 48]), cut);
        assert_eq!(judge(&file[..7 * 512]), cut);
        let mut beyond = file.clone();
        beyond[64..72].copy_from_slice(&(1_u64 << 40).to_be_bytes());
        assert_eq!(judge(&beyond), cut);
    }

    #[test]
    fn the_list_of_bitmaps_is_within_the_file() {
        let listed = |at: u64, size: u64, counts: u8| {
            let mut file = with(95, &[counts]);
            file[103] = 112;
            for (place, word) in [
                (112, 0x2385_2875_0000_0018),
                (120, 1 << 32),
                (128, size),
                (136, at),
            ] {
                file[place..place + 8].copy_from_slice(&u64::to_be_bytes(word));
            }
            file
        };
        assert_eq!(judge(&listed(6 * 512, 512, 1)), (Ok(()), Ok(())));
        let cut = (Err(Unfit::Cut), Err(Unfit::Cut));
        assert_eq!(judge(&listed(6 * 512, 513, 1)), cut);
        assert_eq!(judge(&listed(1 << 40, 32, 1)), cut);
        assert_eq!(judge(&listed(u64::MAX - 511, 512, 1)), cut);
        assert_eq!(judge(&listed(1 << 40, 32, 0)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_cluster_is_needed_up_to_its_last_written_subcluster() {
        let cluster = 1_usize << SUBCLUSTERS_BITS_MIN;
        let place = |number: usize| (1 << 63) | (number * cluster) as u64;
        let mut file = image_of_clusters(SUBCLUSTERS_BITS_MIN);
        file.splice(72..80, 16_u64.to_be_bytes());
        let table = 4 * cluster;
        for (at, word) in [
            (3 * cluster + 8, 0),
            (table, place(5)),
            (table + 8, 1 << 32 | 0b1111),
            (table + 16, place(6)),
            (table + 24, 1 << 60 | 0b11),
        ] {
            file[at..at + 8].copy_from_slice(&u64::to_be_bytes(word));
        }
        let written = 2 * cluster / 32;
        assert_eq!(judge(&file[..6 * cluster + written]), (Ok(()), Ok(())));
        let cut = &file[..6 * cluster + written - 1];
        assert_eq!(judge(cut).1, Err(Unfit::Cut));
    }

    proptest! {
        #[test]
        fn no_tables_make_it_panic(
            words in proptest::collection::vec((0..3_500_usize, any::<u64>()), 0..12),
        ) {
            let mut file = image();
            for (at, word) in words {
                file[at..at + 8].copy_from_slice(&word.to_be_bytes());
            }
            let _ = judge(&file);
        }
    }
}
