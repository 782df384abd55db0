//! Which keys are trusted, revoked or unknown.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

const FIRST: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIWN1t5kgx4q2jFxXZy0O2OQFFiry5pOc60Y0u+PZsQw";
const SECOND: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn key(text: &str) -> PublicKey {
    PublicKey::from_openssh(text).unwrap()
}

fn check(line: &str, host: &str, port: u16) -> Result<(), ConnectError> {
    KnownHost::find(line, host, port).check(&key(FIRST))
}

#[test]
fn names_are_plain_listed_or_with_a_port() {
    assert_eq!(check(&format!("host {FIRST} comment"), "HOST", 22), Ok(()));
    assert_eq!(
        check(&format!("a,host,10.0.0.1 {FIRST}"), "10.0.0.1", 22),
        Ok(())
    );
    assert_eq!(check(&format!("[host]:2222 {FIRST}"), "host", 2222), Ok(()));
    assert!(check(&format!("[host]:2222 {FIRST}"), "host", 22).is_err());
}

#[test]
fn a_line_with_the_port_goes_before_one_without() {
    let text = format!("host {FIRST}\n[host]:2222 {SECOND}");
    assert!(matches!(
        check(&text, "host", 2222),
        Err(ConnectError::HostKeyChanged { .. })
    ));
    assert_eq!(check(&format!("host {FIRST}"), "host", 2222), Ok(()));
}

#[test]
fn a_host_of_which_all_keys_are_revoked_or_none_is_listed_is_not_trusted() {
    for (text, port, is_trusted) in [
        (String::new(), 22, false),
        (format!("host {FIRST}"), 22, true),
        (format!("other {FIRST}"), 22, false),
        (format!("@revoked * {FIRST}"), 22, false),
        (format!("@revoked * {FIRST}\nhost {SECOND}"), 22, true),
        (format!("@revoked * {FIRST}\nhost {FIRST}"), 22, false),
        (format!("@cert-authority *.lab,host {FIRST}"), 22, true),
        (
            format!("@cert-authority host {FIRST}\n@revoked * {FIRST}"),
            22,
            false,
        ),
        (format!("host {FIRST}"), 2222, true),
        (
            format!("@revoked [host]:2222 {FIRST}\nhost {FIRST}"),
            2222,
            false,
        ),
        (
            format!("host {}", FIRST.replace("AAAAC3", "AAAAX3")),
            22,
            false,
        ),
    ] {
        let known = KnownHost::find(&text, "host", port);
        assert_eq!(known.trusts_any(), is_trusted, "{text}");
    }
}

#[test]
fn wildcards_and_negation_are_honoured() {
    let line = format!("*.lab,!bad.lab,10.0.?.1 {FIRST}");
    assert_eq!(check(&line, "a.lab", 22), Ok(()));
    assert_eq!(check(&line, "10.0.7.1", 22), Ok(()));
    assert!(check(&line, "bad.lab", 22).is_err());
    assert!(check(&line, "10.0.77.1", 22).is_err());
    assert_eq!(check(&format!("[*]:2222 {FIRST}"), "a", 2222), Ok(()));
}

#[test]
fn hashed_names_are_compared() {
    // Made by `ssh-keygen -H`.
    let line = format!("|1|BY80F2gO5DOlC1tnPi1PY19YmjM=|KgLxr+KFur+e9jrMOsmKMQ0IaFw= {FIRST}");
    assert_eq!(check(&line, "127.0.0.1", 2222), Ok(()));
    assert!(check(&line, "127.0.0.1", 22).is_err());
    assert!(check(&line, "other", 2222).is_err());
}

#[test]
fn unknown_changed_and_revoked_are_three_things() {
    let unknown = check(&format!("other {FIRST}"), "host", 22).unwrap_err();
    assert!(matches!(&unknown, ConnectError::HostKeyUnknown { .. }));
    assert!(unknown.to_string().contains("SHA256:"), "{unknown}");
    let changed = check(&format!("host {SECOND}"), "host", 22).unwrap_err();
    assert!(matches!(&changed, ConnectError::HostKeyChanged { known, .. } if known.len() == 1));
    let revoked = check(&format!("host {FIRST}\n@revoked * {FIRST}"), "host", 22).unwrap_err();
    assert!(matches!(revoked, ConnectError::HostKeyRevoked { .. }));
}

#[test]
fn an_authority_alone_is_refused_and_says_so() {
    let line = format!("@cert-authority *.lab {SECOND}");
    let refused = check(&line, "a.lab", 22).unwrap_err();
    assert!(refused.to_string().contains("@cert-authority"), "{refused}");
    assert_eq!(
        check(&format!("{line}\na.lab {FIRST}"), "a.lab", 22),
        Ok(())
    );
}

#[test]
fn lines_that_say_nothing_are_passed_over() {
    let unknown_type = blob("ssh-future");
    let text = format!(
        "\u{feff}\n# note\n#@revoked * {FIRST}\nother ssh-ed25519 !!!\n@else other {FIRST}\n\
         @revoked other {FIRST}\nhost 1024 35 123456\nhost ssh-future {unknown_type}\n\
         |1|damaged {FIRST}\n  host {FIRST}\r\n"
    );
    assert_eq!(check(&text, "host", 22), Ok(()));
    assert_eq!(
        KnownHost::find(&text, "host", 22).algorithms(),
        [Algorithm::Ed25519]
    );
}

/// The data of a key that says it is of this type.
fn blob(kind: &str) -> String {
    let mut bytes = u32::try_from(kind.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(kind.as_bytes());
    bytes.extend_from_slice(&[7; 36]);
    STANDARD.encode(bytes)
}

#[test]
fn a_line_about_the_host_that_cannot_be_read_refuses_it_with_its_number() {
    let (_, data) = FIRST.split_once(' ').unwrap();
    let future = blob("ssh-future");
    let vendor = blob("key@vendor.example");
    for line in [
        "host".to_owned(),
        "host ssh-ed25519".to_owned(),
        "host ssh-ed25519 !!!".to_owned(),
        format!("host ssh-rsa {data}"),
        format!("host ssh-ed25519 {}", &data[..40]),
        format!("@else host {FIRST}"),
        format!("@Revoked * {FIRST}"),
        format!("@revoked @cert-authority * {FIRST}"),
        format!("@revoked {FIRST}"),
        "@revoked".to_owned(),
        "@revoked *".to_owned(),
        format!("@revoked * ssh-ed2551 {data}"),
        format!("@revoked * ssh-future {future}"),
        format!("@revoked * key@vendor.example {vendor}"),
        format!("@revoked * ssh-ed25519 {}", data.replace('I', "!")),
        format!("@revoked * ssh-ed25519-cert-v01@openssh.com {data}"),
        format!("@revoked |1|damaged {FIRST}"),
        "@revoked * 1024 35 123456".to_owned(),
        "@cert-authority * ssh-ed25519 !!!".to_owned(),
        format!("\u{feff}@revoked * {FIRST}"),
        format!("\u{200b}@revoked host {FIRST}"),
        format!("\u{2060}\u{a0}@cert-authority * {FIRST}"),
        format!("\u{1}@revoked * {FIRST}"),
        format!("@\u{200d}revoked * {FIRST}"),
        format!("@else [host]:22 {FIRST}"),
    ] {
        let text = format!("host {FIRST}\n\n{line}\n@revoked * broken\n");
        let refused = check(&text, "host", 22).unwrap_err();
        assert!(
            matches!(&refused, ConnectError::KnownHosts(why) if why.starts_with("line 3 ")),
            "{line}: {refused}"
        );
        let other = text.replace("host", "other").replace('*', "other");
        let elsewhere = check(&format!("{other}host {FIRST}"), "host", 22);
        let names_nobody = ["damaged", "@revoked\n", "@revoked ssh-"];
        if !names_nobody.iter().any(|part| other.contains(part)) {
            assert_eq!(elsewhere, Ok(()), "{line}");
        }
    }
}

#[test]
fn a_key_is_revoked_by_a_line_with_its_certificate() {
    let host = include_str!("certificates/host.pub");
    let key = key(host.trim());
    for certificate in [
        include_str!("certificates/valid.pub"),
        include_str!("certificates/expired.pub"),
        include_str!("certificates/user.pub"),
    ] {
        let text = format!("[host]:2222 {host}@revoked * {certificate}");
        let refused = KnownHost::find(&text, "host", 2222).check(&key);
        assert!(
            matches!(refused, Err(ConnectError::HostKeyRevoked { .. })),
            "{refused:?}"
        );
        // As OpenSSH, a certificate does not make its key known.
        let certified = format!("host {certificate}");
        let unknown = KnownHost::find(&certified, "host", 22).check(&key);
        assert!(
            matches!(unknown, Err(ConnectError::HostKeyChanged { .. })),
            "{unknown:?}"
        );
    }
}

#[test]
fn lines_with_markers_leave_the_host_to_the_bare_name() {
    for marked in [
        format!("@revoked [host]:2222 {SECOND}"),
        format!("@revoked * {SECOND}"),
        format!("@cert-authority [host]:2222 {SECOND}"),
        format!("@cert-authority * {SECOND}"),
    ] {
        let text = format!("{marked}\nhost {FIRST}");
        assert_eq!(check(&text, "host", 2222), Ok(()), "{marked}");
        let known = KnownHost::find(&text, "host", 2222);
        assert_eq!(known.algorithms(), [Algorithm::Ed25519]);
    }
    let text = format!("@revoked host {FIRST}\nhost {FIRST}");
    assert!(matches!(
        check(&text, "host", 2222),
        Err(ConnectError::HostKeyRevoked { .. })
    ));
}

#[test]
fn lines_are_copied_with_another_name_and_their_markers() {
    let text = format!("alias {FIRST} note\n@revoked al* {SECOND}\nother {FIRST}\n@revoked * x\n");
    assert_eq!(
        lines_naming(&text, "Alias", Some("[h]:2222")),
        format!("[h]:2222 {FIRST} note\n@revoked [h]:2222 {SECOND}\n@revoked [h]:2222 x\n")
    );
    assert_eq!(
        lines_naming(&text, "other", None),
        format!("other {FIRST}\n@revoked * x\n")
    );
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "[ -~\n|,*!@]{0,200}", host in ".{0,20}", port: u16) {
        let _ = KnownHost::find(&text, &host, port).check(&key(FIRST));
    }

    #[test]
    fn a_glob_of_the_text_itself_matches(text in "[a-z.]{0,20}", at: prop::sample::Index) {
        prop_assert!(glob(text.as_bytes(), text.as_bytes()));
        let cut = at.index(text.len() + 1);
        let starred = format!("{}*{}", &text[..cut], &text[cut..]);
        prop_assert!(glob(starred.as_bytes(), text.as_bytes()));
    }
}

#[test]
fn a_line_with_a_carriage_return_within_it_refuses_every_host() {
    for text in [
        format!("[host]:2222 {FIRST}\r@revoked * {FIRST}\r"),
        format!("# comment\r@revoked * {FIRST}\nhost {FIRST}\n"),
        format!("host {FIRST}\nother {SECOND}\r@revoked host {FIRST}\r\n"),
    ] {
        for port in [22, 2222] {
            let refused = check(&text, "host", port).unwrap_err();
            let is_unreadable = matches!(&refused, ConnectError::KnownHosts(_));
            assert!(is_unreadable, "{refused}");
            assert!(refused.to_string().contains("carriage return"), "{refused}");
        }
        let copied = lines_naming(&text, "host", Some("another"));
        assert!(check(&copied, "another", 22).is_err(), "{copied:?}");
    }
    let windows = format!("host {FIRST}\r\nother {SECOND}\r\n");
    assert_eq!(check(&windows, "host", 22), Ok(()));
}

#[test]
fn a_line_that_takes_trust_away_may_name_the_usual_port() {
    for names in ["[host]:22", "[HOST]:22,other", "[*]:22"] {
        let text = format!("host {FIRST}\n@revoked {names} {FIRST}\n");
        let refused = check(&text, "host", 22).unwrap_err();
        assert!(
            matches!(refused, ConnectError::HostKeyRevoked { .. }),
            "{names}: {refused}"
        );
    }
    let given = format!("[host]:22 {FIRST}\n");
    let unknown = check(&given, "host", 22).unwrap_err();
    assert!(
        matches!(unknown, ConnectError::HostKeyUnknown { .. }),
        "{unknown}"
    );
    let of_other = format!("host {FIRST}\n@revoked [other]:22 {FIRST}\n");
    assert_eq!(check(&of_other, "host", 22), Ok(()));
}

#[test]
fn a_line_that_takes_trust_away_leaves_out_the_hosts_that_it_excludes() {
    for (names, port, is_revoked) in [
        ("*,![host]:18722", 18722, false),
        ("*,!host", 22, false),
        ("*,!h*", 22, false),
        ("*,!other", 22, true),
        ("*,!other", 18722, true),
        ("[*]:22,!other", 22, true),
    ] {
        let text = format!("@revoked {names} {FIRST}\nhost,[host]:18722 {FIRST}\n");
        let judged = check(&text, "host", port);
        let revoked = matches!(judged, Err(ConnectError::HostKeyRevoked { .. }));
        assert_eq!(revoked, is_revoked, "{names} {port}: {judged:?}");
        assert_eq!(judged.is_ok(), !is_revoked, "{names} {port}: {judged:?}");
    }
}
