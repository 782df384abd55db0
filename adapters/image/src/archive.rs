//! Reads tar archives of senders who are not trusted: layers of container images and OVA files.
//!
//! The library reads long names and extended headers into memory, as long as their sender says that they are.
//! [`GaugedReader`] ends such a read after [`MAX_HEADERS_LEN`] bytes. The archive has to be read through it.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use tar::{Archive, Entry, EntryType};

/// The length limit of one file's headers, in bytes.
pub(crate) const MAX_HEADERS_LEN: u64 = 1 << 20;
const BLOCK: u64 = 512;

/// The error for headers that are too long.
type TooLong = fn() -> io::Error;

/// Opens an archive, and the gauge that permits the reading of its files.
pub(crate) fn open<R: Read>(from: R, too_long: TooLong) -> (Archive<GaugedReader<R>>, HeaderGauge) {
    let bytes_left = Rc::new(Cell::new(MAX_HEADERS_LEN));
    let reader = GaugedReader {
        from,
        left: bytes_left.clone(),
        too_long,
    };
    let gauge = HeaderGauge {
        left: bytes_left,
        too_long,
    };
    (Archive::new(reader), gauge)
}

/// How many bytes may be read before the next header ends.
pub(crate) struct HeaderGauge {
    left: Rc<Cell<u64>>,
    too_long: TooLong,
}

impl HeaderGauge {
    /// Permits the bytes of this file, and the headers of the next one.
    ///
    /// # Errors
    /// If the file's length is too large to be true.
    pub(crate) fn permit<R: Read>(&self, entry: &Entry<'_, R>) -> io::Result<()> {
        // The size of a sparse file is that of its holes too, which are not in the archive.
        let length = match entry.header().entry_type() {
            EntryType::GNUSparse => entry.header().entry_size()?,
            _ => entry.size(),
        };
        let permitted = length.checked_add(MAX_HEADERS_LEN.saturating_add(BLOCK));
        self.left.set(permitted.ok_or_else(self.too_long)?);
        Ok(())
    }

    /// Permits everything that follows the last file. It is only read to be hashed.
    pub(crate) fn permit_rest(&self) {
        self.left.set(u64::MAX);
    }
}

/// A reader that ends when headers are longer than permitted.
pub(crate) struct GaugedReader<R> {
    from: R,
    left: Rc<Cell<u64>>,
    too_long: TooLong,
}

impl<R: Read> Read for GaugedReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes_read = self.from.read(into)?;
        let remaining = self.left.get().checked_sub(bytes_read as u64);
        self.left.set(remaining.ok_or_else(self.too_long)?);
        Ok(bytes_read)
    }
}
