//! Sparse VMDKs and VHDXs: what is accepted and what is refused.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use bytes::Bytes;
use url::Url;

use super::corpus_file::CorpusFile;
use super::*;
use crate::Router;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

async fn all(mut stream: Box<dyn ImageStream>) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await? {
        assert!(!piece.is_empty());
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn url_of(path: &Path) -> String {
    Url::from_file_path(path).unwrap().to_string()
}

async fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    all(Router::new().unwrap().open(&url_of(path)).await?).await
}

/// A file in a temporary directory, which is deleted when it is dropped.
fn written(file: &CorpusFile) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("any-name");
    std::fs::write(&path, file.write()).unwrap();
    (dir, path)
}

/// The content that was written into the corpus disks.
fn disk(length: u64) -> Vec<u8> {
    let mut disk = vec![0; length as usize];
    for (byte, at, part) in [
        (7, 600 * KIB, 3 * KIB),
        (8, 0, KIB),
        (9, 1_000 * KIB, 24 * KIB),
        (6, 300 * KIB, 512),
        (5, 2_100 * KIB, 2 * KIB),
    ] {
        if let Some(place) = disk.get_mut(at as usize..(at + part) as usize) {
            place.fill(byte);
        }
    }
    disk
}

/// The corpus files and the lengths of their disks.
const CORPUS: [(&str, u64); 4] = [
    ("vmdk", MIB + 512),
    ("vmdk-zeroed", MIB + 512),
    ("vhdx", 3 * MIB + 512),
    ("vhdx-fixed", 3 * MIB + 512),
];

#[tokio::test]
async fn a_sparse_file_becomes_its_disk_and_is_entered_at_any_byte() {
    for (name, length) in CORPUS {
        let (_dir, path) = written(&CorpusFile::of_corpus(name));
        let (source, url, disk) = (Router::new().unwrap(), url_of(&path), disk(length));
        let probed = source.probe(&url).await.unwrap();
        assert_eq!(probed.length, None, "as of all that is unpacked");
        let open = async |at| {
            let validator = probed.validator.as_deref();
            let stream = source.open_at(&url, at, validator).await.unwrap();
            assert_eq!((stream.starts_at(), stream.info()), (at, &probed), "{name}");
            stream
        };
        assert!(all(open(0).await).await.unwrap() == disk, "{name}");
        for at in [1, 600 * KIB + 5, MIB, length - 1, length] {
            let rest = all(open(at).await).await.unwrap();
            assert!(rest == disk[at as usize..], "{name} from byte {at}");
        }
        for other in [None, Some("another"), Some("SparseVhdx of another")] {
            let stream = source.open_at(&url, 600, other).await.unwrap();
            assert_eq!(stream.starts_at(), 0, "{name} with {other:?}");
        }
    }
}

/// Runs a tool of QEMU. Returns false if it is not installed.
fn qemu(tool: &str, arguments: &[&str], path: &Path) -> bool {
    let run = Command::new(tool).args(arguments).arg(path).output();
    run.is_ok_and(|output| {
        assert!(output.status.success(), "{tool} {arguments:?}: {output:?}");
        true
    })
}

#[tokio::test]
async fn what_qemu_writes_in_any_order_becomes_what_it_reads() {
    let writes = [
        "write -P 1 9M 70k",
        "write -P 2 100 3000",
        "write -P 3 3M 2M",
        "write -P 4 8900k 9k",
        "write -P 5 1M 64k",
        "write -z 3200k 300k",
        "write -P 6 11M 513",
        "write -P 7 64k 192k",
    ];
    let writes: Vec<&str> = writes.iter().flat_map(|write| ["-c", write]).collect();
    for (format, options) in [
        ("vmdk", "subformat=monolithicSparse"),
        (
            "vmdk",
            "subformat=monolithicSparse,zeroed_grain=on,compat6=on",
        ),
        ("vhdx", "subformat=dynamic"),
        (
            "vhdx",
            "subformat=dynamic,block_size=1M,block_state_zero=off",
        ),
        ("vhdx", "subformat=dynamic,block_size=2M,log_size=3M"),
        ("vhdx", "subformat=fixed"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (path, raw) = (dir.path().join("disk"), dir.path().join("raw"));
        let size = (12 * MIB + 512).to_string();
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", format, "-o", options])
            .args([path.to_str().unwrap(), &size])
            .output();
        let Ok(made) = made else {
            println!("skipped: there is no qemu-img here");
            return;
        };
        assert!(made.status.success(), "{made:?}");
        let arguments = [&["-f", format][..], &writes].concat();
        if !qemu("qemu-io", &arguments, &path) {
            println!("skipped: there is no qemu-io here");
            return;
        }
        let from = path.to_str().unwrap();
        assert!(qemu(
            "qemu-img",
            &["convert", "-f", format, "-O", "raw", from],
            &raw
        ));
        let expected = std::fs::read(&raw).unwrap();
        assert!(expected.contains(&7));
        assert!(read(&path).await.unwrap() == expected, "{format} {options}");
        if options.contains("fixed") {
            continue;
        }
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - whole.len() / 4]).unwrap();
        let error = read(&path).await.unwrap_err();
        assert!(error.message.contains("ends before"), "{options}: {error}");
    }
}

#[tokio::test]
async fn what_a_real_program_lays_over_a_parent_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (below, above) = (dir.path().join("below.vmdk"), dir.path().join("above.vmdk"));
    let create = ["create", "-q", "-f", "vmdk", below.to_str().unwrap(), "1M"];
    if Command::new("qemu-img").args(create).status().is_err() {
        println!("skipped: there is no qemu-img here");
        return;
    }
    let over = ["create", "-q", "-f", "vmdk", "-F", "vmdk", "-b"];
    let over = [&over[..], &[below.to_str().unwrap()]].concat();
    assert!(qemu("qemu-img", &over, &above));
    let error = read(&above).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Appliance, "{error}");
    assert!(error.message.contains("needs another file"), "{error}");
}

/// A corpus file with other bytes at one position and correct checksums.
async fn changed(name: &str, at: u64, bytes: &[u8]) -> Result<BlockMap, Unread> {
    let mut file = CorpusFile::of_corpus(name);
    let before = file.write()[at as usize..][..bytes.len()].to_vec();
    assert_ne!(before, bytes, "byte {at} of {name} is so already");
    file.put(at, bytes);
    file.mended = true;
    let form = SparseForm::of(&file.write()).unwrap();
    form.map(&mut file).await
}

async fn refused(name: &str, at: u64, bytes: &[u8], why: &str) {
    let Err(Unread::Fault(fault)) = changed(name, at, bytes).await else {
        panic!("{name} with {bytes:?} at {at}: {why}");
    };
    assert!(fault.to_string().contains(why), "{why}: {fault}");
}

#[tokio::test]
async fn a_sparse_vmdk_that_lies_is_refused() {
    let whole = CorpusFile::of_corpus("vmdk").write();
    let find = |text: &str| {
        let found = whole.windows(text.len()).position(|w| w == text.as_bytes());
        found.unwrap() as u64
    };
    let number = |at: u64| {
        let four = whole[at as usize..][..4].try_into().unwrap();
        u64::from(u32::from_le_bytes(four))
    };
    let table = number(number(56) * 512) * 512;
    let first = number(table);
    let far = u64::MAX.to_le_bytes();
    for (at, bytes, why) in [
        (4, &[9, 0, 0, 0][..], "version or flags"),
        (77, &[1], "version or flags"),
        (75, b"\n", "copied as a text"),
        (72, &[1], "was not closed"),
        (12, &far, "out of bounds"),
        (12, &[0; 8], "out of bounds"),
        (12, &(1_u64 << 37).to_le_bytes(), "more than 4194304 blocks"),
        (20, &far, "out of bounds"),
        (20, &[1, 0, 0, 0, 0, 0, 0, 0], "out of bounds"),
        (20, &[129, 0, 0, 0, 0, 0, 0, 0], "out of bounds"),
        (20, &[0; 8], "out of bounds"),
        (44, &[0; 4], "its tables"),
        (44, &[1, 0, 0, 0], "its tables"),
        (44, &[255; 4], "its tables"),
        (64, &[0, 0, 1], "ends before"),
        (64, &[1, 0, 0], "outside of its place"),
        (64, &far, "out of bounds"),
        (28, &far, "outside of its place"),
        (28, &[0; 8], "needs another file"),
        (36, &[0, 0, 1], "description is too long"),
        (56, &far, "outside of its place"),
        (56, &[0; 8], "outside of its place"),
        (56, &[128], "outside of its place"),
        (number(56) * 512, &[255; 4], "outside of its place"),
        (table, &[255; 4], "ends before"),
        (table, &[1, 0, 0, 0], "where a table is"),
        (table, &[127, 0, 0, 0], "where a table is"),
        (table + 4, &(first as u32).to_le_bytes(), "share a place"),
        (
            table + 4,
            &(first as u32 + 1).to_le_bytes(),
            "share a place",
        ),
        (find("ffffffff"), b"0", "needs another file"),
        (find("RW "), b"#", "needs another file"),
        (
            find("monolithicSparse"),
            b"twoGbMaxExtent",
            "needs another file",
        ),
    ] {
        refused("vmdk", at, bytes, why).await;
    }
    // With this flag the entry means zeros.
    let zeroed = changed("vmdk-zeroed", table, &[1, 0, 0, 0]).await;
    assert!(zeroed.is_ok(), "{zeroed:?}");
}

#[tokio::test]
async fn a_vhdx_that_lies_is_refused() {
    let (regions, metadata, bat) = (192 * KIB, 3 * MIB, 2 * MIB);
    let far = u64::MAX.to_le_bytes();
    for (at, bytes, why) in [
        (regions + 8, &[255; 4][..], "too many regions"),
        (regions + 8, &[1], "a region is missing"),
        (regions + 8, &[0], "a region is missing"),
        (regions + 32, &far, "the place of a region"),
        (regions + 32, &[1], "the place of a region"),
        (regions + 32, &[0; 8], "the place of a region"),
        (regions + 34, &[0x10], "share a place"),
        (regions + 34, &[0x30], "share a place"),
        (regions + 40, &[0; 4], "the place of a region"),
        (regions + 40, &[0, 0, 0x20, 0], "share a place"),
        (metadata, b"x", "table of its properties"),
        (metadata + 10, &[255, 255], "table of its properties"),
        (metadata + 10, &[0, 0], "a property of its disk is missing"),
        (
            bat,
            &[6, 0, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff],
            "ends before",
        ),
        (bat, &[6, 0, 0, 0, 0, 0, 0, 0], "a block has no place"),
        (bat, &[6, 0, 0x10, 0, 0, 0, 0, 0], "where a table is"),
        (bat, &[6, 0, 0x20, 0, 0, 0, 0, 0], "where a table is"),
        (bat, &[7], "needs another file"),
        (bat, &[4], "unknown state"),
    ] {
        refused("vhdx", at, bytes, why).await;
    }
    let whole = CorpusFile::of_corpus("vhdx").write();
    let two = whole[bat as usize..][..8].to_vec();
    refused("vhdx", bat + 16, &two, "share a place").await;
}

#[tokio::test]
async fn properties_of_a_vhdx_are_judged() {
    let metadata = 3 * MIB;
    let whole = CorpusFile::of_corpus("vhdx").write();
    let table = &whole[metadata as usize..][..64 * 1024];
    let entry = |first: u8| {
        let entries = table[32..].chunks_exact(32);
        let found = entries.take(5).position(|entry| entry[0] == first);
        metadata + 32 + found.unwrap() as u64 * 32
    };
    let item = |first: u8| {
        let offset = whole[entry(first) as usize + 16..][..4].try_into().unwrap();
        metadata + u64::from(u32::from_le_bytes(offset))
    };
    let (parameters, size, sector) = (0x37, 0x24, 0x1d);
    for (at, bytes, why) in [
        (item(parameters), &[1, 0, 0, 0][..], "out of bounds"),
        (item(parameters), &[0, 0, 0, 0], "out of bounds"),
        (item(parameters), &[0, 0, 0, 0x80], "out of bounds"),
        (item(parameters) + 4, &[2], "needs another file"),
        (item(size), &[0; 8], "out of bounds"),
        (item(size), &[1], "out of bounds"),
        (item(size), &[0, 0, 0, 0, 0, 0, 0, 0x80], "out of bounds"),
        (item(size), &[0, 0, 0, 0, 0, 8], "more than 4194304 blocks"),
        (
            item(size),
            &[0, 0, 0, 0, 64],
            "table of its blocks is too short",
        ),
        (item(sector), &[0, 16], "sectors of 4096 bytes"),
        (item(sector), &[0, 1], "the length of its sectors"),
        (entry(parameters) + 16, &[0; 4], "the place of a property"),
        (entry(parameters) + 16, &[255; 4], "the place of a property"),
        (entry(parameters) + 20, &[9], "the place of a property"),
        (
            entry(parameters),
            &[0],
            "property that it requires is unknown",
        ),
        (
            entry(parameters) + 24,
            &[1],
            "a property of its disk is missing",
        ),
        (
            entry(sector),
            &whole[entry(size) as usize..][..16],
            "the place of a property",
        ),
        (
            entry(sector),
            &whole[entry(size) as usize..][..32],
            "a property twice",
        ),
    ] {
        refused("vhdx", at, bytes, why).await;
    }
    let parent = [0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45];
    let parent = [
        &parent[..],
        &[0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c],
    ]
    .concat();
    refused("vhdx", entry(parameters), &parent, "needs another file").await;
}

#[tokio::test]
async fn a_vhdx_with_a_log_that_has_writes_is_refused_and_an_old_one_is_not() {
    let name = [7; 16];
    let mut file = CorpusFile::of_corpus("vhdx");
    file.mended = true;
    for header in [64 * KIB, 128 * KIB] {
        file.put(header + 48, &name);
    }
    let mut empty = file.clone();
    assert!(SparseForm::Vhdx.map(&mut empty).await.is_ok());
    // An entry of an older log does not count.
    file.put(MIB + 8 * KIB, b"loge");
    file.put(MIB + 8 * KIB + 32, &[8; 16]);
    assert!(SparseForm::Vhdx.map(&mut file.clone()).await.is_ok());
    file.put(MIB + 8 * KIB + 32, &name);
    let fault = SparseForm::Vhdx.map(&mut file).await.unwrap_err();
    let Unread::Fault(fault) = fault else {
        panic!("{fault:?}");
    };
    let text = fault.to_string();
    assert!(
        text.contains("was not closed") && text.contains("qemu-img check"),
        "{text}"
    );
}

#[tokio::test]
async fn of_two_headers_and_tables_the_one_that_is_whole_counts() {
    let (one, other) = (64 * KIB, 128 * KIB);
    let log_version = 64;
    let mut file = CorpusFile::of_corpus("vhdx");
    let newest = file.write()[one as usize + 8..][..8].to_vec();
    let newest = u64::from_le_bytes(newest.try_into().unwrap());
    // A header with a wrong checksum is ignored.
    file.put(one + log_version, &[9]);
    assert!(SparseForm::Vhdx.map(&mut file.clone()).await.is_ok());
    let mut neither = file.clone();
    neither.put(other + log_version, &[9]);
    let fault = SparseForm::Vhdx.map(&mut neither).await.unwrap_err();
    assert!(format!("{fault:?}").contains("neither of its headers"));
    let mut mended = file.clone();
    mended.mended = true;
    let mended_fault = SparseForm::Vhdx.map(&mut mended).await.unwrap_err();
    assert!(format!("{mended_fault:?}").contains("version is unknown"));
    let mut equal = CorpusFile::of_corpus("vhdx");
    equal.mended = true;
    equal.put(other + 8, &newest.to_le_bytes());
    equal.put(one + 8, &newest.to_le_bytes());
    let equal_fault = SparseForm::Vhdx.map(&mut equal).await.unwrap_err();
    assert!(
        format!("{equal_fault:?}").contains("two headers"),
        "{equal_fault:?}"
    );
    let mut tables = CorpusFile::of_corpus("vhdx");
    tables.put(192 * KIB + 8, &[9]);
    assert!(SparseForm::Vhdx.map(&mut tables.clone()).await.is_ok());
    tables.put(256 * KIB + 8, &[9]);
    let tables_fault = SparseForm::Vhdx.map(&mut tables).await.unwrap_err();
    assert!(
        format!("{tables_fault:?}").contains("region tables"),
        "{tables_fault:?}"
    );
}

#[tokio::test]
async fn a_disk_that_is_much_longer_than_its_file_is_refused_before_anything_is_read_of_it() {
    let mut file = CorpusFile::of_corpus("vmdk");
    // 200 GiB that are one hole.
    file.put(12, &((200_u64 << 30) / 512).to_le_bytes());
    file.put(64, &[0, 0x10, 0]);
    file.put(56, &[0, 2, 0]);
    let whole = file.write();
    let mut long = whole.clone();
    long.resize(3 << 20, 0);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    std::fs::write(&path, &long).unwrap();
    let error = read(&path).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::TooLarge, "{error}");
}

/// A source with errors.
struct Odd {
    file: Vec<u8>,
    has_ranges: bool,
    has_length: bool,
    /// After this many openings the source has another file.
    changes: Option<usize>,
    opened: Mutex<Vec<u64>>,
}

impl Odd {
    fn new(file: &CorpusFile) -> Self {
        Self {
            file: file.write(),
            has_ranges: true,
            has_length: true,
            changes: None,
            opened: Mutex::default(),
        }
    }

    fn stream(&self, at: u64) -> Box<dyn ImageStream> {
        let mut opened = self.opened.lock().unwrap();
        opened.push(at);
        let is_changed = self.changes.is_some_and(|after| opened.len() > after);
        let at = if self.has_ranges { at } else { 0 };
        let info = SourceInfo {
            length: self.has_length.then_some(self.file.len() as u64),
            validator: Some(if is_changed { "two" } else { "one" }.to_owned()),
        };
        let rest = Bytes::copy_from_slice(&self.file[at as usize..]);
        Box::new(OddStream(info, at, rest))
    }
}

struct OddStream(SourceInfo, u64, Bytes);

#[async_trait]
impl ImageStream for OddStream {
    fn info(&self) -> &SourceInfo {
        &self.0
    }

    fn starts_at(&self) -> u64 {
        self.1
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let piece = self.2.split_to(self.2.len().min(100_000));
        Ok((!piece.is_empty()).then_some(piece))
    }
}

#[async_trait]
impl ImageSource for Odd {
    async fn probe(&self, _: &str) -> Result<SourceInfo, SourceError> {
        Ok(self.stream(0).info().clone())
    }

    async fn open(&self, _: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        Ok(self.stream(0))
    }

    async fn open_at(
        &self,
        _: &str,
        offset: u64,
        _: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        Ok(self.stream(offset))
    }
}

async fn open_odd(odd: Odd) -> Result<Vec<u8>, SourceError> {
    all(SparseSource::new(Arc::new(odd))
        .open("http://a.example/disk")
        .await?)
    .await
}

#[tokio::test]
async fn a_source_without_ranges_or_length_is_refused_before_the_first_byte() {
    for (name, length) in CORPUS {
        let file = CorpusFile::of_corpus(name);
        assert!(open_odd(Odd::new(&file)).await.unwrap() == disk(length));
        let odd = Odd {
            has_ranges: false,
            ..Odd::new(&file)
        };
        let source = SparseSource::new(Arc::new(odd));
        let error = source.probe("http://a.example/disk").await.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Appliance, "{name}: {error}");
        assert!(error.message.contains("in its middle"), "{name}: {error}");
        assert!(
            error.message.contains("qemu-img convert"),
            "{name}: {error}"
        );
        let unsized_file = Odd {
            has_length: false,
            ..Odd::new(&file)
        };
        let open_error = open_odd(unsized_file).await.unwrap_err();
        assert!(
            open_error.message.contains("how long"),
            "{name}: {open_error}"
        );
    }
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_not_taken_for_one() {
    let file = CorpusFile::of_corpus("vhdx");
    let odd = Arc::new(Odd::new(&file));
    let source = SparseSource::new(odd.clone());
    let stream = source.open("http://a.example/disk").await.unwrap();
    all(stream).await.unwrap();
    let openings = odd.opened.lock().unwrap().len();
    assert!(openings > 2, "this file is read in one piece");
    for after in 1..openings {
        let changing = Odd {
            changes: Some(after),
            ..Odd::new(&file)
        };
        let error = open_odd(changing).await.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Changed, "{after}: {error}");
        assert!(error.message.contains("changed"), "{after}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn tables_of_one_owner_leave_half_of_the_memory_to_others() {
    let url = "http://a.example/disk";
    let odd = Arc::new(Odd::new(&CorpusFile::of_corpus("vhdx")));
    let reserve = async |owner: &str| {
        let stream = odd.open(url).await.unwrap();
        let mut file = RangeReader::new(odd.clone(), url, stream, &owner.into());
        let largest = map::MAX_BLOCKS * map::BLOCK_MEMORY;
        file.reserve(largest).await.map(|()| file)
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(reserve("a").await.unwrap());
    }
    let error = reserve("a").await.err().unwrap();
    assert_eq!(error.kind, SourceErrorKind::Transient, "{error}");
    let begun = tokio::time::Instant::now();
    assert!(reserve("b").await.is_ok());
    assert_eq!(begun.elapsed(), std::time::Duration::ZERO);
    drop(held);
    assert!(reserve("a").await.is_ok());
}
