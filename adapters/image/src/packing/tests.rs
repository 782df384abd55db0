use super::*;
use crate::Router;
use std::process::Command;
use vsiflow_steps::ports::{ImageSource as _, SourceErrorKind};

pub(super) async fn all(url: &str) -> Result<Vec<u8>, SourceError> {
    all_for("", url).await
}

async fn all_for(owner: &str, url: &str) -> Result<Vec<u8>, SourceError> {
    let source = Router::new().unwrap().for_owner(&owner.into()).unwrap();
    let mut stream = source.open(url).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_images_are_unpacked_and_damaged_ones_refused() {
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    for (tool, end) in [("gzip", "gz"), ("xz", "xz"), ("zstd", "zst")] {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("image");
        std::fs::write(&plain, &content).unwrap();
        let packed = Command::new(tool).arg("-k").arg("-q").arg(&plain).status();
        if packed.is_err() {
            println!("skipped: there is no {tool} here");
            continue;
        }
        let file = dir.path().join(format!("image.{end}"));
        let url = Url::from_file_path(&file).unwrap().to_string();
        assert!(all(&url).await.unwrap() == content, "{tool}");
        let mut bytes = std::fs::read(&file).unwrap();
        // Two packed streams one after the other count as one.
        let twice = [bytes.clone(), bytes.clone()].concat();
        std::fs::write(&file, twice).unwrap();
        assert_eq!(all(&url).await.unwrap().len(), content.len() * 2, "{tool}");
        let greedy = match tool {
            "xz" => "xz --lzma2=dict=128MiB -k -c",
            "zstd" => "zstd -q -c --long=27 --ultra -22 --no-progress",
            _ => "true",
        };
        let mut shell = Command::new("sh");
        let shell = shell
            .arg("-c")
            .arg(format!("cat {} | {greedy}", plain.display()));
        let unpacked = shell.output().unwrap().stdout;
        if !unpacked.is_empty() {
            std::fs::write(&file, unpacked).unwrap();
            let error = all(&url).await.unwrap_err();
            assert!(error.message.contains("MiB of memory"), "{tool}: {error}");
            assert_eq!(error.kind, SourceErrorKind::Greedy, "{tool}: {error}");
        }
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        bytes.truncate(bytes.len() / 2);
        for damaged in [flipped, bytes] {
            std::fs::write(&file, damaged).unwrap();
            let error = all(&url).await.unwrap_err();
            assert_eq!(error.kind, SourceErrorKind::Packed, "{tool}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zstd_frame_whose_content_is_not_what_was_packed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image.zst");
    let url = Url::from_file_path(&file).unwrap().to_string();
    let content: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let level = ruzstd::encoding::CompressionLevel::Uncompressed;
    let packed = ruzstd::encoding::compress_to_vec(content.as_slice(), level);
    std::fs::write(&file, &packed).unwrap();
    assert!(all(&url).await.unwrap() == content);
    // In the payload, and in the checksum; the frame after it is whole.
    for at in [packed.len() / 2, packed.len() - 1] {
        let mut damaged = packed.clone();
        damaged[at] ^= 1;
        std::fs::write(&file, [&damaged[..], &packed].concat()).unwrap();
        let error = all(&url).await.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Packed, "{at}: {error}");
        assert!(error.message.contains("checksum"), "{at}: {error}");
    }
    // One block of two bytes in a frame that says three.
    let short = b"\x28\xb5\x2f\xfd\x20\x03\x11\0\0ab";
    std::fs::write(&file, short).unwrap();
    let error = all(&url).await.unwrap_err();
    assert!(error.message.contains("another size"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_programs_write_around_packed_images_is_taken() {
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("image");
    std::fs::write(&plain, &content).unwrap();
    let run = |command: &str| {
        let mut shell = Command::new("sh");
        let shell = shell
            .arg("-c")
            .arg(format!("{command} <{}", plain.display()));
        shell.output().unwrap().stdout
    };
    let (gzip, zstd, xz) = (run("gzip -c"), run("zstd -q -c"), run("xz -9 -c"));
    let skipped = b"\x50\x2a\x4d\x18\x04\0\0\0size";
    let padded = [&gzip[..], &[0; 10_240]].concat();
    let cases = [
        ("zeros behind gzip", "gz", padded.clone()),
        (
            "a skippable frame before zstd",
            "zst",
            [skipped, &zstd[..]].concat(),
        ),
        (
            "a skippable frame behind zstd",
            "zst",
            [&zstd[..], skipped].concat(),
        ),
        ("xz -9", "xz", xz),
    ];
    for (what, end, bytes) in cases {
        if bytes.len() < 20_000 {
            println!("skipped: there is no program for {what}");
            continue;
        }
        let file = dir.path().join(format!("image.{end}"));
        std::fs::write(&file, bytes).unwrap();
        let url = Url::from_file_path(&file).unwrap().to_string();
        assert!(all(&url).await.unwrap() == content, "{what}");
    }
    let followed = SourceErrorKind::Followed;
    for (damaged, kind) in [
        ([&padded[..], b"x"].concat(), followed),
        ([&gzip[..], b"x"].concat(), followed),
        ([&zstd[..], &[0; 512]].concat(), followed),
        ([&zstd[..], b"x"].concat(), followed),
        ([&skipped[..], b"text"].concat(), followed),
        (skipped[..6].to_vec(), SourceErrorKind::Packed),
    ] {
        let file = dir.path().join("damaged.gz");
        std::fs::write(&file, damaged).unwrap();
        let url = Url::from_file_path(&file).unwrap().to_string();
        let error = all(&url).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(!error.message.contains("BadMagicNumber"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_name_lies_about_its_packing_is_refused_by_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(512);
    archive
        .append_data(&mut header, "disk.raw", &[7; 512][..])
        .unwrap();
    let archive = archive.into_inner().unwrap();
    let disk = [&[0xfa; 510][..], b"\x55\xaa", &[0; 1024]].concat();
    for (name, bytes, words) in [
        (
            "disk.qcow2.gz",
            &b"BZh91AY&SY and so on"[..],
            ["packed by gzip", "compressed by bzip2"],
        ),
        (
            "disk.qcow2.xz",
            b"<!DOCTYPE html>",
            ["packed by xz", "a web page"],
        ),
        (
            "disk.raw.zst",
            &archive,
            ["packed by zstd", "unpack disk.raw from it"],
        ),
        (
            "disk.ova",
            &archive,
            ["an OVA", "unpack disk.raw from it, or pack it as OVA"],
        ),
        (
            "disk.img.gz",
            &disk,
            ["packed by gzip", "give it another name"],
        ),
    ] {
        let file = dir.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let refused = all(Url::from_file_path(&file).unwrap().as_ref())
            .await
            .unwrap_err();
        assert_eq!(refused.kind, SourceErrorKind::Packed, "{name}");
        for word in words {
            assert!(
                refused.message.contains(word),
                "{name}: {}",
                refused.message
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn first_bytes_tell_how_an_image_is_packed_and_its_name_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let file = dir.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        Url::from_file_path(&file).unwrap().to_string()
    };
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &[7; 100_000]).unwrap();
    let packed = packed.finish().unwrap();
    let url = put("image.qcow2", &packed);
    assert!(all(&url).await.unwrap() == [7; 100_000]);
    let source = Router::new().unwrap();
    let probed = source.probe(&url).await.unwrap();
    assert_eq!(&probed, source.open(&url).await.unwrap().info());
    assert_eq!(probed.length, None);
    // Reading cannot start in the middle of a packed image.
    let validator = probed.validator.as_deref();
    let again = source.open_at(&url, 50, validator).await.unwrap();
    assert_eq!((again.starts_at(), again.info()), (0, &probed));
    let plain = [QCOW2, &[9; 1_000]].concat();
    assert!(all(&put("plain.gz", &plain)).await.unwrap() == plain);
    let neither = all(&put("neither.gz", &[9; 1_000])).await.unwrap_err();
    assert_eq!(neither.kind, SourceErrorKind::Packed, "{neither}");
    assert!(all(&put("short", b"abc")).await.unwrap() == b"abc");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_unpacks_without_end_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image.gz");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, &[0; 8 << 20]).unwrap();
    std::fs::write(&file, packed.finish().unwrap()).unwrap();
    let url = Url::from_file_path(&file).unwrap();
    let unpack = async |free, times| {
        let stream = crate::FileSource::new().open(url.as_str()).await.unwrap();
        let stream = PackingTrial::new(stream).await?;
        let mut stream =
            stream.unpacked_within(&url, &ImageOwner::default(), UnpackLimit { free, times });
        let mut length = 0;
        while let Some(piece) = stream.next().await? {
            length += piece.len();
        }
        Ok::<_, SourceError>(length)
    };
    let error = unpack(1 << 20, 100).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::TooLarge, "{error}");
    assert_eq!(unpack(1 << 20, 2_000).await.unwrap(), 8 << 20);
    assert_eq!(unpack(8 << 20, 1).await.unwrap(), 8 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_larger_than_the_format_permits_is_reported_as_too_much_memory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image.zst");
    // The magic number, then a frame of a window of 3.75 TiB.
    std::fs::write(&file, b"\x28\xb5\x2f\xfd\x00\xff\x01\x00\x00").unwrap();
    let url = Url::from_file_path(&file).unwrap().to_string();
    let error = all(&url).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Greedy, "{error}");
    assert!(error.message.contains("MiB of memory"), "{error}");
}

/// A source that sends the beginning of an image, and then nothing.
struct StalledStream {
    info: SourceInfo,
    head: Option<Bytes>,
}

#[async_trait]
impl ImageStream for StalledStream {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        match self.head.take() {
            Some(head) => Ok(Some(head)),
            None => std::future::pending().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_of_one_owner_that_stalls_keeps_no_other_owners_image_from_being_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, file) = (dir.path().join("image"), dir.path().join("image.xz"));
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&plain, &content).unwrap();
    let packed = Command::new("xz").arg("-9").arg("-k").arg(&plain).status();
    if packed.is_err() {
        println!("skipped: there is no xz here");
        return;
    }
    let url = Url::from_file_path(&file).unwrap();
    let head = Bytes::from(std::fs::read(&file).unwrap()).slice(..2 * HEAD);
    let stalled = async || {
        let stream: Box<dyn ImageStream> = Box::new(StalledStream {
            info: SourceInfo {
                length: None,
                validator: None,
            },
            head: Some(head.clone()),
        });
        let trial = PackingTrial::new(stream).await.unwrap();
        trial.unpacked(&url, &"a".into())
    };
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut image = stalled().await;
        readers.spawn(async move { drop(image.next().await) });
    }
    // Sooner than an archive that hardly gets on ends.
    let limit = std::time::Duration::from_secs(8);
    let other = all_for("b", url.as_str());
    let other = tokio::time::timeout(limit, other).await;
    assert!(other.unwrap().unwrap() == content);
    // Their memory is free as soon as nobody reads them.
    readers.shutdown().await;
    let own = all_for("a", url.as_str());
    let own = tokio::time::timeout(limit, own).await;
    assert!(own.unwrap().unwrap() == content);
}
