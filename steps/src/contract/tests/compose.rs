//! Tests of contracts made from a folder.

use super::{openssl::Desk, *};

const COMPOSE: &str = "services: {web: {image: example.com/web@sha256:00}}\n";

fn file(path: &str, data: &str) -> PackedFile {
    PackedFile {
        path: path.to_owned(),
        data: data.as_bytes().to_vec(),
        executable: path.ends_with(".sh"),
    }
}

fn folder() -> Vec<PackedFile> {
    let long = format!("{}/deep.conf", "folder/".repeat(30));
    vec![
        file("docker-compose.yaml", COMPOSE),
        file("bin/start.sh", "true"),
        file(&long, "x"),
    ]
}

fn made(env: Option<&str>) -> String {
    compose(&folder(), env, None, None)
        .unwrap()
        .contract
        .to_string()
}

fn env_of(text: &str) -> serde_json::Value {
    let whole = made(Some(text));
    let document = ContractDocument::read(whole.as_bytes()).unwrap();
    serde_json::to_value(document.env().mapping().unwrap()).unwrap()
}

#[test]
fn a_folder_becomes_a_contract_that_has_nothing_wrong_and_is_the_same_twice() {
    let contract = made(None);
    assert_eq!(contract, made(None));
    let mut turned = folder();
    turned.reverse();
    let again = compose(&turned, None, None, None).unwrap();
    assert_eq!(contract, *again.contract);
    let report = inspect(contract.as_bytes(), &CheckInputs::default());
    assert_eq!(report.findings, []);
}

#[test]
fn tar_unpacks_the_archive_with_names_contents_and_modes() {
    use std::{os::unix::fs::PermissionsExt as _, process::Command};
    let folder = tempfile::tempdir().unwrap();
    let contract = made(None);
    let (_, rest) = contract.split_once("archive: ").unwrap();
    let archive = rest.split_whitespace().next().unwrap();
    std::fs::write(folder.path().join("a"), archive).unwrap();
    let unpack = "base64 -d a | tar -xz && rm a && find . -type f | LC_ALL=C sort | xargs cat";
    let ran = Command::new("sh")
        .args(["-ec", unpack])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(
        String::from_utf8(ran.stdout).unwrap(),
        format!("true{COMPOSE}x")
    );
    let mode = |name| {
        std::fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (mode("bin/start.sh"), mode("docker-compose.yaml")),
        (0o755, 0o644)
    );
}

#[test]
fn variables_stand_as_they_are_and_yaml_as_it_is() {
    let env = env_of("# note\r\nA=b: c\r\n\n  B=\"quoted\" = more\nC=\n");
    assert_eq!(
        env,
        serde_json::json!({
            "type": "env", "env": {"A": "b: c", "B": "\"quoted\" = more", "C": ""},
        })
    );
    let section = "# by hand\ntype: env\nlogging: {logRouter: {hostname: l.example}}\n";
    assert!(made(Some(section)).contains("# by hand"));
    let without = env_of("logging: {syslog: {hostname: l.example}}\n");
    assert_eq!(without["type"], "env");
    assert_eq!(without["logging"]["syslog"]["hostname"], "l.example");
}

#[test]
fn what_no_guest_takes_is_refused_with_the_line_and_without_its_words() {
    let refused =
        |files: &[PackedFile], env| compose(files, env, None, None).unwrap_err().remove(0);
    let finding = refused(&folder(), Some("A=b\nhunter2\n"));
    assert_eq!((finding.code, finding.line), ("VSI0404", Some(2)));
    assert!(!finding.to_string().contains("hunter2"));
    assert_eq!(
        refused(&[file("compose.yaml", COMPOSE)], None).code,
        "VSI0409"
    );
    assert_eq!(refused(&[], None).code, "VSI0409");
    let absolute = [file("docker-compose.yaml", COMPOSE), file("../up", "")];
    assert_eq!(refused(&absolute, None).code, "VSI0409");
    let built = [file("docker-compose.yml", "services: {a: {build: .}}")];
    assert_eq!(
        compose(&built, None, None, None).unwrap().doubts[0].code,
        "VSI0409"
    );
}

#[test]
fn a_signer_signs_the_plain_contract_the_same_twice_and_the_encrypted_one() {
    let desk = Desk::new();
    let signer = ContractSigningKey::read(&desk.read("private.pem")).unwrap();
    let key = Key::read_certificate(&desk.read("crt.pem")).unwrap();
    let signed = || {
        compose(&folder(), Some("A=b"), None, Some(&signer))
            .unwrap()
            .contract
    };
    assert_eq!(signed(), signed());
    for (contract, encrypted) in [
        (signed(), false),
        (
            compose(&folder(), Some("A=b"), Some(&key), Some(&signer))
                .unwrap()
                .contract,
            true,
        ),
    ] {
        let inputs = CheckInputs {
            key: Some(key.clone()),
            now: None,
        };
        let report = inspect(contract.as_bytes(), &inputs);
        assert_eq!(
            report.signature,
            SignatureState::Valid,
            "{:?}",
            report.findings
        );
        assert!(report.sections.iter().all(|section| {
            section.encrypted == encrypted || section.name == "envWorkloadSignature"
        }));
        assert!(!report.has_errors());
    }
    let unsigned = compose(&folder(), None, Some(&key), None).unwrap().contract;
    assert!(unsigned.starts_with("workload: hyper-protect-basic."));
}
