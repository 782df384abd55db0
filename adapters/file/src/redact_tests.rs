use super::*;

fn shown(text: &str) -> Vec<String> {
    let spans = match serde_saphyr::from_str::<YamlNode>(text) {
        Ok(node) => secrets(&node).unwrap(),
        Err(_) => suspects(text),
    };
    lines(text, spans)
        .into_iter()
        .map(|line| line.text)
        .collect()
}

#[test]
fn a_contract_is_hidden_however_it_is_written() {
    for text in [
        "spec:\n  contract: SECRET\n  imageURL: shown\n",
        "spec:\n  contract: |\n    SECRET\n\n    SECRET: x\n  imageURL: shown\n",
        "spec:\n  contract: >-\n    SECRET\n    SECRET\n  imageURL: shown\n",
        "spec:\n  contract: \"SECRET\n    SECRET\"\n  imageURL: shown\n",
        "spec:\n  contract:\n    SECRET: [SECRET, {SECRET: SECRET}]\n  imageURL: shown\n",
        "spec: {contract: SECRET, imageURL: shown}\n",
        "spec:\n  contrat: SECRET\n  imageURL: shown\n",
        "x: &c SECRET\nspec:\n  contract: *c\n  imageURL: shown\n",
        "metadata:\n  annotations: {a: SECRET}\nspec: {imageURL: shown}\n",
        "items:\n- spec:\n    contract: SECRET\n    imageURL: shown\n",
    ] {
        let shown = shown(text).join("\n");
        assert!(
            !shown.contains("SECRET") && shown.contains("shown"),
            "{text}\n{shown}"
        );
    }
}

#[test]
fn keys_are_hidden_in_config_maps_and_everything_in_secrets() {
    let text = "kind: ConfigMap\ndata:\n  HOSTNAME: shown\n  KEY: |\n    SECRET\n  other: SECRET\n";
    assert!(!shown(text).join("").contains("SECRET"));
    let misspelt =
        "kind: Secret\nmetadata: {name: shown}\nstringdata:\n  HOSTNAME: SECRET\ndata: SECRET\n";
    assert!(!shown(misspelt).join("").contains("SECRET"));
}

#[test]
fn documents_that_cannot_be_read_are_hidden_from_the_first_secret_on() {
    let text = "kind: shown\nspec:\n  contract: |\n    SECRET\n  SECRET: x\n   SECRET\n\
                \u{20} imageURL: shown\n  bad: : :\n";
    let shown = shown(text);
    assert_eq!(
        shown,
        [
            "kind: shown",
            "spec:",
            "  contract:<hidden>",
            "<hidden>",
            "  SECRET:<hidden>",
            "<hidden>",
            "  imageURL: shown",
            "  bad:<hidden>",
        ]
    );
}

#[test]
fn one_line_that_cannot_be_read_shows_no_secret() {
    for text in [
        "spec: {contract: SECRET\n",
        "{\"spec\": {\"contract\": \"SECRET\"\n",
        "data: {KEY: SECRET\n",
        "- contract: SECRET\n  a: [\n",
    ] {
        assert!(!shown(text).join("").contains("SECRET"), "{text}");
    }
}

#[test]
fn what_looks_secret_is_hidden_wherever_it_stands() {
    let shown = shown("a: http://me:pw@host/x\nKEY: -----BEGIN RSA PRIVATE KEY-----\n").join("\n");
    assert!(!shown.contains("pw") && !shown.contains("BEGIN"), "{shown}");
}

#[test]
fn comments_are_hidden_and_what_follows_a_secret_is_not() {
    let text =
        "spec:\n  #contract: SECRET\n  contract: |  # SECRET\n    SECRET\n  size: 1 # SECRET\n";
    let shown = shown(text);
    assert!(!shown.join("").contains("SECRET"), "{shown:?}");
    assert_eq!(shown[3..], ["    <hidden>", "  size: 1 # <hidden>"]);
}

#[test]
fn harmless_values_of_kubevirts_manifests_are_shown() {
    let of = |spec: &str| {
        let text = format!("apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nspec: {{{spec}}}\n");
        shown(&text).join("\n")
    };
    for (spec, value) in [
        ("containerDisk: {path: /disk/shown.img}", "/disk/shown.img"),
        (
            "containerDisk: {image: 'quay.io/a/shown:1'}",
            "quay.io/a/shown:1",
        ),
        (
            "containerDisk: {image: 'quay.io/shown@sha256:0a1b'}",
            "shown@sha256:0a1b",
        ),
        ("evictionStrategy: LiveMigrate", "LiveMigrate"),
        ("dnsPolicy: ClusterFirst", "ClusterFirst"),
        (
            "disks: [{cache: writethrough, serial: D1}]",
            "writethrough, serial: D1",
        ),
        ("firmware: {uuid: 5d307ca9-b3ef}", "5d307ca9-b3ef"),
        ("readinessProbe: {initialDelaySeconds: 120}", "120"),
        (
            "template: {metadata: {labels: {own-key: shown}}}",
            "own-key: shown",
        ),
        ("selector: {matchLabels: {a: shown}}", "a: shown"),
    ] {
        assert!(of(spec).contains(value), "{spec}: {}", of(spec));
    }
    for spec in [
        "image: 'me:SECRET@quay.io/a:1'",
        "image: 'docker://SECRET@quay.io/a@sha256:0a'",
        "image: 'SECRET@quay.io:80'",
        "image: 'quay.io/a?token=SECRET'",
        "image: 'me:x/SECRET@sha256:quay.io/a'",
        "httpGet: {path: '/ready?key=SECRET'}",
        "token: SECRET",
        "metadata: {annotations: {a: SECRET}}",
        "userData: {labels: SECRET}",
    ] {
        assert!(!of(spec).contains("SECRET"), "{spec}: {}", of(spec));
    }
}
