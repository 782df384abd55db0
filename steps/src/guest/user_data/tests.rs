//! Each kind of input that cloud-init would ignore, and each that it reads.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use base64::engine::general_purpose::STANDARD as BASE64;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_form_that_cloud_init_knows_is_accepted() {
    let mime = "Content-Type: multipart/mixed; boundary=\"b\"\nMIME-Version: 1.0\n\n--b\n";
    for text in [
        "#cloud-config\n",
        "#cloud-config\n{}\n",
        "#Cloud-Config\npackages: [a]\npackages: [b]\n",
        "\n  #cloud-config\nruncmd:\n- [sh, -c, 'x: y']\n",
        "#cloud-config\r\nusers:\r\n- default\r\n",
        "#cloud-config\na: !!binary aGk=\nb: !!str 80\nc: {<<: {d: e}}\n",
        "#cloud-config # with a note\n80: x\n",
        "#!/bin/sh\necho\n",
        "#include\nhttps://example.com/a\n",
        "#include-once\nhttps://example.com/a\n",
        "#cloud-boothook\n#!/bin/sh\n",
        "#part-handler\nimport x\n",
        "#cloud-config-archive\n- type: text/cloud-config\n  content: 'a: b'\n- '#!/bin/sh'\n- content: 'a: b'\n",
        "#!  /usr/bin/env python3\n",
        "#cloud-config\nwrite_files:\n- content: 'MIME-Version: 1.0'\n",
        "#cloud-config-jsonp\n[]\n",
        "## template: jinja\n#cloud-config\nhostname: {{ v1.x }}\n",
        mime,
    ] {
        assert_eq!(check(text.as_bytes()), None, "{text}");
        assert_eq!(check(&gzip(text.as_bytes())), None, "{text}");
    }
}

fn message(parts: &[&str]) -> String {
    let parts: Vec<_> = parts
        .iter()
        .map(|part| format!("--=b=\n{part}\n"))
        .collect();
    let head = "Content-Type: multipart/mixed;\n boundary=\"=b=\"\nMIME-Version: 1.0\n\npreamble\n";
    format!("{head}{}--=b=--\n", parts.concat())
}

#[test]
fn each_part_of_a_message_is_checked() {
    let good = "Content-Type: text/cloud-config\n\n#cloud-config\na: [hunter2]";
    let script = "Content-Type: text/x-shellscript\n\n#!/bin/sh\na: [";
    let encoded = |text: &str| {
        let data = BASE64.encode(text);
        format!(
            "Content-Type: text/cloud-config; charset=\"utf-8\"\nContent-Transfer-Encoding: base64\n\n{data}"
        )
    };
    let (whole, broken) = (encoded("a: [hunter2]"), encoded("a: [hunter2"));
    for parts in [
        vec![good, script],
        vec![&whole],
        vec!["\n#cloud-config\na: b"],
        vec![
            "Content-Type: text/part-handler\n\nimport x",
            "Content-Type: text/x-mine\n\nx",
        ],
        vec![],
    ] {
        assert_eq!(check(message(&parts).as_bytes()), None, "{parts:?}");
        let sent = format!("From nobody Fri Jan  2 03:04:05 1970\n{}", message(&parts));
        assert_eq!(check(sent.as_bytes()), None, "{parts:?}");
    }
    for part in [
        "Content-Type: text/cloud-config\n\n#cloud-config\na: [hunter2",
        "Content-Type: text/cloud-config\r\n\r\n- hunter2",
        "content-type: TEXT/CLOUD-CONFIG; charset=\"us-ascii\"\n\n#cloud-config\nhunter2",
        "\n#cloud-config\na: [hunter2",
        "Content-Type: text/plain\n\nhunter2: a",
        "Content-Type: text/x-shellscript\n\n#!/bin/sh\r\necho hunter2",
        "Content-Type: text/x-shell-script\n\nhunter2",
        &broken,
    ] {
        let problem = check(message(&[good, part]).as_bytes()).expect(part);
        assert!(problem.message.contains("part 2"), "{problem:?}");
        assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
    }
}

#[test]
fn what_cloud_init_would_ignore_is_refused_with_the_reason() {
    let config = b"#cloud-config\npassword: hunter2\n";
    let encoded = BASE64.encode(config);
    let twice = BASE64.encode(gzip(config));
    let utf16: Vec<u8> = "#cloud-config\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let with_mark = [b"\xef\xbb\xbf", &config[..]].concat();
    let cut = gzip(config);
    for (bytes, words) in [
        (
            &b"write_files:\n- {path: /root/marker, content: hunter2}\n"[..],
            "first line",
        ),
        (b"# cloud-config\npassword: hunter2\n", "first line"),
        (b"#cloud_config\n", "first line"),
        (b"- hunter2\n", "first line"),
        (b"## template: jinja\npassword: hunter2\n", "jinja"),
        (&with_mark, "byte order mark"),
        (&gzip(&with_mark), "byte order mark"),
        (&utf16, "UTF-16"),
        (&[b"\xff\xfe", &utf16[..]].concat(), "UTF-16"),
        (b"#cloud-config\nname: caf\xe9\n", "UTF-8"),
        (&gzip(&gzip(config)), "twice"),
        (&cut[..cut.len() - 9], "cut short"),
        (encoded.as_bytes(), "base64"),
        (twice.as_bytes(), "base64"),
        (encoded.trim_end_matches('=').as_bytes(), "base64"),
        (BASE64.encode(&encoded).as_bytes(), "base64"),
        (
            encoded.replace('+', "-").replace('/', "_").as_bytes(),
            "base64",
        ),
        (b"\xfd7zXZ\0\0\x04", "xz"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\x28\xb5\x2f\xfd\0", "zstd"),
        (b"PK\x03\x04\0", "zip"),
        (b"#cloud-config\na: [hunter2\n", "not YAML (line"),
        (b"#cloud-config\npassword: a: b\n", "not YAML (line"),
        (b"#cloud-config\n- hunter2\n", "not a mapping"),
        (b"#cloud-config\nhunter2\n", "not a mapping"),
        (b"#cloud-config-archive\na: b\n", "not a list"),
        (b"#!/bin/sh\r\necho hunter2\r\n", "carriage return"),
        (b"#!\necho hunter2\n", "interpreter"),
        (b"#!bash\necho hunter2\n", "interpreter"),
        (b"#cloud-config\npassword: {{ .hunter2 }}\n", "not YAML (line"),
        (b"#cloud-config\na: [{[b]: hunter2}]\n", "not YAML (line"),
        (b"#cloud-config\na: !vault hunter2\n", "not YAML (line"),
        (b"#cloud-config\na: !!python/name:hunter2 x\n", "not YAML (line"),
        (b"#cloud-config-jsonp\nhunter2\n", "JSON patch"),
        (b"#cloud-config-jsonp\n{\"op\": \"add\"}\n", "JSON patch"),
        (b"#include\n\n# https://hunter2\n", "includes nothing"),
        (
            b"#cloud-config-archive\n- '#!/bin/sh'\n- {type: text/cloud-config, content: 'a: [hunter2'}\n",
            "of its entry 2, it is not YAML",
        ),
        (b"#cloud-config-archive\n- hunter2\n", "of its entry 1"),
        (b"  Content-Type: multipart/mixed\n  MIME-Version: 1.0\n\n  hunter2: a\n", "first line"),
        (b"MIME-Version: 1.0\nContent-Type: text/cloud-config\n\na: [hunter2\n", "not YAML"),
        (b"MIME-Version: 1.0\n\nhunter2: a\n", "first line"),
        (
            b"MIME-Version: 1.0\nContent-Type: multipart/mixed\n\n--b\nhunter2\n--b--\n",
            "has no parts",
        ),
        (
            b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=c\n\n--b\nhunter2\n--b--\n",
            "has no parts",
        ),
        (b"{\"ignition\": {\"version\": \"3.4.0\"}}", "Ignition"),
    ] {
        let shown = String::from_utf8_lossy(bytes);
        let problem = check(bytes).unwrap_or_else(|| panic!("{shown}"));
        assert!(problem.message.contains(words), "{shown}: {problem:?}");
        assert!(!problem.is_doubt, "{shown}");
        assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
    }
}

#[test]
fn what_another_program_may_read_is_a_doubt() {
    for text in [
        "#ps1_sysnative\nWrite-Host",
        "rem cmd\r\ndir",
        "version: v1alpha1\nmachine:\n  type: worker\n",
        "Hi.\n",
    ] {
        let problem = check(text.as_bytes()).unwrap();
        assert!(problem.is_doubt, "{problem:?}");
    }
}

#[test]
fn network_configuration_is_netplans_or_refused() {
    for text in [
        "version: 2\nethernets: {eth0: {dhcp4: true}}\n",
        "network:\n  version: 2\n  bridges: {}\n",
        "version: 1\nconfig:\n- {type: physical, name: eth0}\n",
        "config: disabled\n",
        "version: 2 # nothing\n",
        "version: 2\nethernets: {e: {addresses: [192.0.2.7/24, 'fe80::1/64', {192.0.2.8/24: {label: a}}]}}\n",
        "version: 2\nrenderer: networkd\nethernets: {e: {addresses: [$(ip)]}}\n",
        "version: 2\nopenvswitch: {protocols: [OpenFlow13]}\n",
        "{version: \"2\", vlans: {}}",
    ] {
        assert_eq!(check_network(text), None, "{text}");
    }
    for (text, words) in [
        ("", "not a mapping"),
        ("hunter2", "not a mapping"),
        ("[a]", "not a mapping"),
        ("a: [", "not YAML"),
        ("ethernets: {}\n", "no `version`"),
        ("version: 3\n", "neither 1 nor 2"),
        ("version: 2\nethernet: {}\n", "no devices"),
        ("version: 1\nethernets: {}\n", "no list"),
        (
            "version: 1\nconfig:\n- {type: pysical, name: eth0}\n",
            "no `type`",
        ),
        (
            "version: 2\nethernets: {}\nbridge: {}\n",
            "netplan does not know",
        ),
        ("version: 2\nethernets: [e]\n", "not a mapping of names"),
        ("version: 2\nethernets:\n", "not a mapping of names"),
        ("version: 2\nethernets: {e: dhcp}\n", "a device is not"),
        (
            "version: 2\nethernets: {e: {addresses: [192.0.2.7]}}\n",
            "prefixes",
        ),
        (
            "version: 2\nbonds: {b: {addresses: 192.0.2.7/24}}\n",
            "prefixes",
        ),
        (
            "version: 2\nethernets: {eth0: {dchp4: true}}\n",
            "ethernets.eth0.dchp4`; is `dhcp4` meant?",
        ),
        ("version: 2\nethernets: {e: {dhcp_4: true}}\n", "`dhcp4`"),
        (
            "version: 2\nethernets: {e: {dhcp4: ture}}\n",
            "neither true nor",
        ),
        ("version: 2\nbonds: {b: {interface: [e]}}\n", "`interfaces`"),
        ("version: 2\nethernets: {e: {setname: x}}\n", "`set-name`"),
        (
            "version: 2\nethernets: {e: {nameservers: {adresses: [192.0.2.1]}}}\n",
            "e.nameservers.adresses",
        ),
        (
            "version: 2\nethernets: {e: {routes: [{to: default, vai: 192.0.2.1}]}}\n",
            "`via`",
        ),
        (
            "version: 2\nethernets: {e: {addresses: [192.0.2.7/33]}}\n",
            "prefixes",
        ),
        (
            "version: 2\nethernets: {e: {nameservers: 192.0.2.1}}\n",
            "not a mapping",
        ),
        (
            "version: 2\nethernets: {e: {gateway4: 10.0.0}}\n",
            "not an address",
        ),
        ("auto eth0\niface eth0 inet dhcp\n", "not a mapping"),
        ("\u{feff}version: 2\nethernets: {}\n", "byte order mark"),
    ] {
        let problem = check_network(text).unwrap_or_else(|| panic!("{text}"));
        assert!(problem.message.contains(words), "{text}: {problem:?}");
    }
}

#[test]
fn a_key_that_resembles_none_of_netplans_is_a_doubt() {
    let doubt = check_network("version: 2\nethernets: {e: {brand-new: 1}}\n").unwrap();
    assert!(
        doubt.is_doubt && doubt.message.contains("ethernets.e.brand-new"),
        "{doubt:?}"
    );
    let odd = check_network("version: 2\nethernets: {e: {\"h\\e[2J\": 1}}\n").unwrap();
    assert!(odd.message.chars().all(|c| !c.is_control()), "{odd:?}");
    for text in [
        "version: 2\nethernets: {e: {dhcp4: yes, dhcp6: \"off\", match: {name: 'en*'}, set-name: e}}\n",
        "version: 2\nwifis: {w: {access-points: {a: {password: x}}, dhcp4: true}}\n",
        "version: 2\nvlans: {v: {id: 5, link: e, routes: [{to: 0.0.0.0/0, via: 192.0.2.1, on-link: true}]}}\n",
    ] {
        assert_eq!(check_network(text), None, "{text}");
    }
}

#[test]
fn a_key_that_resembles_one_of_cloud_inits_is_a_doubt() {
    for (key, meant) in [
        ("write_file", "write_files"),
        ("write-files", ""),
        ("runcmds", "runcmd"),
        ("rumcmd", "runcmd"),
        ("pacakges", "packages"),
        ("ssh_authorized_key", "ssh_authorized_keys"),
        ("hostnmae", "hostname"),
        ("user", ""),
        ("my_own_program", ""),
    ] {
        let problem = check(format!("#cloud-config\n{key}: hunter2\n").as_bytes());
        let Some(problem) = problem else {
            assert!(meant.is_empty(), "{key}");
            continue;
        };
        assert!(problem.is_doubt && !meant.is_empty(), "{key}: {problem:?}");
        let words = format!("`{key}`; is `{meant}` meant?");
        assert!(problem.message.contains(&words), "{key}: {problem:?}");
        assert!(!problem.message.contains("hunter2"), "{problem:?}");
    }
}

#[test]
fn the_marks_of_a_template_are_checked() {
    let template =
        |body: &str| check(format!("## template: jinja\n#cloud-config\n{body}").as_bytes());
    for body in [
        "a: {{ v1.x }}\n",
        "a: {{ '}}' }} {# a '{{ #}\n",
        "{% if x %}\na: b\n{% elif y %}\nc: d\n{%- endif -%}\n",
        "{% for i in x %}{{ i }}{% endfor %}\n",
        "{% set a = 1 %}{% raw %}{{ {% if {% endraw %}\n",
        "a: {b: {c: d}}\n",
    ] {
        assert_eq!(template(body), None, "{body}");
    }
    for (body, words) in [
        ("a: {{ hunter2\n", "a `{{` without `}}` (line 3)"),
        ("a: b\nc: {% if hunter2\n", "a `{%` without `%}` (line 4)"),
        ("{# hunter2\n", "a `{#` without `#}` (line 3)"),
        ("a: {{ }}\n", "empty"),
        (
            "{% if hunter2 %}\na: b\n",
            "`{% if %}` without `{% endif %}` (line 3)",
        ),
        ("{% endif %}\n", "not open"),
        ("{% for a in b %}{% endif %}\n", "not open"),
    ] {
        let problem = template(body).expect(body);
        assert!(problem.message.contains(words), "{body}: {problem:?}");
        assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
    }
    let part = "Content-Type: text/jinja2\n\n## template: jinja\n#cloud-config\na: {{";
    assert!(check(message(&[part]).as_bytes()).is_some());
}

#[test]
fn an_entry_of_an_archive_with_a_type_that_cloud_init_does_not_know_is_a_doubt() {
    let archive = |entries: &str| check(format!("#cloud-config-archive\n{entries}").as_bytes());
    let unknown = "- {type: text/cloudconfig, content: 'a: b'}\n";
    let problem = archive(&format!("- 'a: b'\n{unknown}")).unwrap();
    assert!(
        problem.is_doubt && problem.message.contains("entry 2"),
        "{problem:?}"
    );
    let handler = "- {type: text/part-handler, content: import x}\n";
    assert_eq!(archive(&format!("{unknown}{handler}")), None);
    for kind in [
        "text/x-include-url",
        "text/jinja2",
        "text/plain",
        "TEXT/Cloud-Config; charset=utf-8",
    ] {
        assert_eq!(
            archive(&format!("- {{type: '{kind}', content: 'a: b'}}\n")),
            None,
            "{kind}"
        );
    }
    let script = archive("- {type: text/x-shellscript, content: \"#!/bin/sh\\r\\n\"}\n");
    assert!(script.is_some_and(|refused| !refused.is_doubt));
}

#[test]
fn public_keys_are_told_from_other_lines() {
    let key = |kind: &str| {
        let mut blob = u32::try_from(kind.len()).unwrap().to_be_bytes().to_vec();
        blob.extend_from_slice(kind.as_bytes());
        let fields = if kind == "ssh-ed25519" { 1 } else { 2 };
        for _ in 0..fields {
            blob.extend_from_slice(&[0, 0, 0, 2, 7, 7]);
        }
        format!("{kind} {}", BASE64.encode(blob))
    };
    for kind in [
        "ssh-rsa",
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "sk-ssh-ed25519@openssh.com",
        "ssh-ed25519-cert-v01@openssh.com",
    ] {
        let key = key(kind);
        assert!(is_public_key(&key), "{key}");
        assert!(is_public_key(&format!("{key} me@desk with words")), "{key}");
        let options =
            "from=\"10.0.0.1,10.0.0.2\",command=\"echo \\\"hello, there\\\"\",no-X11-forwarding";
        assert!(is_public_key(&format!("{options} {key} me")), "{key}");
    }
    let (_, data) = key("ssh-ed25519")
        .split_once(' ')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    for line in [
        "~/.ssh/id.pub",
        "gh:somebody",
        "ssh-ed25519",
        "ssh-ed25519 AAAA me@desk",
        &data,
        &format!("ssh-rsa {data}"),
        &format!("ssh-ed25519 {}", &data[..20]),
        &key("ssh-rsa")[..key("ssh-rsa").len() - 8],
        &format!("ssh-ed25519 {data}AAAA"),
        &format!("- {}", key("ssh-ed25519")),
        &format!("no-ptyy,no-pty {}", key("ssh-ed25519")),
        "# a note",
        "",
    ] {
        assert!(!is_public_key(line), "{line}");
    }
}

#[test]
fn host_names_fit_a_linux_guest() {
    let label = "a".repeat(63);
    for name in ["web", &label, "web.example.com"] {
        assert!(is_hostname(name), "{name}");
    }
    for name in [
        "a".repeat(64),
        format!("{label}.b"),
        format!("{}.b", "a".repeat(64)),
        "a..b".to_owned(),
        "a-.b".to_owned(),
        "a.b.".to_owned(),
        "web_1".to_owned() + "_",
    ] {
        assert!(!is_hostname(&name), "{name}");
    }
}

#[test]
fn archives_within_archives_are_read_once_however_deep_they_are() {
    let mut nested = "#cloud-config-archive\n- hunter2\n".to_owned();
    for _ in 0..400 {
        let indented: Vec<_> = nested.lines().map(|line| format!("  {line}\n")).collect();
        nested = format!("#cloud-config-archive\n- |\n{}", indented.concat());
    }
    assert_eq!(check(nested.as_bytes()), None);
}
