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
        "#Cloud-Config\npackages: [a]\na: {packages: [b]}\n",
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
        "#!/bin/sh\r\necho\r\n",
        "#cloud-boothook\r\n#!/bin/sh\r\n",
        "#cloud-config\nruncmd:\n- [a, 5]\n- b\n-\nbootcmd:\nwrite_files: [{path: /a}]\n",
        "#cloud-config\na: \"b\tc\" # d\te\nf: |\n  g\th\n  \ti\n",
        "#cloud-config-jsonp\n[{\"op\": \"add\", \"path\": \"/a\", \"value\": null}]\n",
        "## template: jinja\n#!/bin/sh\necho {{ v1.x }}\n",
        "#cloud-config\nwrite_files:\n- content: 'MIME-Version: 1.0'\n  path: /a\n",
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
    let gzip_part = |text: &[u8]| {
        let data = BASE64.encode(text);
        format!("Content-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n{data}\n")
    };
    let (packed, unpackable) = (
        gzip_part(&gzip(b"#cloud-config\na: b\n")),
        gzip_part(b"hunter2"),
    );
    for parts in [
        vec![good, script],
        vec![&whole],
        vec!["\n#cloud-config\na: b"],
        vec!["Content-Type: text/x-shellscript\r\n\r\n#!/bin/sh\r\necho\r\n"],
        vec!["Content-Type: text/x-shellscript\n\n#cloud-config\na: b\n"],
        vec!["Content-Type: text/cloud-config\n#cloud-config\na: b\n"],
        vec!["Content-Type: text/cloud-config\nMerge-Type: list()\n\n"],
        vec![
            "Content-Type: text/cloud-config\nContent-Transfer-Encoding: quoted-printable\n\na: =5Bb=\n]\n",
        ],
        vec![
            "Content-Type: multipart/mixed; boundary=\"c\"\n\n--c\nContent-Type: text/cloud-config\n\na: b\n--c--",
        ],
        vec!["Content-Type: text/cloud-config\nContent-Transfer-Encoding: 7bit \n\na: b\n"],
        vec![
            "Content-Type: multipart/mixed; boundary=\"c;d\"\n\n--c;d\nContent-Type: text/cloud-config\n\na: b\n--c;d--",
        ],
        vec![
            "Content-Type: multipart/mixed; boundary*=us-ascii''c%2Bd\n\n--c+d\nContent-Type: text/cloud-config\n\na: b\n--c+d--",
        ],
        vec![
            "Content-Type: multipart/mixed; boundary*0=c; boundary*1=\"d\"\n\n--cd\nContent-Type: text/cloud-config\n\na: b\n--cd--",
        ],
        vec!["Content-Type: text/cloud-config-archive\n\n- '#!/bin/sh'\n"],
        vec!["Content-Type: text/x-include-url\n\nhttps://example.com/a\n"],
        vec![&packed],
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
        "Content-Type: text/x-shellscript\n\n\n#!/bin/sh\necho hunter2",
        "Content-Type: text/x-shellscript\n\necho hunter2",
        "Content-Type: text/x-shellscript-per-boot\n\necho hunter2",
        "Content-Type: text/x-shellscript-per-day\n\n#!/bin/sh\necho hunter2",
        "Content-Type: text/cloud-boothook\n\n# a\n#!/bin/sh\necho hunter2",
        "Content-Type: text/x-shell-script\n\nhunter2",
        "Content-Type: text/jinja2\n\n#cloud-config\npassword: hunter2",
        "Content-Type: text/cloud-config\npassword: hunter2",
        "Content-Type: text/cloud-config\n\nwrite_file: hunter2",
        "Content-Type: text/cloud-config\nContent-Transfer-Encoding: base64\n\na: hunter2",
        "Content-Type: text/cloud-config\nContent-Transfer-Encoding: quoted-printable\n\na: =5Bhunter2\n",
        "Content-Type: text/cloud-config\nContent-Transfer-Encoding: \"base64\"\n\naHVudGVyMg==",
        "Content-Type: text/cloud-config\nContent-Transfer-Encoding: base64 \n\nYTogYgo=",
        "Content-Type: text/cloud-config-jsonp\n\n[\"hunter2\"]",
        "Content-Type: text/cloud-config-archive\n\n- [hunter2\n",
        "Content-Type: application/octet-stream\n\n#cloud-config\na: hunter2\n",
        "Content-Type: multipart/mixed; boundary=\"c\"\n\n--c\nContent-Type: text/cloud-config\n\n[hunter2\n--c--",
        &broken,
        &unpackable,
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
        (b"#!/bin/sh\recho hunter2\r", "carriage return"),
        (b"\n#!/bin/sh\necho hunter2\n", "white space"),
        (b"  #!/bin/sh\necho hunter2\n", "white space"),
        (b"#cloud-boothook\necho hunter2\n", "does not begin with `#!`"),
        (b"#cloud-boothook\n# a\n#!/bin/sh\nhunter2\n", "does not begin with `#!`"),
        (b"#cloud-config\npassword:\thunter2\n", "a tab where YAML has spaces (line 2)"),
        (b"#cloud-config\n{\n\t\"password\": \"hunter2\"\n}\n", "(line 3)"),
        (b"#cloud-config\na: {b:\thunter2}\n", "a tab"),
        (b"#cloud-config\na: hunter2\t# b\n", "a tab"),
        (b"#cloud-config\na: b\thunter2\n", "a tab"),
        (b"#cloud-config\nruncmd: hunter2\n", "`runcmd` is not a list"),
        (b"#cloud-config\nwrite_files: {path: /hunter2}\n", "`write_files` is not a list"),
        (b"#cloud-config\nruncmd:\n- a\n- echo b: hunter2\n", "entry 2 of its `runcmd`"),
        (b"#cloud-config\nbootcmd: [true]\n", "entry 1 of its `bootcmd`"),
        (b"#cloud-config\nwrite_files: [{content: hunter2}]\n", "has no `path`"),
        (b"#cloud-config-archive\n- '#cloud-config-archive'\n", "within an archive"),
        (b"#cloud-config-archive\n- \"#include\\nhttps://hunter2\"\n", "within an archive"),
        (b"#cloud-config-archive\n- {type: text/x-include-url, content: 'https://hunter2'}\n", "within an archive"),
        (b"#cloud-config-archive\n- 7\n", "neither a text nor a mapping"),
        (b"#cloud-config-archive\n- {type: cloud-config, content: hunter2}\n", "its `type`"),
        (b"#cloud-config-archive\n- {content: {password: hunter2}}\n", "its `content`"),
        (b"#cloud-config-archive\n- {content: 'a: b', x: 7}\n", "not a text"),
        (b"#cloud-config-jsonp\n[{\"op\": \"plus\", \"path\": \"/hunter2\"}]\n", "entry 1 of its JSON patch"),
        (b"#cloud-config-jsonp\n[{\"op\": \"remove\", \"path\": \"hunter2\"}]\n", "entry 1 of its JSON patch"),
        (b"#cloud-config-jsonp\n[{\"op\": \"add\", \"path\": \"/hunter2\"}]\n", "entry 1 of its JSON patch"),
        (b"## template: jinja\n#include\nhttps://hunter2\n", "jinja"),
        (b"## template: jinja\n#cloud-config-archive\n- hunter2\n", "jinja"),
        (b"## template: jinja\n#cloud-config\n[hunter2\n", "not YAML"),
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
fn a_text_whose_lines_were_joined_is_refused() {
    for text in [
        "#cloud-config packages: [hunter2] runcmd: - systemctl enable --now nginx\n",
        "#cloud-config\\npackages: [hunter2]\\n",
        "#cloud-config \\npackages: [hunter2]\\n",
        "\n#Cloud-Config {packages: [hunter2]}\n\n",
        "#cloud-config # hunter2 packages: [a]\n",
        "#cloud-config users:\n  name: hunter2\n",
        "#cloud-config-archive - type: hunter2\n",
        "#cloud-config-archive\\n- type: hunter2\n",
        "#cloud-boothook #!/bin/sh echo hunter2\n",
        "#part-handler import hunter2\n",
        "#include\\nhttps://hunter2\\n",
        "#!/bin/sh apt-get install hunter2\n",
        "#!/bin/bash set -e if hunter2; then\n  a\nfi\n",
        "#!/bin/bash -e apt-get install hunter2",
        "#!/usr/bin/env bash echo hunter2\n",
        "#!/bin/sh\\necho hunter2\\n",
        "## template: jinja\n#cloud-config packages: [hunter2]\n",
        "MIME-Version: 1.0 Content-Type: text/cloud-config #cloud-config hunter2: a\n",
        "Content-Type: multipart/mixed; boundary=\"b\"\\nMIME-Version: 1.0\\nhunter2\n",
        "#cloud-config-archive\n- '#cloud-config packages: [hunter2]'\n",
    ] {
        let problem = check(text.as_bytes()).expect(text);
        let words = "stands on it, behind";
        assert!(problem.message.contains(words), "{text}: {problem:?}");
        assert!(!problem.is_doubt, "{text}");
        assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
    }
    let messages = [
        "#cloud-config packages: [a]",
        "#cloud-config # users: of a\na: b",
    ];
    assert!(check(message(&[messages[0]]).as_bytes()).is_some());
    for text in [
        "#cloud-config",
        "#cloud-config # nothing yet, see https://example.com\n",
        "#cloud-config of the web servers\n",
        "#cloud-config $(config)\n",
        "#cloud-config note: of a\npackages: [a]\n",
        messages[1],
        "#cloud-config\rpackages: [a]\r",
        "#include https://example.com/a\n",
        "#include-once https://example.com/a\n",
        "#cloud-config-jsonp [{\"op\": \"remove\", \"path\": \"/a\"}]",
        "#cloud-config # vim: ft=yaml\n",
        "#cloud-config # TODO: all of it",
        "#!/bin/sh",
        "#!/bin/sh -e\n",
        "#!/bin/bash +x\necho\n",
        "#!/usr/bin/env bash",
        "#!/usr/bin/env -S bash -e\necho\n",
        "#!/usr/bin/perl -w\nprint;\n",
        "#!/bin/bash -e\necho\n",
    ] {
        assert_eq!(check(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn a_network_configuration_in_a_cloud_config_is_a_doubt() {
    let text = "#cloud-config\nnetwork: {version: 2, ethernets: {hunter2: {dhcp4: true}}}\n";
    let problem = check(text.as_bytes()).unwrap();
    assert!(problem.is_doubt, "{problem:?}");
    assert!(
        problem.remedy.contains("guest.networkConfig"),
        "{problem:?}"
    );
    assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
}

#[test]
fn what_another_program_may_read_is_a_doubt() {
    for text in [
        "#ps1_sysnative\nWrite-Host",
        "rem cmd\r\ndir",
        "version: v1alpha1\nmachine:\n  type: worker\n",
        "Hi.\n",
        "#upstart-job\nstart on x\n",
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
            "e.dhcp4` is not what",
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
            "e.nameservers` is not what",
        ),
        (
            "version: 2\nethernets: {e: {gateway4: 10.0.0}}\n",
            "e.gateway4` is not what",
        ),
        ("auto eth0\niface eth0 inet dhcp\n", "not a mapping"),
        ("\u{feff}version: 2\nethernets: {}\n", "byte order mark"),
    ] {
        let problem = check_network(text).unwrap_or_else(|| panic!("{text}"));
        assert!(problem.message.contains(words), "{text}: {problem:?}");
    }
}

#[test]
fn each_entry_of_version_1_is_checked() {
    for entry in [
        "{type: physical, name: eth0, mac_address: '52:54:00:12:34:56', subnets: [{type: dhcp}]}",
        "{type: physical, name: e, subnets: [{type: static, address: 192.0.2.7/24, gateway: 192.0.2.1, dns_nameservers: [192.0.2.1]}]}",
        "{type: physical, name: e, subnets: [{type: static6, address: '2001:db8::7/64'}, {type: ipv6_slaac}, {type: manual}]}",
        "{type: physical, name: e, subnets: [{type: static, address: 192.0.2.7, netmask: 255.255.255.0}]}",
        "{type: physical, name: e, subnets: [{type: static, address: $(ip)/24, gateway: $(gateway)}]}",
        "{type: physical, name: e, subnets:}",
        "{type: bond, name: b, bond_interfaces: [e, f], params: {bond-mode: active-backup}}",
        "{type: bridge, name: b, bridge_interfaces: [e]}",
        "{type: vlan, name: e.5, vlan_link: e, vlan_id: 5}",
        "{type: loopback, name: lo}",
        "{type: nameserver, address: [192.0.2.1, '2001:db8::1'], search: [a.b]}",
        "{type: nameserver, address: 192.0.2.1}",
        "{type: route, destination: 198.51.100.0/24, gateway: 192.0.2.1}",
        "{type: route, destination: 198.51.100.0, netmask: 255.255.255.0, gateway: 192.0.2.1}",
    ] {
        let text = format!("version: 1\nconfig:\n- {entry}\n");
        assert_eq!(check_network(&text), None, "{text}");
    }
    for (entry, words) in [
        ("physical", "has no `type`"),
        ("{name: hunter2}", "has no `type`"),
        ("{type: ethernet, name: hunter2}", "has no `type`"),
        ("{type: physical}", "has no `name`"),
        ("{type: physical, name:}", "has no `name`"),
        ("{type: bond, name: b}", "has no `bond_interfaces`"),
        (
            "{type: bond, name: b, bond_interfaces: hunter2}",
            "not a list",
        ),
        ("{type: vlan, name: v, vlan_link: e}", "has no `vlan_id`"),
        (
            "{type: vlan, name: v, vlan_link: e, vlan_id: 4095}",
            "from 0 to 4094",
        ),
        (
            "{type: nameserver, addresses: [192.0.2.1]}",
            "has no `address`",
        ),
        ("{type: nameserver, address: [hunter2]}", "`address`"),
        ("{type: route, gateway: 192.0.2.1}", "has no `destination`"),
        ("{type: route, destination: hunter2}", "`destination`"),
        (
            "{type: route, destination: 192.0.2.0/24, gateway: 192.0.2}",
            "`gateway`",
        ),
        (
            "{type: physical, name: e, mac_address: hunter2}",
            "`mac_address`",
        ),
        (
            "{type: physical, name: e, subnets: {type: dhcp}}",
            "not a list",
        ),
        (
            "{type: physical, name: e, subnets: [{type: dchp}]}",
            "subnet without a `type`",
        ),
        (
            "{type: physical, name: e, subnets: [dhcp]}",
            "subnet without a `type`",
        ),
        (
            "{type: physical, name: e, subnets: [{type: static}]}",
            "without an `address`",
        ),
        (
            "{type: physical, name: e, subnets: [{type: static, address: 192.0.2.7/33}]}",
            "`address`",
        ),
        (
            "{type: physical, name: e, subnets: [{type: static, address: 192.0.2.7, gateway: x}]}",
            "`gateway`",
        ),
        (
            "{type: physical, name: e, subnets: [{type: dhcp, dns_nameservers: [x]}]}",
            "`dns_nameservers`",
        ),
        (
            "{type: physical, name: e, subnets: [{type: dhcp, routes: [{network: x}]}]}",
            "`network`",
        ),
    ] {
        let text = format!("version: 1\nconfig:\n- {{type: loopback, name: lo}}\n- {entry}\n");
        let problem = check_network(&text).unwrap_or_else(|| panic!("{text}"));
        assert!(problem.message.contains(words), "{text}: {problem:?}");
        assert!(
            problem.message.contains("entry 2 of its `config`"),
            "{problem:?}"
        );
        assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
    }
}

#[test]
fn keys_and_host_names_of_a_cloud_config_are_checked() {
    let key = ed25519();
    assert!(is_public_key(&key));
    let label = "a".repeat(64);
    let long = format!("{0}.{0}", "a".repeat(40));
    for config in [
        format!("ssh_authorized_keys: ['{key} me', '# a note', '']"),
        format!("ssh_authorized_keys:\n- |\n  {key}\n  {key} me"),
        "ssh_authorized_keys: [$(key), '{{ ds.key }}',]".to_owned(),
        "ssh_authorized_keys:".to_owned(),
        format!(
            "users: [default, {{name: a, ssh_authorized_keys: ['{key}']}}, {{name: b, ssh_authorized_keys: '{key}'}}]"
        ),
        format!("users: [{{name: a, ssh-authorized-keys: {{a: '{key}'}}}}]"),
        "hostname: web-1\nfqdn: web-1.example.com.".to_owned(),
        "hostname: $(name)\nfqdn: $(name).example.com".to_owned(),
        format!("fqdn: {long}"),
        "hostname: 17".to_owned(),
    ] {
        let text = format!("#cloud-config\n{config}\n");
        assert_eq!(check(text.as_bytes()), None, "{text}");
    }
    let short = &key[..key.len() - 8];
    for (config, words) in [
        (
            format!("ssh_authorized_keys: ['{key}', hunter2]"),
            "entry 2 of its `ssh_authorized_keys`",
        ),
        (
            format!("ssh_authorized_keys: ['{short}']"),
            "entry 1 of its `ssh_authorized_keys`",
        ),
        (
            "ssh_authorized_keys: ['-----BEGIN OPENSSH PRIVATE KEY-----']".to_owned(),
            "entry 1 of",
        ),
        (
            "ssh_authorized_keys: [~/.ssh/hunter2.pub]".to_owned(),
            "entry 1 of",
        ),
        ("ssh_authorized_keys: [[hunter2]]".to_owned(), "entry 1 of"),
        (
            format!("users: [default, {{name: a, ssh_authorized_keys: ['{key}', hunter2]}}]"),
            "entry 2 of `ssh_authorized_keys` of entry 2 of its `users`",
        ),
        (
            "users: [{name: a, ssh-authorized-keys: hunter2}]".to_owned(),
            "entry 1 of its `users`",
        ),
        (format!("hostname: {label}"), "`hostname`"),
        (format!("hostname: {long}"), "`hostname`"),
        ("hostname: web_".to_owned(), "`hostname`"),
        ("hostname: ''".to_owned(), "`hostname`"),
        (format!("fqdn: {label}.example.com"), "`fqdn`"),
        ("fqdn: a..b".to_owned(), "`fqdn`"),
    ] {
        let text = format!("#cloud-config\n{config}\n");
        let problem = check(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
        assert!(problem.message.contains(words), "{text}: {problem:?}");
        assert!(!problem.is_doubt, "{problem:?}");
        assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
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
        "version: 2\nethernets: {e: {}}\nvlans: {v: {id: 5, link: e, routes: [{to: 0.0.0.0/0, via: 192.0.2.1, on-link: true}]}}\n",
    ] {
        assert_eq!(check_network(text), None, "{text}");
    }
}

/// The answers of netplan 0.106 to one device each.
#[test]
fn values_are_netplans_or_refused() {
    let judged =
        |device: &str| check_network(&format!("version: 2\nethernets: {{e: {{{device}}}}}\n"));
    for device in [
        "gateway4: 192.0.2.1, gateway6: 'fe80::1', mtu: '1500', wakeonlan: on",
        "match: {macaddress: '52:54:00:AB:34:56'}, set-name: e",
        "nameservers: {addresses: [192.0.2.1, 'fe80::1'], search: [a.b]}",
        "routes: [{to: default, via: 192.0.2.1}, {to: 192.0.2.9, via: 192.0.2.1, metric: 5}]",
        "routes: [{to: 198.51.100.0/24, scope: link}, {to: 198.51.100.0/24, type: blackhole}]",
        "routes: [{to: 198.51.100.0/24}, {to: default, via: 192.0.2.1/24, type: unicast}], optional-addresses: [dhcp4]",
        "macaddress: \"52:54:00:12:34:56\"",
        "macaddress: 52:54:00:ab:34:56",
        "routes: [{to: $(net), via: $(gateway)}], link-local: [ipv4], dhcp-identifier: mac",
        "addresses: [192.0.2.7/1], dhcp4-overrides: {use-dns: false, route-metric: 5, use-domains: route}",
        "routes: [{to: default, via: 192.0.2.1, scope: global}, {to: 198.51.100.0/24, scope: global, type: throw}]",
        "routing-policy: [{from: 192.0.2.7, table: 5, priority: 9}, {to: 'fd00::/8', from: '::1', mark: 7}]",
        "routing-policy: [{from: $(address), to: 192.0.2.0/24}]",
    ] {
        assert_eq!(judged(device), None, "{device}");
    }
    for (device, place) in [
        ("addresses: [192.0.2.7/0]", "`addresses`"),
        ("gateway4: 'fe80::1'", "e.gateway4"),
        ("gateway6: 192.0.2.1", "e.gateway6"),
        ("gateway4: 192.0.2.1/24", "e.gateway4"),
        ("gateway4: [192.0.2.1]", "e.gateway4"),
        (
            "match: {macaddress: '52-54-00-12-34-56'}",
            "e.match.macaddress",
        ),
        (
            "match: {macaddress: '52:54:00:12:34'}",
            "e.match.macaddress",
        ),
        ("macaddress: hello", "e.macaddress"),
        ("macaddress: 525400123456", "e.macaddress"),
        ("set-name: e", "e.set-name` needs `match`"),
        (
            "nameservers: {addresses: 192.0.2.1}",
            "e.nameservers.addresses",
        ),
        (
            "nameservers: {addresses: [192.0.2.1/32]}",
            "e.nameservers.addresses",
        ),
        ("nameservers: {addresses: [a.b]}", "e.nameservers.addresses"),
        ("nameservers: {search: a.b}", "e.nameservers.search"),
        ("routes: {to: default, via: 192.0.2.1}", "e.routes"),
        (
            "routes: [{via: 192.0.2.1}]",
            "entry 1 of `ethernets.e.routes",
        ),
        (
            "routes: [{to: default, via: 192.0.2.1, type: x}]",
            "e.routes.type",
        ),
        ("optional-addresses: [x]", "e.optional-addresses"),
        ("macaddress: 52:54:00:12:34:56", "takes for a number"),
        ("routes: [{to: everywhere, via: 192.0.2.1}]", "entry 1"),
        ("routes: [{to: default, via: gateway}]", "entry 1"),
        ("routes: [{to: 198.51.100.0/24, via: 'fe80::1'}]", "entry 1"),
        (
            "routes: [{to: default, via: 192.0.2.1, metric: high}]",
            "e.routes.metric",
        ),
        (
            "routes: [{to: default, via: 192.0.2.1, metric: -1}]",
            "e.routes.metric",
        ),
        (
            "routes: [{to: default, via: 192.0.2.1, scope: world}]",
            "e.routes.scope",
        ),
        ("routes: [{to: 198.51.100.0/24, scope: global}]", "entry 1"),
        (
            "routes: [{to: default, via: 192.0.2.1}, {to: default, scope: global, type: unicast}]",
            "entry 2",
        ),
        ("routing-policy: [{table: 5}]", "entry 1 of"),
        (
            "routing-policy: [{from: 192.0.2.7}, {from: everywhere}]",
            "entry 2 of `ethernets.e.routing-policy`",
        ),
        ("routing-policy: [{to: 5}]", "entry 1 of"),
        (
            "routing-policy: [{from: 192.0.2.7, to: 'fd00::/8'}]",
            "entry 1 of",
        ),
        (
            "routing-policy: [{from: 192.0.2.7, table: main}]",
            "e.routing-policy.table",
        ),
        ("mtu: large", "e.mtu"),
        ("mtu: -5", "e.mtu"),
        ("mtu: 1500.5", "e.mtu"),
        ("renderer: systemd", "e.renderer"),
        ("link-local: [ipv5]", "e.link-local"),
        ("link-local: ipv4", "e.link-local"),
        ("dhcp-identifier: uuid", "e.dhcp-identifier"),
        (
            "dhcp4-overrides: {use-dns: maybe}",
            "e.dhcp4-overrides.use-dns",
        ),
        (
            "dhcp4-overrides: {route-metric: x}",
            "e.dhcp4-overrides.route-metric",
        ),
        ("interfaces: [a]", "has a `interfaces`"),
        ("parameters: {mode: 802.3ad}", "has a `parameters`"),
        ("dhcp4:\ttrue", "a tab"),
    ] {
        let problem = judged(device).unwrap_or_else(|| panic!("{device}"));
        assert!(problem.message.contains(place), "{device}: {problem:?}");
        assert!(!problem.is_doubt, "{device}");
    }
}

#[test]
fn devices_name_what_is_defined() {
    let judged = |sections: &str| check_network(&format!("version: 2\n{sections}\n"));
    let ethernets = "ethernets: {x: {}, y: {}}\n";
    for sections in [
        "bonds: {b: {interfaces: [x], parameters: {mode: 802.3ad}}}\nvlans: {v: {id: 4094, link: b}}",
        "bridges: {b: {interfaces: [x, y]}}",
        "bridges: {b: {interfaces: [$(card)]}}",
        "bridges: {b: {interfaces: [patch0], openvswitch: {}}}",
        "tunnels: {t: {mode: gre, local: 192.0.2.1, remote: 192.0.2.2}}",
        "bonds: {b: {interfaces: [x]}}\nbridges: {c: {interfaces: [b, v]}}\nvlans: {v: {id: 5, link: b}}",
    ] {
        assert_eq!(
            judged(&format!("{ethernets}{sections}")),
            None,
            "{sections}"
        );
    }
    for (sections, words) in [
        ("bonds: {b: {interfaces: [z]}}", "`bonds.b` names a device"),
        ("bridges: {b: {interfaces: x}}", "bridges.b.interfaces"),
        (
            "bonds: {b: {interfaces: [x], parameters: {mode: lacp}}}",
            "bonds.b.parameters.mode",
        ),
        (
            "bridges: {b: {interfaces: [x], parameters: {stp: maybe}}}",
            "bridges.b.parameters.stp",
        ),
        (
            "bridges: {b: {interfaces: [x]}, c: {interfaces: [x]}}",
            "`bridges.c` has a device",
        ),
        ("vlans: {v: {link: x}}", "`vlans.v` has no `id`"),
        ("vlans: {v: {id: 5}}", "`vlans.v` has no `link`"),
        ("vlans: {v: {id: 5, link: z}}", "`vlans.v` names a device"),
        ("vlans: {v: {id: 5000, link: x}}", "`vlans.v` has an `id`"),
        ("vlans: {v: {id: five, link: x}}", "`vlans.v` has an `id`"),
        (
            "wifis: {w: {dhcp4: true}}",
            "`wifis.w` has no `access-points`",
        ),
        (
            "tunnels: {t: {local: 192.0.2.1}}",
            "`tunnels.t` has no `mode`",
        ),
        (
            "tunnels: {t: {mode: gre7, local: 192.0.2.1}}",
            "tunnels.t.mode",
        ),
        (
            "bridges: {b: {interfaces: [c]}, c: {interfaces: [b]}}",
            "a part of itself",
        ),
        ("bridges: {b: {interfaces: [b]}}", "a part of itself"),
        (
            "bonds: {d: {interfaces: [v]}}\nbridges: {c: {interfaces: [d]}}\nvlans: {v: {id: 5, link: c}}",
            "a part of itself",
        ),
        ("bridges: {x: {}}", "is defined in two sections"),
        ("renderer: systemd", "`renderer`"),
    ] {
        let problem =
            judged(&format!("{ethernets}{sections}")).unwrap_or_else(|| panic!("{sections}"));
        assert!(problem.message.contains(words), "{sections}: {problem:?}");
    }
}

#[test]
fn a_key_that_resembles_one_of_cloud_inits_is_a_doubt() {
    for (key, meant) in [
        ("write_file", "write_files"),
        ("write-files", "write_files"),
        ("ssh-authorized-keys", "ssh_authorized_keys"),
        ("package-update", "package_update"),
        ("ca-certs", ""),
        ("grub-dpkg", ""),
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
    let config = archive("- {type: 'TEXT/Cloud-Config; charset=utf-8', content: 'a: b'}\n");
    assert_eq!(config, None);
    let template = "## template: jinja\\n#cloud-config\\na: b";
    let template = archive(&format!(
        "- {{type: text/jinja2, content: \"{template}\"}}\n"
    ));
    assert_eq!(template, None);
    let plain = archive("- {type: text/plain, content: '#cloud-config'}\n");
    assert!(plain.is_some_and(|refused| refused.is_doubt));
    let script = archive("- {type: text/x-shellscript, content: \"#!sh\\n\"}\n");
    assert!(script.is_some_and(|refused| !refused.is_doubt));
}

fn field(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], bytes].concat()
}

/// A key of a type with these fields, as a line has it.
fn key_of(kind: &str, fields: &[&[u8]]) -> String {
    let fields: Vec<_> = fields.iter().map(|one| field(one)).collect();
    let blob = [field(kind.as_bytes()), fields.concat()].concat();
    format!("{kind} {}", BASE64.encode(blob))
}

/// A certificate of an Ed25519 key by another one.
fn certificate(kind: u32, authority: &[u8]) -> String {
    let name = "ssh-ed25519-cert-v01@openssh.com";
    let signature = [field(b"ssh-ed25519"), field(&[1; 64])].concat();
    let blob = [
        field(name.as_bytes()),
        field(&[9; 32]),
        field(&[7; 32]),
        7_u64.to_be_bytes().to_vec(),
        kind.to_be_bytes().to_vec(),
        field(b"me"),
        field(&field(b"root")),
        0_u64.to_be_bytes().to_vec(),
        u64::MAX.to_be_bytes().to_vec(),
        field(b""),
        field(&[field(b"permit-pty"), field(b"")].concat()),
        field(b""),
        field(&[field(b"ssh-ed25519"), field(authority)].concat()),
        field(&signature),
    ];
    format!("{name} {}", BASE64.encode(blob.concat()))
}

fn ed25519() -> String {
    key_of("ssh-ed25519", &[&[7; 32]])
}

/// A number of this many bits.
fn number(bits: usize) -> Vec<u8> {
    let mut number = vec![0xff; bits.div_ceil(8)];
    number[0] >>= (8 - bits % 8) % 8;
    if number[0] >= 0x80 {
        number.insert(0, 0);
    }
    number
}

/// The point from which the keys of curve P-256 are computed.
fn point() -> Vec<u8> {
    const GENERATOR: [u64; 8] = [
        0x6b17_d1f2_e12c_4247,
        0xf8bc_e6e5_63a4_40f2,
        0x7703_7d81_2deb_33a0,
        0xf4a1_3945_d898_c296,
        0x4fe3_42e2_fe1a_7f9b,
        0x8ee7_eb4a_7c0f_9e16,
        0x2bce_3357_6b31_5ece,
        0xcbb6_4068_37bf_51f5,
    ];
    let coordinates = GENERATOR.iter().flat_map(|part| part.to_be_bytes());
    std::iter::once(4).chain(coordinates).collect()
}

#[test]
fn public_keys_are_told_from_other_lines() {
    const ECDSA: &str = "ecdsa-sha2-nistp256";
    let rsa = |bits| key_of("ssh-rsa", &[&[1, 0, 1], &number(bits)]);
    let numbers: Vec<_> = [1024, 160, 1023, 1022].into_iter().map(number).collect();
    let numbers: Vec<&[u8]> = numbers.iter().map(Vec::as_slice).collect();
    let obsolete = key_of("ssh-dss", &numbers);
    for key in [
        ed25519(),
        rsa(1024),
        rsa(4096),
        obsolete.clone(),
        key_of(ECDSA, &[b"nistp256", &point()]),
        key_of("sk-ssh-ed25519@openssh.com", &[&[7; 32], b"ssh:"]),
        key_of(
            "sk-ecdsa-sha2-nistp256@openssh.com",
            &[b"nistp256", &point(), b"ssh:"],
        ),
    ] {
        assert!(is_public_key(&key), "{key}");
        assert!(is_public_key(&format!("{key} me@desk with words")), "{key}");
        let options =
            "from=\"10.0.0.1,10.0.0.2\",command=\"echo \\\"hello, there\\\"\",no-X11-forwarding";
        assert!(is_public_key(&format!("{options} {key} me")), "{key}");
        assert_eq!(is_obsolete_key(&key), key == obsolete, "{key}");
    }
    let whole = ed25519();
    assert!(is_certificate(&certificate(1, &[8; 32])) && !is_certificate(&whole));
    for options in [
        "restrict,pty,expiry-time=\"20301231\"",
        "expiry-time=\"203012312359Z\",tunnel=\"0\"",
        "cert-authority,principals=\"web,db\"",
        "permitopen=\"10.0.0.1:80\",permitopen=\"[::1]:*\",permitlisten=\"8080\"",
        "from=\"!10.0.0.1,10.0.0.0/8,*.example.com,2001:db8::/32\",environment=\"A=b c\"",
    ] {
        assert!(is_public_key(&format!("{options} {whole}")), "{options}");
    }
    let (_, data) = whole.split_once(' ').unwrap();
    let mut beside = point();
    beside[64] ^= 1;
    for line in [
        "~/.ssh/id.pub",
        "gh:somebody",
        "ssh-ed25519",
        "ssh-ed25519 AAAA me@desk",
        data,
        &format!("ssh-rsa {data}"),
        &format!("ssh-ed25519 {}", &data[..20]),
        &rsa(2048)[..rsa(2048).len() - 8],
        &format!("ssh-ed25519 {data}AAAA"),
        &format!("- {whole}"),
        &format!("no-ptyy,no-pty {whole}"),
        &key_of("ssh-ed25519", &[&[7; 31]]),
        &key_of("ssh-ed25519", &[&[7; 33]]),
        &key_of("ssh-ed25519", &[&[7; 32], b""]),
        &key_of("ssh-ed448", &[&[7; 57]]),
        &key_of("ssh-mine@example.com", &[&[7; 32], b""]),
        &key_of("sk-ssh-ed25519@openssh.com", &[&[7; 32]]),
        &rsa(1023),
        &rsa(16_392),
        &key_of("ssh-rsa", &[&[1, 0, 1], &[0xff; 256]]),
        &key_of("ssh-dss", &numbers[..3]),
        &key_of(ECDSA, &[b"nistp384", &point()]),
        &key_of("ecdsa-sha2-nistp384", &[b"nistp384", &point()]),
        &key_of("ecdsa-sha2-nistp224", &[b"nistp224", &point()]),
        &key_of(ECDSA, &[b"nistp256", &beside]),
        &key_of(ECDSA, &[b"nistp256", &point()[..64]]),
        &certificate(1, &[8; 32]),
        &certificate(3, &[8; 32]),
        &format!("expiry-time=\"tomorrow\" {whole}"),
        &format!("tunnel=\"x\" {whole}"),
        &format!("command=\"a\",command=\"b\" {whole}"),
        &format!("command=a {whole}"),
        &format!("permitopen=\"x\" {whole}"),
        &format!("from=\"10.0.0.1/33\" {whole}"),
        &format!("principals=\"a\" {whole}"),
        &format!("environment=\"a\" {whole}"),
        &format!("pty=\"a\" {whole}"),
        &certificate(1, &[8; 31]),
        &key_of("ssh-ed25519-cert-v01@openssh.com", &[&[9; 32], &[7; 32]]),
        "# a note",
        "",
    ] {
        assert!(!is_public_key(line), "{line}");
    }
    for config in [
        format!("ssh_authorized_keys: ['{whole}', '{obsolete}']"),
        format!("users: [{{name: a, ssh-authorized-keys: '{obsolete}'}}]"),
    ] {
        let text = format!("#cloud-config\n{config}\n");
        let doubt = check(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
        let is_named = doubt.is_doubt && doubt.message.contains("ssh-dss");
        assert!(is_named, "{doubt:?}");
    }
}

#[test]
fn a_key_that_is_there_twice_is_a_doubt_with_its_lines() {
    let of_user_data = |text: &str| check(format!("#cloud-config\n{text}").as_bytes());
    let of_network = |text: &str| check_network(text);
    for (doubt, key, lines) in [
        (
            of_user_data("runcmd: [a]\npackages: [x]\nruncmd: [b]\n"),
            "runcmd",
            (2, 4),
        ),
        (
            of_user_data("write_files:\n- path: /a\n  content: hunter2\n  path: /b\n"),
            "path",
            (3, 5),
        ),
        (of_user_data("a: {b: 1,\n  \"b\": 2}\n"), "b", (2, 3)),
        (of_user_data("a: {x: [{y: 1}], ? x : 2}\n"), "x", (2, 2)),
        (of_user_data("a: &l [1]\nb: *l\nb: 2\n"), "b", (3, 4)),
        (of_user_data("'hunter 2': 1\nhunter 2: 2\n"), "…", (2, 3)),
        (
            of_network(
                "version: 2\nethernets: {e: {dhcp4: true}}\nethernets: {f: {brand-new: 1}}\n",
            ),
            "ethernets",
            (2, 3),
        ),
    ] {
        let doubt = doubt.unwrap_or_else(|| panic!("{key}"));
        let (first, second) = lines;
        let words = format!("`{key}` of line {first} is there again in line {second}");
        let is_named = doubt.is_doubt && doubt.message.contains(&words);
        assert!(is_named, "{key}: {doubt:?}");
        assert!(!doubt.message.contains("hunter"), "{doubt:?}");
    }
    for text in [
        "a: {b: 1}\nc: {b: 1}\n",
        "a: &x {b: 1}\nc: {<<: *x, <<: *x, d: [b, b]}\n",
    ] {
        assert_eq!(of_user_data(text), None, "{text}");
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
    let problem = check(nested.as_bytes()).unwrap();
    assert!(problem.message.contains("within an archive"), "{problem:?}");
}

#[test]
fn packed_user_data_may_be_padded_and_have_several_members() {
    let first = gzip(b"#cloud-config\n");
    for zeros in [0, 1, 7, 512] {
        let packed = [
            &first[..],
            &vec![0; zeros],
            &gzip(b"a: b\n"),
            &vec![0; zeros],
        ]
        .concat();
        assert_eq!(check(&packed), None, "{zeros}");
        let wrong = [&first[..], &gzip(b"- a\n"), &vec![0; zeros]].concat();
        assert!(check(&wrong).is_some(), "{zeros}");
    }
    let with_rubbish = [&first[..], b"rubbish"].concat();
    assert!(check(&with_rubbish).is_some());
}

#[test]
fn messages_in_messages_are_looked_into_to_a_depth() {
    let mut part = "Content-Type: text/cloud-config\n\n[hunter2".to_owned();
    for depth in 0..6 {
        let boundary = format!("b{depth}");
        part = format!(
            "Content-Type: multipart/mixed; boundary={boundary}\nMIME-Version: 1.0\n\n--{boundary}\n{part}\n--{boundary}--"
        );
        assert_eq!(check(part.as_bytes()).is_some(), depth < 4, "{depth}");
    }
}

/// A message with `parts` parts at each of `levels` levels, each of the innermost of which is `leaf`.
fn nested_message(parts: usize, levels: usize, leaf: &str) -> String {
    let mut part = leaf.to_owned();
    for level in 0..levels {
        let repeated = format!("--b{level}\n{part}").repeat(parts);
        part = format!(
            "Content-Type: multipart/mixed; boundary=\"b{level}\"\n\n{repeated}--b{level}--\n"
        );
    }
    format!("MIME-Version: 1.0\n{part}")
}

fn assert_is_quick(bytes: &[u8], check: impl FnOnce(&[u8]) -> Option<InputProblem>) {
    let begin = std::time::Instant::now();
    let problem = check(bytes).unwrap();
    assert!(
        problem.is_doubt && problem.message.contains("than is checked"),
        "{problem:?}"
    );
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
}

#[test]
fn parts_that_unpack_to_much_have_one_budget_together() {
    let inner = format!("#cloud-config\nruncmd:\n- {}\n", "x".repeat(360_000));
    let packed = base64::Engine::encode(&BASE64, gzip(inner.as_bytes()));
    let leaf =
        format!("Content-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n{packed}\n");
    let message = nested_message(16, 3, &leaf);
    assert_is_quick(&gzip(message.as_bytes()), check);
}

#[test]
fn small_parts_have_one_budget_together() {
    let leaf = "Content-Type: text/cloud-config\n\na: b\n";
    assert_is_quick(nested_message(17, 2, leaf).as_bytes(), check);
    assert_eq!(check(nested_message(15, 2, leaf).as_bytes()), None);
}

#[test]
fn entries_that_an_alias_repeats_are_each_counted() {
    let content = format!("    a: {}\n", "x".repeat(180_000));
    let entry = format!("- &a\n  type: text/cloud-config\n  content: |\n{content}");
    for repeats in [15, 2000] {
        let archive = format!("#cloud-config-archive\n{entry}{}", "- *a\n".repeat(repeats));
        assert_is_quick(archive.as_bytes(), check);
    }
}

#[test]
fn a_text_that_repeats_itself_is_a_doubt() {
    let mut bomb = "#cloud-config\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..8 {
        let before = level - 1;
        let repeated = format!("*a{before},").repeat(9);
        bomb.push_str(&format!("a{level}: &a{level} [{repeated}*a{before}]\n"));
    }
    assert_is_quick(bomb.as_bytes(), check);
    let network = bomb.replace("#cloud-config", "version: 2");
    assert_is_quick(network.as_bytes(), |bytes| {
        check_network(std::str::from_utf8(bytes).unwrap())
    });
}

#[test]
fn many_quoted_digits_are_looked_at_once() {
    let words: Vec<_> = (0..20_000)
        .map(|number| format!("'10:0:{}:{}'", number / 60, number % 60))
        .collect();
    let text = format!(
        "version: 2\nethernets:\n  e0:\n    addresses: [{}]\n",
        words.join(",")
    );
    let begin = std::time::Instant::now();
    assert!(check_network(&text).is_some());
    assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
}

#[test]
fn a_short_input_that_becomes_long_is_remembered_and_takes_a_turn() {
    use std::io::Write as _;

    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let bulk = "# bulk\n".repeat(90_000);
    packer
        .write_all(format!("#cloud-config\n{bulk}").as_bytes())
        .unwrap();
    let packed = packer.finish().unwrap();
    assert!(packed.len() > SHORT || !is_small(&packed));
    let bombs: [&[u8]; 4] = [
        &packed,
        b"Mime-Version: 1.0\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n",
        b"#cloud-config-archive\n- '#!/bin/sh'\n",
        b"#cloud-config\na: &a [x, x]\nb: [*a, *a]\n",
    ];
    for bytes in bombs {
        assert!(!is_checked(bytes));
        let found = check(bytes);
        assert!(is_checked(bytes));
        assert_eq!(check(bytes), found);
    }
    assert!(is_checked(b"#cloud-config\nhostname: a\n"));
    assert!(is_network_checked("version: 2\n"));
    assert!(!is_network_checked("a: &a [x]\nb: [*a, *a]\n"));
}

/// As `cc_write_files.py` of cloud-init 24.1 reads them.
#[test]
fn a_file_is_written_only_if_its_content_has_its_encoding() {
    let config = |encoding: &str, content: &str| {
        let text = format!(
            "#cloud-config\nwrite_files:\n- {{path: /a, content: x}}\n- path: /b\n  encoding: {encoding}\n  \
             content: '{content}'\n"
        );
        check(text.as_bytes())
    };
    for (encoding, content) in [
        ("b64", "aGVsbG8="),
        ("Base64 ", "aGVs bG8h"),
        ("base64", ""),
        ("gz+b64", "H4sIAAAAAAAA"),
        ("gzip+base64", "H4sIAAAAAAAA"),
        ("text/plain", "hello"),
        ("''", "hello"),
        ("gzip", "hello"),
        ("b64", "$(DATA)"),
    ] {
        assert_eq!(config(encoding, content), None, "{encoding} {content}");
    }
    for (encoding, content, words) in [
        ("b64", "hello", "is said to be base64, and is not"),
        ("base64", "aGVsbG8", "is said to be base64, and is not"),
        (
            "b64",
            "listen 80; root /srv;",
            "is said to be base64, and is not",
        ),
        ("b64", "aGVs-_8h", "is said to be base64, and is not"),
        ("gz+b64", "#!", "is said to be base64, and is not"),
        (
            "gz+b64",
            "aGVsbG8=",
            "is said to be packed by gzip, and is not",
        ),
    ] {
        let problem = config(encoding, content).unwrap();
        assert!(!problem.is_doubt, "{problem:?}");
        assert!(
            problem.message.contains(words)
                && problem.message.contains("entry 2 of its `write_files`"),
            "{problem:?}"
        );
        assert!(!problem.message.contains("listen"));
    }
    for encoding in ["utf-8", "base-64", "hex", "b64+gz"] {
        let doubt = config(encoding, "aGVsbG8=").unwrap();
        assert!(doubt.is_doubt, "{encoding}");
        assert!(doubt.message.contains("entry 2"), "{doubt:?}");
    }
}

#[test]
fn a_file_of_user_data_is_unpacked_or_its_kind_is_named() {
    let packed = |content: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut packer, content).unwrap();
        packer.finish().unwrap()
    };
    let text = "#cloud-config\npackages: [caf\u{e9}]\n";
    assert_eq!(text_of_file(text.into()).as_deref(), Ok(text));
    assert_eq!(text_of_file(packed(text.as_bytes())).as_deref(), Ok(text));
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let twice = packed(&packed(text.as_bytes()));
    let mut cut = packed(text.as_bytes());
    cut.truncate(20);
    for (bytes, words) in [
        ([b"\xff\xfe", utf16.as_slice()].concat(), "it may be UTF-16"),
        (
            b"#cloud-config\npackages: [caf\xe9]\n".to_vec(),
            "it is not UTF-8 text",
        ),
        (
            packed(b"#cloud-config\n# caf\xe9\n"),
            "it is not UTF-8 text",
        ),
        (
            b"\xfd7zXZ\0\0\x04".to_vec(),
            "it is packed by xz, and cloud-init unpacks gzip only",
        ),
        (twice, "packed by gzip twice"),
        (cut, "damaged or cut short"),
        (packed(&vec![b'#'; 64 << 20]), ""),
    ] {
        let problem = text_of_file(bytes).unwrap_err();
        assert!(problem.message.contains(words), "{problem:?}");
        assert!(!problem.remedy.contains("path"), "{problem:?}");
    }
}

#[test]
fn ways_to_merge_are_those_of_cloud_init() {
    let checked = |how: &str| check(format!("#cloud-config\npackages: [a]\n{how}\n").as_bytes());
    for good in [
        "merge_how: list(append)+dict(no_replace,recurse_list)+str()",
        "merge_how: 'm_list(append) + '",
        "merge_type: [{name: list, settings: [append]}, {name: dict, settings: []}]",
    ] {
        assert_eq!(checked(good), None, "{good}");
    }
    for bad in [
        "merge_how: list(append)+map()",
        "merge_how: append",
        "merge_type: [{name: lists, settings: [append]}]",
        "merge_how: {list: append}",
    ] {
        let problem = checked(bad).expect(bad);
        assert!(problem.message.contains("way to merge"), "{problem:?}");
    }
}

#[test]
fn places_in_a_template_are_those_of_its_whole_text() {
    let text = "## template: jinja\n#cloud-config\na: b\nc: [\n";
    let plain = "#cloud-config\n#\na: b\nc: [\n";
    let (of_template, of_plain) = (check(text.as_bytes()), check(plain.as_bytes()));
    assert!(of_template.is_some());
    assert_eq!(of_template, of_plain);
}
