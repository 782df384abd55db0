use proptest::prelude::*;

use super::*;

#[test]
fn plain_and_encrypted_contracts_pass() {
    let (old, new) = (
        good_token("hyper-protect-basic."),
        good_token("contract-basic."),
    );
    for contract in [
        "workload: text\nenv: text\n".to_owned(),
        "workload: a.b.c\nenv: example.com\n".to_owned(),
        "workload:\n  type: workload\nenv:\n  type: env\n".to_owned(),
        format!("env: {old}\nworkload: {new}\n"),
        format!("env: {old}\nworkload: |\n  {new}\n"),
        "workload: |\n  type: workload\nenv: |\n  type: env\nenvWorkloadSignature: YWJj\n"
            .to_owned(),
    ] {
        assert_eq!(check(contract.as_bytes()), Ok(()), "{contract}");
    }
}

#[test]
fn an_encrypted_contract_has_nothing_to_complain_of() {
    let token = good_token("contract-basic.");
    let contract = format!("env: {token}\nworkload: {token}\n");
    let report = inspect(contract.as_bytes(), &CheckInputs::default());
    assert_eq!(report.findings, []);
    assert!(report.sections.iter().all(|section| section.encrypted));
    assert_eq!(report.signature, SignatureState::None);
}

#[test]
fn each_defect_has_its_code() {
    for (contract, expected) in [
        ("- a\n- b\n", "VSI0401"),
        ("a: [", "VSI0401"),
        ("env: a\nenv: b\n", "VSI0401"),
        ("", "VSI0402"),
        ("env: x\n", "VSI0402"),
        ("workload: x\n", "VSI0403"),
        ("workload: x\nenv:\n", "VSI0403"),
        ("workload: ''\nenv: x\n", "VSI0404"),
        ("workload: {}\nenv: x\n", "VSI0404"),
        ("workload: [a]\nenv: x\n", "VSI0404"),
        (
            "workload: x\nenv: x\nenvWorkloadSignature: {a: b}\n",
            "VSI0404",
        ),
        ("workload: x\nenv: hyper-protect-basic\n", "VSI0406"),
        (
            "workload: x\nenv: hyper-protect-bas1c.YWJj.YWJj\n",
            "VSI0406",
        ),
        (
            "workload: |\n  hpcr_basic.YWJj\n  .YWJj\nenv: x\n",
            "VSI0406",
        ),
        ("workload: hyper-protect-basic.YWJj\nenv: x\n", "VSI0406"),
        ("workload: contract-basic.YWJj.%%%\nenv: x\n", "VSI0406"),
        (
            "workload: x\nenv: x\nenvWorkloadSignature: '%%'\n",
            "VSI0407",
        ),
    ] {
        assert_eq!(code(contract).as_deref(), Some(expected), "{contract:?}");
    }
    assert!(check(&[0xff, 0xfe]).is_err());
}

#[test]
fn a_broken_token_says_which_part_is_broken() {
    let whole = [b"Salted__".as_slice(), &[9; 8 + 16]].concat();
    let cut = &whole[..whole.len() - 1];
    for (password, data, expected) in [
        (256, whole.as_slice(), None),
        (1024, whole.as_slice(), None),
        (255, whole.as_slice(), Some("no RSA key")),
        (1025, whole.as_slice(), Some("no RSA key")),
        (
            256,
            b"Pepper__1234567890123456".as_slice(),
            Some("openssl enc"),
        ),
        (256, cut, Some("cipher block")),
        (256, &whole[..16], Some("cipher block")),
        (256, b"", Some("both its parts")),
    ] {
        let token = token_of("contract-basic.", password, data);
        let contract = format!("workload: x\nenv: {token}\n");
        let failure = check(contract.as_bytes())
            .err()
            .map(|f| f.message.to_string());
        match expected {
            None => assert_eq!(failure, None),
            Some(words) => {
                let text = failure.unwrap();
                assert!(text.contains(words) && text.contains("line 2"), "{text}");
            }
        }
    }
}

#[test]
fn errors_name_the_line_and_never_the_content() {
    let secret = "hunter2";
    let failure = check(format!("workload: {secret}\nenv:\n  - {secret}\n").as_bytes());
    let text = format!("{:?}", failure.unwrap_err());
    assert!(text.contains("line 2") && !text.contains(secret), "{text}");
    let nested = format!(
        "{:?}",
        check(b"workload: x\nenv: hunter2: [\n").unwrap_err()
    );
    assert!(
        nested.contains("line") && !nested.contains(secret),
        "{nested}"
    );
    let bomb = format!("a: &a [x,x]\n{}workload: *a\nenv: x\n", "b: [*a]\n");
    assert!(check(bomb.as_bytes()).is_err());
}

fn contracts() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just(good_token("contract-basic.")),
        Just("hyper-protect-basic.AAAA.U2FsdGVkX18=".to_owned()),
        Just("|\n  type: env\n  signingKey: abc\n  volumes:\n    a: {seed: s}".to_owned()),
        Just("|\n  compose:\n    archive: H4sIAAAAAAAAAwMAAAAAAAAAAAA=".to_owned()),
        Just("{play: {archive: AAAA}, volumes: [a], env: {'1': 2}}".to_owned()),
        Just("&a [*a, !!binary x]".to_owned()),
        "[ -~\\n]{0,40}",
    ];
    let name = prop_oneof![
        Just("workload".to_owned()),
        Just("env".to_owned()),
        Just("envWorkloadSignature".to_owned()),
        Just("attestationPublicKey".to_owned()),
        "[ -~]{0,10}",
    ];
    let section = (name, value).prop_map(|(name, value)| format!("{name}: {value}\n"));
    proptest::collection::vec(section, 0..6).prop_map(|all| all.concat())
}

proptest! {
    #[test]
    fn no_contract_is_too_odd(text in contracts(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for contract in [text.as_bytes(), &bytes] {
            let report = inspect(contract, &CheckInputs { key: None, now: Some(SystemTime::UNIX_EPOCH) });
            prop_assert_eq!(check(contract).is_err(), report.has_errors());
            for finding in &report.findings {
                prop_assert!(!finding.message.chars().any(char::is_control));
            }
        }
    }

    #[test]
    fn no_archive_or_key_is_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
        let _ = Key::read(&bytes);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----", BASE64.encode(&bytes));
        prop_assert!(Key::read(pem.as_bytes()).is_err());
        for kind in [archive::EntryKind::Compose, archive::EntryKind::Play] {
            prop_assert!(!archive::check(&super::plain::packed(&bytes), kind).is_empty());
        }
    }
}
