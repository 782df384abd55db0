//! Every form of key that people have, made by OpenSSH and OpenSSL.

use std::path::Path;
use std::process::Command;

use super::*;

const PASSPHRASE: &str = "correct horse";

fn run(dir: &Path, command: &str) {
    let status = Command::new("sh")
        .current_dir(dir)
        .args(["-ec", command])
        .status()
        .unwrap();
    assert!(status.success(), "{command}");
}

fn read(dir: &Path, name: &str, passphrase: Option<&str>) -> Result<PrivateKey, ConnectError> {
    let text = Secret::new(std::fs::read(dir.join(name)).unwrap());
    decode(&text, passphrase.map(Secret::new).as_ref())
}

fn problem(outcome: Result<PrivateKey, ConnectError>) -> KeyProblem {
    match outcome {
        Err(ConnectError::Key(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_of_every_form_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let made = [
        (
            "openssh-ed25519",
            "ssh-keygen -q -t ed25519 -N '' -f openssh-ed25519",
        ),
        (
            "openssh-ecdsa",
            "ssh-keygen -q -t ecdsa -b 384 -N '' -f openssh-ecdsa",
        ),
        (
            "openssh-rsa",
            "ssh-keygen -q -t rsa -b 2048 -N '' -f openssh-rsa",
        ),
        (
            "pkcs1-rsa",
            "openssl genrsa -traditional -out pkcs1-rsa 2048 2>/dev/null",
        ),
        (
            "pkcs8-rsa",
            "openssl genpkey -algorithm rsa -out pkcs8-rsa 2>/dev/null",
        ),
        (
            "sec1-p256",
            "openssl ecparam -name prime256v1 -genkey -noout -out sec1-p256",
        ),
        (
            "pkcs8-p256",
            "openssl pkcs8 -topk8 -nocrypt -in sec1-p256 -out pkcs8-p256",
        ),
        (
            "sec1-p521",
            "openssl ecparam -name secp521r1 -genkey -noout -out sec1-p521",
        ),
        (
            "pkcs8-ed25519",
            "openssl genpkey -algorithm ed25519 -out pkcs8-ed25519",
        ),
        (
            "indented",
            "sed 's/^/    /;s/$/\\r/' openssh-ed25519 >indented",
        ),
    ];
    for (name, command) in made {
        run(dir, command);
        assert!(
            read(dir, name, None).is_ok(),
            "{name}: {:?}",
            read(dir, name, None).err()
        );
    }
}

#[test]
fn encrypted_keys_ask_for_their_passphrase() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let made = [
        (
            "openssh",
            format!("ssh-keygen -q -t ed25519 -N '{PASSPHRASE}' -f openssh"),
        ),
        (
            "pkcs8",
            format!(
                "openssl genpkey -algorithm rsa -aes256 -pass 'pass:{PASSPHRASE}' -out pkcs8 2>/dev/null"
            ),
        ),
    ];
    for (name, command) in made {
        run(dir, &command);
        assert_eq!(
            problem(read(dir, name, None)),
            KeyProblem::Encrypted,
            "{name}"
        );
        assert_eq!(
            problem(read(dir, name, Some("wrong"))),
            KeyProblem::WrongPassphrase,
            "{name}"
        );
        assert!(read(dir, name, Some(PASSPHRASE)).is_ok(), "{name}");
    }
}

#[test]
fn what_is_no_key_is_said_to_be_none_without_showing_it() {
    for text in [
        "",
        "hunter2",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n",
    ] {
        let error = decode(&Secret::new(text), None).unwrap_err();
        assert!(
            matches!(error, ConnectError::Key(KeyProblem::Malformed(_))),
            "{error:?}"
        );
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
