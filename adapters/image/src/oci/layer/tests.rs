use async_trait::async_trait;
use bytes::Bytes;
use tar::{Builder, Header};
use vsiflow_steps::ports::SourceErrorKind;

use super::*;

/// A stream with the whole layer in one piece.
struct WholeLayer(SourceInfo, Option<Bytes>);

#[async_trait]
impl ImageStream for WholeLayer {
    fn info(&self) -> &SourceInfo {
        &self.0
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        Ok(self.1.take())
    }
}

fn shown() -> ShownError {
    ShownError::from(&url::Url::parse("oci://r.example/a").unwrap())
}

/// Reads the disk in a layer, or returns the first error.
async fn read(layer: Vec<u8>) -> Result<Option<(u64, Vec<u8>)>, SourceError> {
    let info = SourceInfo {
        length: None,
        validator: None,
    };
    let layer = Box::new(WholeLayer(info, Some(layer.into())));
    let Some(mut found) = disk(layer, &shown(), "v".to_owned(), &Arc::default()).await? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    while let Some(piece) = found.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(Some((found.info().length.unwrap(), bytes)))
}

fn add(tar: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    // The library refuses to write a name with `..`.
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn layer(files: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (path, kind, content) in files {
        add(&mut tar, path, *kind, content);
    }
    tar.into_inner().unwrap()
}

use EntryType::{Directory as Dir, Link, Regular as File, Symlink};

#[tokio::test]
async fn the_disk_is_found_however_the_layer_is_packed() {
    let disk: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let tar = layer(&[
        ("etc/", Dir, b""),
        ("etc/os-release", File, b"NAME=x"),
        ("./disk/", Dir, b""),
        ("./disk/image.qcow2", File, &disk),
        ("usr", Symlink, b""),
    ]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar).unwrap();
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let half = tar.len() / 2;
    // Two frames with a skippable frame between them.
    let mut zstd = ruzstd::encoding::compress_to_vec(&tar[..half], level);
    zstd.extend_from_slice(&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    zstd.extend(ruzstd::encoding::compress_to_vec(&tar[half..], level));
    for packed in [tar, gzip.finish().unwrap(), zstd] {
        let (length, bytes) = read(packed).await.unwrap().unwrap();
        assert!(length == disk.len() as u64 && bytes == disk);
    }
}

#[tokio::test]
async fn a_layer_whose_zstd_checksum_does_not_match_is_refused() {
    let tar = layer(&[("disk/image.raw", File, &[7; 100_000])]);
    let level = ruzstd::encoding::CompressionLevel::Uncompressed;
    let mut packed = ruzstd::encoding::compress_to_vec(tar.as_slice(), level);
    let middle = packed.len() / 2;
    packed[middle] ^= 1;
    let error = read(packed).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Packed, "{error}");
}

#[tokio::test]
async fn a_layer_without_a_disk_is_passed_over() {
    let other = layer(&[
        ("disks/a", File, b"x"),
        ("disk/a/b", File, b"x"),
        ("disk/", Dir, b""),
    ]);
    assert!(read(other).await.unwrap().is_none());
    assert!(read(Vec::new()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_layer_that_is_not_one_disk_is_refused() {
    for (files, word) in [
        (vec![("../disk/a", File, b"x".as_slice())], "outside"),
        (vec![("disk/../../etc/a", File, b"x")], "outside"),
        (
            vec![("disk/a", File, b"x"), ("disk/b", File, b"x")],
            "more than one",
        ),
        (vec![("disk/a", Symlink, b"")], "a link"),
        (vec![("disk/a", Link, b"")], "a link"),
        (vec![("disk/a", EntryType::Fifo, b"")], "something else"),
        (vec![("disk", File, b"x")], "something else"),
        (vec![("disk/.wh.a", File, b"")], "deletes"),
        (vec![(".wh.disk", File, b"")], "deletes"),
        (
            vec![("disk/a", File, b"x"), ("../b", File, b"x")],
            "outside",
        ),
    ] {
        let error = read(layer(&files)).await.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Mismatch, "{word}: {error}");
        assert!(error.message.contains(word), "{error}");
    }
    let cut = layer(&[("disk/a", File, &[1; 10_000])]);
    let error = read(cut[..5_000].to_vec()).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Packed, "{error}");
}

#[tokio::test]
async fn headers_without_an_end_are_refused() {
    let mut tar = Builder::new(Vec::new());
    add(
        &mut tar,
        "name",
        EntryType::GNULongName,
        &vec![b'a'; 3 << 20],
    );
    let error = read(tar.into_inner().unwrap()).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Mismatch, "{error}");
    assert!(error.message.contains("headers"), "{error}");
}

#[tokio::test]
async fn holes_of_a_sparse_file_permit_no_headers() {
    let mut sparse = Header::new_gnu();
    sparse.set_path("other").unwrap();
    sparse.set_entry_type(EntryType::GNUSparse);
    sparse.set_size(0);
    let holes = sparse.as_gnu_mut().unwrap();
    holes.realsize.copy_from_slice(b"77777777777\0");
    holes.sparse[0].offset.copy_from_slice(b"77777777777\0");
    holes.sparse[0].numbytes.copy_from_slice(b"00000000000\0");
    sparse.set_cksum();
    let mut long = Builder::new(Vec::new());
    add(
        &mut long,
        "name",
        EntryType::GNULongName,
        &vec![b'a'; 3 << 20],
    );
    let long = long.into_inner().unwrap();
    let error = read([sparse.as_bytes().as_slice(), &long].concat()).await;
    assert!(error.unwrap_err().message.contains("headers"));
}

#[test]
fn a_layer_that_unpacks_for_ever_is_given_up() {
    let tar = layer(&[("other", File, &vec![0; 4 << 20])]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut gzip, &tar).unwrap();
    let (fill, pieces) = mpsc::channel(1);
    fill.try_send(Ok(gzip.finish().unwrap().into())).unwrap();
    drop(fill);
    let (give, _unpacked) = mpsc::channel(1);
    let unpacking = Arc::new(Unpacking::new(Arc::default(), give));
    let feed = Feed::new(pieces, Arc::default(), unpacking.clone());
    let most = UnpackLimit {
        free: 1 << 20,
        times: 100,
    };
    let mut to = Outlet::new(unpacking, most);
    let error = search(feed, &mut to, most, &mut None).unwrap_err();
    assert!(
        unfit(&shown(), &error).kind == SourceErrorKind::TooLarge,
        "{error}"
    );
}
