use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use flate2::{Compression, write::GzEncoder};

use super::*;

/// Compressed by gzip and encoded in base64.
pub(super) fn packed(bytes: &[u8]) -> String {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(bytes).unwrap();
    BASE64.encode(gz.finish().unwrap())
}

fn entry(name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
    header[156] = kind;
    header[257..262].copy_from_slice(b"ustar");
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend_from_slice(data);
    header.resize(header.len().next_multiple_of(512), 0);
    header
}

fn archive_of(entries: &[Vec<u8>]) -> String {
    packed(&[entries.concat(), vec![0; 1024]].concat())
}

const COMPOSE: &[u8] = b"services:\n  a:\n    image: b@sha256:0\n";

fn contract(archive: &str) -> String {
    format!(
        "workload: |\n  type: workload\n  compose:\n    archive: {archive}\nenv: |\n  type: env\n"
    )
}

#[test]
fn a_whole_plain_contract_has_nothing_to_complain_of() {
    for name in ["docker-compose.yaml", "./docker-compose.yml"] {
        let archive = archive_of(&[entry("./", b'5', b""), entry(name, b'0', COMPOSE)]);
        assert_eq!(codes(&contract(&archive)), []);
    }
}

#[test]
fn archives_that_a_guest_cannot_use_are_errors_with_their_line() {
    let wrong = [
        ("a%b".to_owned(), "base64"),
        (BASE64.encode("no gzip"), "gzip"),
        (packed(b"no tar"), "tar"),
        (
            archive_of(&[entry("compose.yaml", b'0', COMPOSE)]),
            "docker-compose",
        ),
        (
            archive_of(&[entry("a/docker-compose.yaml", b'0', COMPOSE)]),
            "docker-compose",
        ),
        (
            archive_of(&[entry("docker-compose.yaml", b'0', b"[")]),
            "YAML",
        ),
        (
            archive_of(&[entry("docker-compose.yaml", b'0', b"version: '3'")]),
            "services",
        ),
    ];
    for (archive, words) in wrong {
        let contract = contract(&archive);
        let error = vec![(Severity::Error, "VSI0409", Some(4))];
        assert_eq!(codes(&contract), error, "{words}");
        let failure = check(contract.as_bytes()).unwrap_err();
        assert!(failure.message.as_str().contains(words), "{failure}");
    }
}

#[test]
fn text_that_is_no_yaml_is_an_error_at_its_own_line() {
    let contract = "workload: |\n  type: workload\n  a: [\nenv: |\n  type: env\n";
    let found = codes(contract);
    assert!(
        matches!(found[..], [(Severity::Error, "VSI0404", Some(3..=4))]),
        "{found:?}"
    );
}

#[test]
fn doubtful_archives_are_warnings() {
    let built = b"services:\n  a:\n    build: .\n";
    let doubtful = [
        archive_of(&[entry("docker-compose.yaml", b'0', built)]),
        archive_of(&[
            entry("docker-compose.yaml", b'0', COMPOSE),
            entry("x", b'2', b""),
        ]),
    ];
    for archive in doubtful {
        assert_eq!(
            codes(&contract(&archive)),
            [(Severity::Warning, "VSI0409", Some(4))]
        );
    }
}

#[test]
fn a_gzip_bomb_is_not_unpacked() {
    let bomb = packed(&vec![0; 40 << 20]);
    assert_eq!(
        codes(&contract(&bomb)),
        [(Severity::Warning, "VSI0409", Some(4))]
    );
}

#[test]
fn pods_are_found_in_an_archive() {
    let play = |name: &str| {
        let archive = archive_of(&[entry(name, b'0', b"kind: Pod\n")]);
        format!(
            "workload: |\n  type: workload\n  play:\n    archive: {archive}\nenv: |\n  type: env\n"
        )
    };
    assert_eq!(codes(&play("pod.yaml")), []);
    assert_eq!(
        codes(&play("d/pod.yaml")),
        [(Severity::Error, "VSI0409", Some(4))]
    );
}

#[test]
fn volumes_need_both_sides_and_their_keys() {
    let contract = "\
workload: |
  type: workload
  confidential-containers: {}
  volumes:
    data:
      mount: /data
      seed: hunter2
    other:
      mount: rel
      seed: hunter2
env: |
  type: env
  volumes:
    data:
      key: hunter2
    third: {seed: hunter2}
";
    assert_eq!(
        codes(contract),
        [
            (Severity::Error, "VSI0410", Some(8)),
            (Severity::Error, "VSI0410", Some(14)),
            (Severity::Error, "VSI0410", Some(16)),
            (Severity::Warning, "VSI0410", Some(8)),
        ]
    );
    let report = inspect(contract.as_bytes(), &CheckInputs::default());
    let text = format!("{report:?}");
    assert!(
        text.contains("`other`") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn volumes_of_an_encrypted_side_are_not_missed() {
    let token = good_token("contract-basic.");
    let contract =
        format!("workload: {token}\nenv: |\n  type: env\n  volumes:\n    a: {{seed: s}}\n");
    assert_eq!(codes(&contract), []);
}

#[test]
fn doubts_are_warnings_and_do_not_block() {
    let contract =
        "workload:\n  type: workload\n  play: {}\nenv: |\n  env:\n    a-b: c\n    d: 1\nboot: x\n";
    assert_eq!(
        codes(contract),
        [
            (Severity::Warning, "VSI0412", Some(1)),
            (Severity::Warning, "VSI0412", Some(4)),
            (Severity::Warning, "VSI0412", Some(6)),
            (Severity::Warning, "VSI0412", Some(7)),
            (Severity::Warning, "VSI0412", Some(8)),
        ]
    );
    assert_eq!(check(contract.as_bytes()), Ok(()));
}
