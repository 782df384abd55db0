use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use proptest::prelude::*;
use vsiflow_engine::audit::SigningKey;
use vsiflow_steps::ports::{ImageSource, ImageStream, SourceError, SourceErrorKind, SourceInfo};

use super::*;

/// Made for these tests with `openssl genpkey -algorithm ed25519`.
const KEY: &str = include_str!("testkey.pem");
const URL: &str = "https://images.example.com/a.qcow2";

fn key() -> SigningKey {
    SigningKey::read(KEY).unwrap()
}

fn file() -> File {
    tempfile::tempfile().unwrap()
}

fn bytes_of(file: &File) -> Vec<u8> {
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn write(
    documents: &[(&str, &[u8])],
    images: &[(&str, &[u8])],
    key: Option<&SigningKey>,
) -> Vec<u8> {
    let file = file();
    let mut writer = BundleWriter::begin(file.try_clone().unwrap()).unwrap();
    for (name, bytes) in documents {
        writer.document(name, bytes).unwrap();
    }
    for (url, bytes) in images {
        writer.begin_image().unwrap();
        bytes.chunks(700).for_each(|part| writer.add(part).unwrap());
        let written = writer.end_image().unwrap();
        writer.name(&written.sha256, url);
    }
    writer
        .finish(vec!["Secret default/lab".to_owned()], key)
        .unwrap();
    bytes_of(&file)
}

fn sample() -> Vec<u8> {
    write(
        &[("web.yaml", b"kind: x\n"), ("host.yaml", b"kind: y\n")],
        &[
            (URL, &[7; 1024]),
            ("oci://r.example/b:1?arch=s390x", &[0; 512]),
        ],
        Some(&key()),
    )
}

/// A bundle with the content of another one, but with its own seal.
pub(super) fn remade(bytes: &[u8], bundle: &Bundle<&[u8]>) -> Vec<u8> {
    let made = file();
    let mut writer = BundleWriter::begin(made.try_clone().unwrap()).unwrap();
    let manifest = bundle.manifest();
    for (number, document) in manifest.documents.iter().enumerate() {
        let name = document.name.get("documents/0001-".len()..).unwrap();
        writer
            .document(name, &bundle.document(number).unwrap())
            .unwrap();
    }
    for (number, image) in manifest.images.iter().enumerate() {
        let start = usize::try_from(bundle.image_start(number).unwrap()).unwrap();
        let end = start + usize::try_from(image.length).unwrap();
        writer.begin_image().unwrap();
        writer.add(&bytes[start..end]).unwrap();
        let written = writer.end_image().unwrap();
        image
            .urls
            .iter()
            .for_each(|url| writer.name(&written.sha256, url));
    }
    writer.finish(manifest.left_out.clone(), None).unwrap();
    let mut made = bytes_of(&made);
    // The seal is the last entry before the end, and its signature cannot be forged.
    let seal = format!("{}\n", bundle.seal());
    let at = made.len() - 1024 - 1024;
    let header = entry::header("seal", seal.len() as u64).unwrap();
    made[at..at + 512].copy_from_slice(header.as_bytes());
    made[at + 512..at + 1024].fill(0);
    made[at + 512..at + 512 + seal.len()].copy_from_slice(seal.as_bytes());
    made
}

fn refusal(bytes: &[u8]) -> Option<BundleError> {
    let bundle = match Bundle::open(bytes) {
        Ok(bundle) => bundle,
        Err(error) => return Some(error),
    };
    let images = 0..bundle.manifest().images.len();
    images
        .into_iter()
        .find_map(|image| bundle.check_image(image, |_| {}).err())
}

#[test]
fn a_bundle_reads_as_it_was_written_and_equal_input_makes_equal_bytes() {
    let bytes = sample();
    assert_eq!(bytes, sample());
    let bundle = Bundle::open(&bytes[..]).unwrap();
    assert_eq!(remade(&bytes, &bundle), bytes);
    let manifest = bundle.manifest();
    assert_eq!(manifest.documents[1].name, "documents/0002-host.yaml");
    assert_eq!(manifest.images[0].urls, [URL]);
    assert_eq!(bundle.document(0).unwrap(), b"kind: x\n");
    bundle.seal().check("the bundle", &key().public()).unwrap();
    let mut read = 0;
    bundle.check_image(0, |count| read += count).unwrap();
    assert_eq!(read, 1024);
}

#[test]
fn other_programs_read_it_as_a_tar_archive() {
    let bytes = sample();
    let mut archive = tar::Archive::new(&bytes[..]);
    let names = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        entry.path().unwrap().display().to_string()
    });
    let names: Vec<_> = names.collect();
    assert_eq!(names.len(), 7, "{names:?}");
    assert_eq!(names[0], "vsiflow-bundle");
    assert_eq!(names[5..], ["manifest.json", "seal"]);
}

#[test]
fn an_image_may_be_longer_than_the_digits_of_a_header_can_say() {
    for length in [0, 1, (8 << 30) - 1, 8 << 30, 9_u64 << 40] {
        let name = format!("images/{}", "a".repeat(64));
        let header = entry::header(&name, length).unwrap();
        assert_eq!(entry::read(header.as_bytes()), Some((name, length)));
    }
}

#[test]
fn a_name_from_outside_becomes_one_that_leads_nowhere() {
    for (name, entry) in [
        ("../../etc/passwd", "documents/0001-.._.._etc_passwd"),
        ("a b\u{1b}[31m.yaml", "documents/0001-a_b__31m.yaml"),
        ("", "documents/0001-_"),
    ] {
        assert_eq!(PackedDocument::entry(1, name), entry);
        let bytes = write(&[(name, b"x")], &[], None);
        assert!(refusal(&bytes).is_none(), "{name}");
    }
    let long = "ä".repeat(4000);
    assert!(refusal(&write(&[(&long, b"x")], &[], None)).is_none());
}

#[test]
fn equal_images_are_held_once_and_a_begun_one_leaves_nothing() {
    let both = write(
        &[],
        &[("https://a/1", &[7; 900]), ("https://a/2", &[7; 900])],
        None,
    );
    let bundle = Bundle::open(&both[..]).unwrap();
    assert_eq!(bundle.manifest().images.len(), 1);
    assert_eq!(
        bundle.manifest().images[0].urls,
        ["https://a/1", "https://a/2"]
    );
    let file = file();
    let mut writer = BundleWriter::begin(file.try_clone().unwrap()).unwrap();
    writer.begin_image().unwrap();
    writer.add(&[9; 5000]).unwrap();
    assert_eq!(writer.added(), 5000);
    writer.begin_image().unwrap();
    writer.add(&[7; 900]).unwrap();
    let written = writer.end_image().unwrap();
    writer.name(&written.sha256, "https://a/1");
    writer.name(&written.sha256, "https://a/2");
    writer.finish(Vec::new(), None).unwrap();
    assert_eq!(
        refusal(&bytes_of(&file)).map(|error| error.to_string()),
        None
    );
    let length = both.len() as u64;
    // Only the list `left_out` differs.
    assert!(file.metadata().unwrap().len().abs_diff(length) <= 512);
}

#[test]
fn every_changed_byte_is_found() {
    let bytes = sample();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let refused = refusal(&changed);
        // A changed signature shows only when it is checked with the key.
        let seal = Bundle::open(&changed[..]).map(|bundle| {
            let checked = bundle.seal().check("the bundle", &key().public());
            checked.is_err()
        });
        assert!(refused.is_some() || seal.unwrap_or(true), "byte {at}");
    }
}

#[test]
fn a_bundle_that_is_cut_off_or_goes_on_is_refused() {
    let bytes = sample();
    for length in 0..bytes.len() {
        assert!(refusal(&bytes[..length]).is_some(), "{length} bytes");
    }
    for more in [&[0; 512][..], b"x"] {
        assert!(refusal(&[&bytes[..], more].concat()).is_some());
    }
}

#[test]
fn an_unknown_version_is_named() {
    let mut bytes = sample();
    bytes[512 + 8] = b'7';
    match refusal(&bytes) {
        Some(BundleError::Version(version)) => assert_eq!(version, "version 7"),
        other => panic!("{other:?}"),
    }
}

/// Entries with this content, with a matching manifest and seal.
fn forged(entries: &[(&str, &[u8])], manifest: &str) -> Vec<u8> {
    let seal = vsiflow_engine::audit::Seal::new(
        MARK,
        vsiflow_engine::model::Hash::of(manifest.as_bytes()),
    );
    let seal = format!("{seal}\n");
    let mut all = vec![("vsiflow-bundle", VERSION.as_bytes())];
    all.extend_from_slice(entries);
    all.extend([
        ("manifest.json", manifest.as_bytes()),
        ("seal", seal.as_bytes()),
    ]);
    let mut bytes = Vec::new();
    for (name, content) in all {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

#[test]
fn entries_and_manifest_have_to_be_of_one_another() {
    let document = |name: &str, length: usize| {
        let sha256 = vsiflow_engine::model::Hash::of(b"a");
        format!(
            "{{\n      \"name\": \"{name}\",\n      \"length\": {length},\n      \"sha256\": \"{sha256}\"\n    }}"
        )
    };
    let manifest = |documents: &[String]| {
        let documents = match documents {
            [] => "[]".to_owned(),
            some => format!("[\n    {}\n  ]", some.join(",\n    ")),
        };
        format!("{{\n  \"documents\": {documents},\n  \"images\": [],\n  \"leftOut\": []\n}}\n")
    };
    let (a, one) = ("documents/0001-a", document("documents/0001-a", 1));
    let good = forged(&[(a, b"a")], &manifest(std::slice::from_ref(&one)));
    assert_eq!(refusal(&good).map(|error| error.to_string()), None);
    let up = "documents/../../etc/passwd";
    let cases: &[(&str, Vec<u8>)] = &[
        (
            "is not there",
            forged(&[], &manifest(std::slice::from_ref(&one))),
        ),
        ("does not name", forged(&[(a, b"a")], &manifest(&[]))),
        (
            "twice",
            forged(
                &[(a, b"a"), (a, b"b")],
                &manifest(std::slice::from_ref(&one)),
            ),
        ),
        (
            "manifest says 2",
            forged(&[(a, b"a")], &manifest(&[document(a, 2)])),
        ),
        (
            "does not begin",
            forged(&[(up, b"a")], &manifest(&[document(up, 1)])),
        ),
        ("does not give", {
            let seventh = "documents/0007-a";
            forged(&[(seventh, b"a")], &manifest(&[document(seventh, 1)]))
        }),
        (
            "does not begin",
            forged(&[("/etc/passwd", b"a")], &manifest(&[])),
        ),
        (
            "as vsiflow writes",
            forged(&[], "{\"documents\":[],\"images\":[],\"leftOut\":[]}"),
        ),
        ("unknown field", forged(&[], "{\"more\":1}")),
        (
            "does not give",
            forged(&[(a, b"a")], &manifest(&[one.clone(), one.clone()])),
        ),
        ("not at its place", {
            let b = document("documents/0002-b", 1);
            forged(
                &[("documents/0002-b", b"a"), (a, b"a")],
                &manifest(&[one, b]),
            )
        }),
    ];
    for (why, bytes) in cases {
        let refused = refusal(bytes)
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(refused.contains(why), "{why}: {refused}");
    }
}

#[test]
fn what_another_kind_of_header_says_is_not_believed() {
    let bytes = sample();
    // The first document: a link, a longer one, and one with a checksum that cannot match.
    let at = 1024;
    let change = |what: &dyn Fn(&mut tar::Header)| {
        let mut changed = bytes.clone();
        let mut header = tar::Header::new_gnu();
        header
            .as_mut_bytes()
            .copy_from_slice(&changed[at..at + 512]);
        what(&mut header);
        changed[at..at + 512].copy_from_slice(header.as_bytes());
        changed
    };
    let changes: [&dyn Fn(&mut tar::Header); 5] = [
        &|header| {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_cksum();
        },
        &|header| {
            header.set_size(u64::MAX);
            header.set_cksum();
        },
        &|header| {
            header.set_size(1 << 40);
            header.set_cksum();
        },
        &|header| {
            header.set_mtime(1);
            header.set_cksum();
        },
        &|header| header.set_mtime(1),
    ];
    for change_header in changes {
        assert!(matches!(
            refusal(&change(change_header)),
            Some(BundleError::Malformed(_))
        ));
    }
}

/// A source without any image.
struct Nothing;

#[async_trait]
impl ImageSource for Nothing {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        self.open(url).await.map(|stream| stream.info().clone())
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        Err(SourceError {
            kind: SourceErrorKind::Transient,
            url: url.to_owned(),
            message: "no network".to_owned(),
        })
    }
}

async fn all(mut stream: Box<dyn ImageStream>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

fn source(path: &Path) -> WithBundles {
    let bundle = Bundle::open(File::open(path).unwrap()).unwrap();
    let bundled = BundledImage {
        path: path.to_owned(),
        start: bundle.image_start(0).unwrap(),
        image: bundle.manifest().images[0].clone(),
    };
    WithBundles::new(vec![bundled], Arc::new(Nothing), str::to_owned)
}

#[tokio::test]
async fn an_image_of_a_bundle_is_read_from_any_byte_and_no_other_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.vsiflow");
    let image: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(
        &path,
        write(&[], &[(URL, &image), ("https://a/2", b"other")], None),
    )
    .unwrap();
    let source = source(&path);
    let whole = source.open(URL).await.unwrap();
    let info = whole.info().clone();
    assert_eq!(info, source.probe(URL).await.unwrap());
    assert_eq!(info.length, Some(700_000));
    assert!(all(whole).await == image);
    let validator = info.validator.as_deref();
    for (offset, known, starts_at) in [
        (0, validator, 0),
        (300_001, validator, 300_001),
        (700_000, validator, 700_000),
        (700_001, validator, 0),
        (5, Some("sha256:other"), 0),
        (5, None, 0),
    ] {
        let stream = source.open_at(URL, offset, known).await.unwrap();
        assert_eq!(stream.starts_at(), starts_at);
        let from = usize::try_from(starts_at).unwrap();
        assert!(all(stream).await == image[from..]);
    }
    let error = source.open("https://a/3").await.err().unwrap();
    assert_eq!(error.message, "no network");
    // Another file with this name is not the bundle.
    std::fs::write(&path, vec![7; 800_000]).unwrap();
    let changed_error = source.open(URL).await.err().unwrap();
    assert!(
        changed_error.message.contains("site.vsiflow"),
        "{changed_error}"
    );
}

proptest! {
    #[test]
    fn whatever_is_packed_comes_out_again(
        documents in prop::collection::vec((".{0,80}", prop::collection::vec(any::<u8>(), 0..1500)), 0..5),
        images in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..3000), 0..4),
        signed in any::<bool>(),
    ) {
        let named: Vec<_> = documents.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        let urls: Vec<_> = (0..images.len()).map(|n| format!("https://a/{n}")).collect();
        let given: Vec<_> = urls.iter().zip(&images).map(|(url, bytes)| (url.as_str(), &bytes[..])).collect();
        let key = key();
        let bytes = write(&named, &given, signed.then_some(&key));
        let bundle = Bundle::open(&bytes[..]).unwrap();
        for (number, (_, content)) in documents.iter().enumerate() {
            prop_assert_eq!(&bundle.document(number).unwrap(), content);
        }
        for (url, content) in given {
            let all = bundle.manifest().images.iter();
            let (number, image) = all.enumerate().find(|(_, one)| one.urls.iter().any(|one| one == url)).unwrap();
            prop_assert_eq!(&image.sha256, &vsiflow_engine::model::Hash::of(content).to_string());
            bundle.check_image(number, |_| {}).unwrap();
        }
        prop_assert_eq!(bundle.seal().signer().is_some(), signed);
    }
}
