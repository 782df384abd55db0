use super::super::documents::KeyValues;
use super::*;

fn keys(pairs: &[(&str, &str)]) -> KeyValues {
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
    KeyValues(
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), secret(value)))
            .collect(),
    )
}

fn ssh(settings: &HostSettings) -> &SshHost {
    match &settings.record {
        HostConnection::Ssh(ssh) => ssh,
        other => panic!("{other}"),
    }
}

fn from_uri(text: &str) -> Result<HostSettings, HostUriError> {
    text.parse()
}

#[test]
fn a_config_map_alone_is_enough() {
    let settings = HostSettings::from_keys(
        Some(&keys(&[
            ("HOSTNAME", "example.lpar.com\n"),
            ("KEY", "-----BEGIN"),
            ("PORT", "22"),
            ("KNOWN_HOSTS", "a\nb\n"),
            ("USER", "root"),
        ])),
        None,
    )
    .unwrap();
    assert_eq!(settings.id(), "root@example.lpar.com:22");
    assert_eq!(settings.key.as_ref().unwrap().expose(), b"-----BEGIN");
    assert_eq!(ssh(&settings).known_hosts.as_deref(), Some("a\nb"));
    assert!(
        !serde_json::to_string(&settings.record)
            .unwrap()
            .contains("BEGIN")
    );
    assert!(!format!("{settings:?}").contains("BEGIN"));
}

#[test]
fn a_secret_wins_key_by_key() {
    let config_map = keys(&[
        ("HOSTNAME", "a"),
        ("USER", "me"),
        ("KEY", "old"),
        ("KNOWN_HOSTS", "k"),
    ]);
    let secret = keys(&[("HOSTNAME", "b"), ("ssh-privatekey", "new")]);
    let settings = HostSettings::from_keys(Some(&config_map), Some(&secret)).unwrap();
    assert_eq!(settings.id(), "me@b:22");
    assert_eq!(settings.key.unwrap().expose(), b"new");
}

#[test]
fn what_cannot_be_used_names_the_key() {
    let base = [("HOSTNAME", "a"), ("KNOWN_HOSTS", "k")];
    for (extra, blamed) in [
        (("HOSTNAME", " "), "HOSTNAME"),
        (("HOSTNAME", "a b"), "HOSTNAME"),
        (("HOSTNAME", "-oProxyCommand=x"), "HOSTNAME"),
        (("PORT", "0"), "PORT"),
        (("PORT", "65536"), "PORT"),
        (("PORT", "ssh"), "PORT"),
        (("USER", "me@x"), "USER"),
        (("KNOWN_HOSTS", "\n"), "KNOWN_HOSTS"),
        (("SOCKET", "run/x"), "SOCKET"),
        (("INSECURE_SKIP_HOST_KEY", "yes"), "INSECURE_SKIP_HOST_KEY"),
    ] {
        let mut all = base.to_vec();
        all.push(extra);
        let error = HostSettings::from_keys(Some(&keys(&all)), None).unwrap_err();
        assert_eq!(
            (error.key, error.layer),
            (blamed, Some(Layer::ConfigMap)),
            "{extra:?}"
        );
    }
    let error = HostSettings::from_keys(None, Some(&keys(&[]))).unwrap_err();
    assert_eq!((error.key, error.layer), ("HOSTNAME", None));
}

#[test]
fn access_to_images_is_for_one_server_and_its_secret_is_shown_nowhere() {
    let with = |extra: &[(&str, &str)]| {
        let all = [&[("HOSTNAME", "a"), ("KNOWN_HOSTS", "k")], extra].concat();
        HostSettings::from_keys(None, Some(&keys(&all)))
    };
    let server = ("IMAGE_SERVER", "images.example:8443");
    let (user, password) = (("IMAGE_USER", "me"), ("IMAGE_PASSWORD", "s3cret"));
    let token = ("IMAGE_TOKEN", "s3cret");
    let authority = ("IMAGE_CA", "-----BEGIN CERTIFICATE-----\nx");
    for all in [&[server, user, password, authority][..], &[server, token]] {
        let settings = with(all).unwrap();
        assert_eq!(settings.image_secret.as_ref().unwrap().expose(), b"s3cret");
        let access = settings.record.image_access().unwrap();
        assert_eq!(access.server.as_deref(), Some("images.example:8443"));
        let shown = serde_json::to_string(&settings.record).unwrap();
        assert!(!shown.contains("s3cret") && !format!("{settings:?}").contains("s3cret"));
        assert_eq!(
            serde_json::from_str::<HostConnection>(&shown).unwrap(),
            settings.record
        );
        assert!(!settings.same_as(&with(&[server, ("IMAGE_TOKEN", "other")]).unwrap()));
    }
    assert!(with(&[authority]).unwrap().record.image_access().is_some());
    assert!(with(&[]).unwrap().record.image_access().is_none());
    for (all, blamed) in [
        (&[token][..], "IMAGE_SERVER"),
        (&[server], "IMAGE_SERVER"),
        (&[("IMAGE_SERVER", "https://a/b"), token], "IMAGE_SERVER"),
        (&[server, user, token], "IMAGE_PASSWORD"),
        (&[server, password], "IMAGE_PASSWORD"),
        (&[("IMAGE_CA", "a certificate")], "IMAGE_CA"),
    ] {
        assert_eq!(with(all).unwrap_err().key, blamed, "{all:?}");
    }
}

#[test]
fn a_passphrase_goes_with_a_key_and_keeps_its_spaces() {
    let with = |extra: &[(&str, &str)]| {
        let all = [&[("HOSTNAME", "a"), ("KNOWN_HOSTS", "k")], extra].concat();
        HostSettings::from_keys(None, Some(&keys(&all)))
    };
    let passphrase = ("KEY_PASSPHRASE", " correct horse \n");
    for key in [("KEY", "k"), ("ssh-privatekey", "k"), ("KEY_FILE", "/k")] {
        let settings = with(&[key, passphrase]).unwrap();
        let stored = settings.key_passphrase.as_ref().unwrap();
        assert_eq!(stored.expose(), b" correct horse ");
        assert!(!format!("{settings:?}").contains("horse"));
        assert!(
            !serde_json::to_string(&settings.record)
                .unwrap()
                .contains("horse")
        );
        assert!(!settings.same_as(&with(&[key]).unwrap()));
        assert_eq!(
            settings.secrets().count(),
            if key.0 == "KEY_FILE" { 1 } else { 2 }
        );
    }
    assert_eq!(with(&[passphrase]).unwrap_err().key, "KEY_PASSPHRASE");
    assert!(
        with(&[("KEY", "k"), ("KEY_PASSPHRASE", " ")])
            .unwrap()
            .key_passphrase
            .is_none()
    );
    let exposed = exposed(&keys(&[passphrase]));
    assert_eq!(exposed, ["KEY_PASSPHRASE"]);
}

#[test]
fn without_known_hosts_only_the_word_true_opens() {
    let open = |value| {
        let all = [("HOSTNAME", "a"), ("INSECURE_SKIP_HOST_KEY", value)];
        HostSettings::from_keys(Some(&keys(&all)), None).map(|s| s.record.is_insecure())
    };
    assert_eq!(open("true"), Ok(true));
    assert_eq!(open("false").unwrap_err().key, "KNOWN_HOSTS");
    assert!(open("True").is_err());
}

#[test]
fn ids_are_stable() {
    for (uri, id) in [
        (
            "ssh://root@127.0.0.1:2222?insecure=1",
            "root@127.0.0.1:2222",
        ),
        ("ssh://lpar1?known_hosts=/k", "root@lpar1:22"),
        ("ssh://me@[::1]:22/?known_hosts=/k", "me@[::1]:22"),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
        ("unix:///run/x.sock", "unix:/run/x.sock"),
        ("unix:", "unix:/var/run/libvirt/libvirt-sock"),
        ("sim:", "sim"),
        ("sim", "sim"),
        ("sim:two", "sim:two"),
    ] {
        let settings = from_uri(uri).unwrap();
        assert_eq!(settings.id(), id, "{uri}");
        let text = serde_json::to_string(&settings.record).unwrap();
        assert_eq!(
            serde_json::from_str::<HostConnection>(&text).unwrap(),
            settings.record
        );
    }
}

#[test]
fn the_way_of_images_is_chosen_by_a_word_and_otherwise_left_to_vsiflow() {
    let of = |word: &str| {
        let all = [("HOSTNAME", "h"), ("KNOWN_HOSTS", "k"), ("TRANSFER", word)];
        HostSettings::from_keys(Some(&keys(&all)), None).map(|settings| settings.record)
    };
    for (word, transfer) in [
        ("", Transfer::Auto),
        ("auto", Transfer::Auto),
        ("plain", Transfer::Plain),
        ("packed", Transfer::Packed),
        ("libvirt", Transfer::Libvirt),
    ] {
        let record = of(word).unwrap();
        assert_eq!(record.transfer(), transfer, "{word}");
        let stored = serde_json::to_value(&record).unwrap();
        assert_eq!(stored.get("transfer").is_none(), transfer.is_auto());
        assert_eq!(
            serde_json::from_value::<HostConnection>(stored).unwrap(),
            record
        );
    }
    assert_eq!(of("sftp").unwrap_err().key, "TRANSFER");
}

#[test]
fn a_uri_carries_all_settings() {
    let uri = "ssh://me@h:1?keyfile=/k%20ey&known_hosts=/kh&socket=/run/libvirt/x";
    let settings = from_uri(uri).unwrap();
    assert_eq!(
        *ssh(&settings),
        SshHost {
            host: "h".into(),
            port: 1,
            user: "me".into(),
            key_file: Some("/k ey".into()),
            known_hosts: None,
            known_hosts_file: Some("/kh".into()),
            insecure_skip_host_key: false,
            socket: Some("/run/libvirt/x".into()),
            upload_limit: None,
            image_policy: None,
            verify: Verification::Along,
            transfer: Transfer::Auto,
            images: None,
            jumps: Vec::new(),
        }
    );
}

#[test]
fn uris_that_name_no_host_are_refused() {
    for uri in [
        "",
        "unix",
        "lpar1",
        "ssh://",
        "ssh:lpar1",
        "ssh://lpar1",
        "ssh://root:secret@lpar1?insecure=1",
        "ssh://lpar1/path?insecure=1",
        "ssh://lpar1?insecure=yes",
        "ssh://lpar1?insecure=1&frob=2",
        "ssh://lpar1?insecure=1&keyfile=",
        "unix:run/x",
        "unix://run/x",
        "sim:../x",
        "sim:..",
        "qemu+ssh://root@lpar1/system",
    ] {
        let error = from_uri(uri).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{uri}");
    }
}

const WAY: [(&str, &str); 3] = [
    ("HOSTNAME", "inner.example.com"),
    ("KNOWN_HOSTS", "k"),
    (
        "PROXY_JUMP",
        " root@bastion.example.com, me@[fd00::1]:2222 ",
    ),
];

fn with_jumps(more: &[(&str, &str)]) -> Result<HostSettings, HostKeyError> {
    let all: Vec<_> = WAY.iter().chain(more).copied().collect();
    HostSettings::from_keys(None, Some(&keys(&all)))
}

#[test]
fn jump_hosts_are_named_in_the_order_of_the_way_and_leave_the_hosts_id_alone() {
    let settings = with_jumps(&[("KEY", "secret")]).unwrap();
    assert_eq!(settings.id(), "root@inner.example.com:22");
    let shown = |of: &HostSettings| -> Vec<_> {
        let jumps = of.record.jumps().iter();
        jumps.map(ToString::to_string).collect()
    };
    let way = ["root@bastion.example.com:22", "me@[fd00::1]:2222"];
    assert_eq!(shown(&settings), way);
    let text = serde_json::to_string(&settings.record).unwrap();
    let read: HostConnection = serde_json::from_str(&text).unwrap();
    assert_eq!(read, settings.record);
    // Records from before jump hosts existed are read and written unchanged.
    let direct = from_uri("ssh://h?insecure=1").unwrap();
    let direct_text = serde_json::to_string(&direct.record).unwrap();
    assert!(!direct_text.contains("jumps"), "{direct_text}");
    assert_eq!(
        serde_json::from_str::<HostConnection>(&direct_text).unwrap(),
        direct.record
    );
}

#[test]
fn a_jump_hosts_own_login_counts_before_that_of_all() {
    let settings = with_jumps(&[
        ("KEY", "of-host"),
        ("PROXY_JUMP_KEY", "of-all"),
        ("PROXY_JUMP_KEY_PASSPHRASE", "opens-all"),
        ("PROXY_JUMP_2_KEY_FILE", "/keys/2"),
        ("PROXY_JUMP_KNOWN_HOSTS", "lines"),
        ("PROXY_JUMP_2_KNOWN_HOSTS_FILE", "/known/2"),
    ])
    .unwrap();
    let bytes = |secret: &Option<Secret>| secret.as_ref().map(|s| s.expose().to_vec());
    let [first, second] = &settings.jump_secrets[..] else {
        panic!("{settings:?}")
    };
    assert_eq!(bytes(&first.key).unwrap(), b"of-all");
    assert_eq!(bytes(&first.key_passphrase).unwrap(), b"opens-all");
    // The passphrase belongs to the other key.
    assert_eq!(
        (bytes(&second.key), bytes(&second.key_passphrase)),
        (None, None)
    );
    let [first_jump, second_jump] = settings.record.jumps() else {
        panic!("{settings:?}")
    };
    assert_eq!(first_jump.known_hosts.as_deref(), Some("lines"));
    assert_eq!(second_jump.key_file.as_deref(), Some("/keys/2"));
    assert_eq!(second_jump.known_hosts, None);
    assert_eq!(second_jump.known_hosts_file.as_deref(), Some("/known/2"));
    let shown = format!(
        "{settings:?} {}",
        serde_json::to_string(&settings.record).unwrap()
    );
    for secret in ["of-host", "of-all", "opens-all"] {
        assert!(!shown.contains(secret), "{shown}");
        let has = |one: &Secret| one.expose() == secret.as_bytes();
        assert!(settings.secrets().any(has), "{secret}");
    }
}

#[test]
fn settings_with_another_way_or_another_key_on_it_are_others() {
    let one = with_jumps(&[("PROXY_JUMP_1_KEY", "a")]).unwrap();
    assert!(one.same_as(&with_jumps(&[("PROXY_JUMP_1_KEY", "a")]).unwrap()));
    for other in [
        &[("PROXY_JUMP_1_KEY", "b")][..],
        &[("PROXY_JUMP_2_KEY", "a")],
        &[
            ("PROXY_JUMP_1_KEY", "a"),
            ("PROXY_JUMP_1_KEY_PASSPHRASE", "p"),
        ],
        &[
            ("PROXY_JUMP_1_KEY", "a"),
            ("PROXY_JUMP", "root@bastion.example.com"),
        ],
        &[],
    ] {
        assert!(!one.same_as(&with_jumps(other).unwrap()), "{other:?}");
    }
}

#[test]
fn ways_that_lead_nowhere_are_refused() {
    for way in [
        "a,,b",
        ",",
        "root@",
        "@a",
        "-oProxyCommand=x",
        "root@-x",
        "a b",
        "a:0",
        "a:65536",
        "a:ssh",
        "fd00::1",
        "[fd00::1",
        "[fd00::1]22",
        "unix:/run/x",
        "/run/x",
        "a/b",
        "a,b,c,d,e",
        "root@a\nb",
    ] {
        let refused = with_jumps(&[("PROXY_JUMP", way)]).unwrap_err();
        assert_eq!(refused.key, "PROXY_JUMP", "{way}");
        let uri = url::Url::parse_with_params("ssh://h?insecure=1", [("jump", way)]).unwrap();
        assert!(from_uri(uri.as_str()).is_err(), "{uri}");
    }
    for (key, value) in [
        ("PROXY_JUMP_3_KEY", "k"),
        ("PROXY_JUMP_4_KNOWN_HOSTS_FILE", "/k"),
        ("PROXY_JUMP_2_KEY_PASSPHRASE", "p"),
        ("PROXY_JUMP_KEY_PASSPHRASE", "p"),
    ] {
        assert_eq!(with_jumps(&[(key, value)]).unwrap_err().key, key);
    }
    let none = HostSettings::from_keys(
        None,
        Some(&keys(&[
            ("HOSTNAME", "h"),
            ("KNOWN_HOSTS", "k"),
            ("PROXY_JUMP_KEY", "k"),
        ])),
    );
    assert_eq!(none.unwrap_err().key, "PROXY_JUMP_KEY");
}

#[test]
fn a_uri_repeats_jump_with_a_login_for_each() {
    let uri = "ssh://h?known_hosts=/kh&jump=me@a:2222&jump_keyfile=/ka&jump=b&jump_known_hosts=/kb";
    let settings = from_uri(uri).unwrap();
    let [first, second] = settings.record.jumps() else {
        panic!("{settings:?}")
    };
    assert_eq!(
        (first.to_string(), first.key_file.as_deref()),
        ("me@a:2222".to_owned(), Some("/ka"))
    );
    assert_eq!(first.known_hosts_file, None);
    assert_eq!(
        (second.to_string(), second.known_hosts_file.as_deref()),
        ("root@b:22".to_owned(), Some("/kb"))
    );
    for malformed in [
        "ssh://h?insecure=1&jump_keyfile=/k&jump=a",
        "ssh://h?insecure=1&jump=",
        "ssh://h?insecure=1&jump=a&jump=b&jump=c&jump=d&jump=e",
    ] {
        assert!(from_uri(malformed).is_err(), "{malformed}");
    }
}

#[test]
fn the_files_and_secrets_of_jump_hosts_are_judged_as_the_hosts_own() {
    let all: Vec<_> = jump_keys().map(|key| (key, "x")).collect();
    let (all, count) = (keys(&all), jump_keys().count());
    assert_eq!(count, 1 + 5 * (1 + MAX_JUMPS));
    assert_eq!(files(&all).len(), 2 * (1 + MAX_JUMPS));
    assert_eq!(exposed(&all).len(), 2 * (1 + MAX_JUMPS));
}
