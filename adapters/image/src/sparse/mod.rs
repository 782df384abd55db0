//! Reads disks from sparse files, whose tables map each block of the disk: sparse VMDKs and VHDXs.
//!
//! Such a file cannot be read from start to end, but its source can be read at any offset. So its tables are
//! read first and checked completely. Then the disk is read from its first byte to its last, as holes and as
//! blocks from the mapped positions. The result is a raw disk, and an interrupted upload continues at any
//! byte of it.
//!
//! `qemu-img convert` on the host would have the same result. But it would need space for both forms of the
//! disk, a second pass over it, and a new start after each interruption. It would also have a program for
//! many formats read an untrusted file next to guests, as the account that owns them. Here only the disk's
//! bytes reach the host, and hosts need no extra program.
//!
//! # Guarantees
//! - The file is standalone: no parent, no further extents, no log with pending writes.
//! - Each block is within the file, outside its tables, and belongs to only one position of the disk. So the
//!   disk has no more data than the file, whatever the tables say.
//! - Tables of at most [`map::MAX_BLOCKS`] blocks are held in memory, each in four bytes. That memory is part of the
//!   memory for unpacking, which owners share. One file's tables are checked at a time, on a thread of low priority.
//! - All bytes come from one version of the file, identified by the source's validator. A source without a
//!   validator, or without ranges, is refused. So are registries, whose digests are compared by reading from
//!   start to end.

mod error;
mod map;
mod ranges;
mod stream;
mod vhdx;
mod vmdk;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use vsiflow_engine::low_priority;
use vsiflow_steps::ports::{
    ImageOwner, ImageSource, ImageStream, SourceError, SourceErrorKind, SourceInfo,
    source_for_owner,
};

use crate::error::{ShownError, error, parse};
use crate::packing::MAX;
use error::{SparseFault, Unread};
use map::{BlockMap, BlockTables};
use ranges::{RangeReader, Ranges};
use stream::SparseStream;

/// Whose tables are checked: that needs as much memory as the tables again.
static CHECKS: Semaphore = Semaphore::const_new(1);

/// The supported formats of sparse files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SparseForm {
    Vmdk,
    Vhdx,
}

const FORMS: [SparseForm; 2] = [SparseForm::Vmdk, SparseForm::Vhdx];

impl SparseForm {
    /// Recognises the format by a file's first bytes.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        if head.starts_with(vhdx::MAGIC) {
            Some(Self::Vhdx)
        } else {
            vmdk::is_sparse(head).then_some(Self::Vmdk)
        }
    }

    /// The validator of the file, if `validator` is that of a disk inside one.
    pub(crate) fn around(validator: &str) -> Option<&str> {
        let mut within = FORMS.iter();
        within.find_map(|form| validator.strip_prefix(&form.prefix()))
    }

    fn prefix(self) -> String {
        format!("Sparse{self:?} of ")
    }

    fn name(self) -> &'static str {
        match self {
            Self::Vmdk => "VMDK",
            Self::Vhdx => "VHDX",
        }
    }

    /// Reads the block tables of the disk.
    async fn tables(self, file: &mut impl Ranges) -> Result<BlockTables, Unread> {
        match self {
            Self::Vmdk => vmdk::tables(file).await,
            Self::Vhdx => vhdx::tables(file).await,
        }
    }

    /// Reads the block map of the disk.
    async fn map(self, file: &mut impl Ranges) -> Result<BlockMap, Unread> {
        let tables = self.tables(file).await?;
        let Ok(_turn) = CHECKS.acquire().await else {
            return Err(SparseFault::Wrong("its tables cannot be checked").into());
        };
        let checked = low_priority::aside(|| tables.checked()).await;
        let panicked = |_| SparseFault::Wrong("its tables cannot be checked");
        Ok(checked.map_err(panicked)??)
    }

    /// The error for a source that cannot be used for this format.
    pub(crate) fn refused(self, shown: &ShownError, why: &str) -> SourceError {
        let message = format!(
            "{why}, which a {} needs; convert it where it is: `qemu-img convert -f {} -O qcow2 IN OUT`",
            self.name(),
            self.name().to_ascii_lowercase()
        );
        error(SourceErrorKind::Appliance, shown, message)
    }
}

/// A source of the disks in sparse files, which are read from another source.
pub(crate) struct SparseSource {
    files: Arc<dyn ImageSource>,
    owner: ImageOwner,
}

impl SparseSource {
    pub(crate) fn new(files: Arc<dyn ImageSource>) -> Self {
        Self {
            files,
            owner: ImageOwner::default(),
        }
    }

    async fn read(&self, url: &str) -> Result<SparseStream, SourceError> {
        let shown_url = ShownError::from(&parse(url)?);
        let stream = self.files.open(url).await?;
        let SourceInfo { length, validator } = stream.info().clone();
        let mut file = RangeReader::new(self.files.clone(), url, stream, &self.owner);
        let head = file.head().await?;
        let Some(form) = SparseForm::of(&head) else {
            let message = "the image changed while it was read";
            return Err(error(SourceErrorKind::Changed, &shown_url, message));
        };
        if length.is_none() || validator.is_none() {
            let why = "the source does not say how long the file is, or, without imageChecksum, which version of it this is";
            return Err(form.refused(&shown_url, why));
        }
        let map =
            (form.map(&mut file).await).map_err(|unread| unread.explained(form, &shown_url))?;
        let entered = file.is_enterable().await;
        entered.map_err(|cause| Unread::Source(cause).explained(form, &shown_url))?;
        let most = MAX.of(length.unwrap_or_default());
        if map.capacity() > most {
            let message = format!(
                "its disk has {} bytes; from a {} of this length no more than {most} are taken",
                map.capacity(),
                form.name()
            );
            return Err(error(SourceErrorKind::TooLarge, &shown_url, message));
        }
        let info = SourceInfo {
            length: None,
            validator: validator.map(|validator| form.prefix() + &validator),
        };
        Ok(SparseStream::new(map, file, info))
    }
}

#[async_trait]
impl ImageSource for SparseSource {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        Ok(self.read(url).await?.info().clone())
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        Ok(Box::new(self.read(url).await?))
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        let stream = self.read(url).await?;
        let same = validator.is_some() && stream.info().validator.as_deref() == validator;
        Ok(Box::new(if same { stream.at(offset) } else { stream }))
    }

    fn for_owner(&self, owner: &ImageOwner) -> Option<Arc<dyn ImageSource>> {
        Some(Arc::new(Self {
            files: source_for_owner(&self.files, owner),
            owner: owner.clone(),
        }))
    }
}

#[cfg(test)]
mod corpus_file;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
