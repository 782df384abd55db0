use super::{catalogue, scan::is_code, *};
use proptest::prelude::*;

fn scan(pieces: &[&[u8]]) -> Vec<HplFinding> {
    let (mut scanner, mut all) = (Scanner::default(), Vec::new());
    for piece in pieces {
        scanner.push(piece, |finding| all.push(finding));
        assert!(scanner.pending().len() <= LINE_MAX);
    }
    scanner.finish(|finding| all.push(finding));
    all
}

fn kinds(text: &str) -> Vec<MessageKind> {
    scan(&[text.as_bytes()])
        .into_iter()
        .map(|finding| finding.kind)
        .collect()
}

#[test]
fn the_catalogue_can_be_read_and_fatal_codes_have_a_remedy() {
    let file: catalogue::File = toml::from_str(catalogue::TEXT).unwrap();
    for entry in &file.code {
        assert!(is_code(&entry.id), "{entry:?}");
        assert!(Catalogue::get().phase(&entry.id).is_some(), "{entry:?}");
        assert!(
            entry.kind != MessageKind::Fatal || !entry.remedy.is_empty(),
            "{entry:?}"
        );
    }
}

#[test]
fn the_suffix_does_not_decide() {
    assert_eq!(kinds("# HPL12005E: valid\n"), [MessageKind::Note]);
    assert_eq!(kinds("HPL07006E: goes on\n"), [MessageKind::Note]);
    assert_eq!(kinds("HPL10001I: up\n"), [MessageKind::Ready]);
    assert_eq!(
        kinds("x[1]: VSI has started successfully.\n"),
        [MessageKind::Ready]
    );
    assert_eq!(
        kinds("HPL10000E: One or more service failed\n"),
        [MessageKind::Fatal]
    );
    assert_eq!(kinds("HPL99999E: never heard of\n"), [MessageKind::Warning]);
    assert_eq!(
        kinds("HPL99999I and HPL1234 and HPLé\n"),
        [MessageKind::Note]
    );
}

#[test]
fn escapes_and_binary_do_no_harm() {
    let found = scan(&[b"\x1b[31mHPL1\x1b[0m0000E\x07 \xff\xfe failed\x1b]\n"]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].kind, MessageKind::Fatal);
    assert!(!found[0].line.chars().any(char::is_control));
}

#[test]
fn a_line_without_end_stays_bounded() {
    let mut bytes = vec![b'x'; 10 * LINE_MAX];
    bytes.extend_from_slice(b"HPL10000E\nHPL10001I\n");
    assert_eq!(scan(&[&bytes]).len(), 1);
}

fn console() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"HPL10001I: up\n".to_vec()),
        Just(b"HPL77777E".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\x1b[1;31m".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
        Just(vec![b'y'; LINE_MAX]),
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_findings(
        bytes in console(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
    ) {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.push(0);
        at.push(bytes.len());
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        prop_assert_eq!(scan(&pieces), scan(&[&bytes]));
    }
}
