//! Sparse files of the test corpus: only sectors that are not all zeros, each after its number.

use std::collections::BTreeMap;

use bytes::Bytes;
use vsiflow_steps::ports::SourceError;

use super::ranges::Ranges;

const SECTOR: usize = 512;
const RECORD: usize = 4 + SECTOR;

/// A file that is mostly zeros.
#[derive(Clone)]
pub(super) struct CorpusFile {
    length: u64,
    sectors: BTreeMap<u64, [u8; SECTOR]>,
    /// Whether checksums are corrected when the file is read.
    pub(super) mended: bool,
}

impl CorpusFile {
    /// Parses a corpus file, which begins with the length of the whole file.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let number = |field: &[u8]| {
            let mut whole = [0; 8];
            whole[..field.len()].copy_from_slice(field);
            u64::from_le_bytes(whole)
        };
        let (length, records) = bytes.split_at(bytes.len().min(8));
        let sectors = records.chunks_exact(RECORD).map(|record| {
            let (at, sector) = record.split_at(4);
            (number(at), sector.try_into().unwrap())
        });
        Self {
            length: number(length),
            sectors: sectors.collect(),
            mended: false,
        }
    }

    /// Reads a file of the corpus.
    pub(super) fn of_corpus(name: &str) -> Self {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus/sparse");
        let packed = std::fs::File::open(format!("{corpus}/{name}.gz")).unwrap();
        let mut bytes = Vec::new();
        let mut packed = flate2::read::GzDecoder::new(packed);
        std::io::Read::read_to_end(&mut packed, &mut bytes).unwrap();
        Self::read(&bytes)
    }

    /// The whole file, which must be short.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.length).unwrap()];
        self.fill(0, &mut bytes);
        bytes
    }

    pub(super) fn put(&mut self, at: u64, bytes: &[u8]) {
        for (place, byte) in (at..).zip(bytes) {
            let sector = self.sectors.entry(place / SECTOR as u64);
            sector.or_insert([0; SECTOR])[place as usize % SECTOR] = *byte;
        }
    }

    fn fill(&self, at: u64, into: &mut [u8]) {
        let end = at + into.len() as u64;
        let sectors = at / SECTOR as u64..end.div_ceil(SECTOR as u64);
        for (number, sector) in self.sectors.range(sectors) {
            let start = number * SECTOR as u64;
            for (place, byte) in (start..).zip(sector) {
                if (at..end).contains(&place) {
                    into[(place - at) as usize] = *byte;
                }
            }
        }
    }
}

impl Ranges for CorpusFile {
    fn length(&self) -> u64 {
        self.length
    }

    async fn reserve(&mut self, _: u64) -> Result<(), SourceError> {
        Ok(())
    }

    async fn some(&mut self, at: u64, most: u64) -> Result<Bytes, SourceError> {
        let remaining = self.length.saturating_sub(at);
        let mut bytes = vec![0; remaining.min(most).min(1 << 20) as usize];
        self.fill(at, &mut bytes);
        let has_checksum = bytes.starts_with(b"head") || bytes.starts_with(b"regi");
        // A field of four bytes may have the same letters.
        if self.mended && has_checksum && bytes.len() >= 8 {
            bytes[4..8].fill(0);
            let sum = crc32c::crc32c(&bytes);
            bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        }
        Ok(bytes.into())
    }
}

#[test]
fn a_field_with_the_letters_of_a_head_is_read_as_it_is() {
    let mut file = CorpusFile::read(&4_u64.to_le_bytes());
    file.put(0, b"head");
    file.mended = true;
    let read = futures::executor::block_on(file.some(0, 4));
    assert_eq!(read.unwrap(), "head");
}
