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

/// The base64 lines of a PEM text decoded, the numbers in them replaced, and encoded again.
fn with_numbers(text: &str, from: &[u8], to: &[u8]) -> Secret {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let lines: Vec<&str> = text.lines().collect();
    let (first, last) = (lines[0], lines[lines.len() - 1]);
    let mut bytes = STANDARD.decode(lines[1..lines.len() - 1].concat()).unwrap();
    let at = bytes
        .windows(from.len())
        .position(|part| part == from)
        .unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    let body = STANDARD.encode(bytes);
    let body: Vec<_> = body
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    Secret::new(format!("{first}\n{}\n{last}\n", body.join("\n")))
}

#[test]
fn a_key_that_asks_for_too_much_work_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let pkcs8 = format!(
        "openssl genpkey -algorithm ed25519 | openssl pkcs8 -topk8 -passout 'pass:{PASSPHRASE}'"
    );
    let made: [(&str, String, &[u8], &[u8]); 3] = [
        (
            "bcrypt",
            format!("ssh-keygen -q -t ed25519 -a 16 -N '{PASSPHRASE}' -f bcrypt"),
            // The rounds stand before the number of keys, which is one.
            b"\0\0\0\x10\0\0\0\x01",
            b"\xff\xff\xff\xff\0\0\0\x01",
        ),
        (
            "pbkdf2",
            format!("{pkcs8} -v2 aes-256-cbc -iter 65536 -out pbkdf2"),
            &[2, 3, 1, 0, 0],
            &[2, 3, 0x7f, 0xff, 0xff],
        ),
        (
            "scrypt",
            format!("{pkcs8} -scrypt -scrypt_N 16384 -scrypt_r 8 -scrypt_p 1 -out scrypt"),
            &[2, 2, 0x40, 0, 2, 1, 8, 2, 1, 1],
            &[2, 2, 0x40, 0, 2, 1, 0x7f, 2, 1, 0x7f],
        ),
    ];
    for (name, command, from, to) in made {
        run(dir, &command);
        assert!(read(dir, name, Some(PASSPHRASE)).is_ok(), "{name}");
        let text = std::fs::read_to_string(dir.join(name)).unwrap();
        let outcome = decode(
            &with_numbers(&text, from, to),
            Some(&Secret::new(PASSPHRASE)),
        );
        assert_eq!(problem(outcome), KeyProblem::TooCostly, "{name}");
    }
}

#[test]
fn puttys_own_format_is_not_opened_with_a_passphrase() {
    let text = Secret::new("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: aes256-cbc\n");
    let outcome = decode(&text, Some(&Secret::new(PASSPHRASE)));
    assert!(matches!(problem(outcome), KeyProblem::Malformed(_)));
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
