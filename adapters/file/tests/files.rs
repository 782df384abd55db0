//! Files, directories and standard input.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::fs;
use std::path::Path;

use vsiflow_file::{Diagnostics, Input, LARGEST_FILE, Loaded, load};

fn disk(name: &str) -> String {
    format!(
        "apiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPremDataDisk\n\
         metadata: {{name: {name}}}\nspec: {{}}\n"
    )
}

fn read(inputs: &[Input], recursive: bool, mut stdin: &[u8]) -> Result<Loaded, Diagnostics> {
    load(inputs, recursive, &mut stdin)
}

fn path(path: &Path) -> Input {
    Input::Path(path.to_owned())
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded
        .documents
        .data_disks
        .iter()
        .map(|disk| disk.meta.name.as_str())
        .collect()
}

fn codes(result: Result<Loaded, Diagnostics>) -> Vec<String> {
    result
        .unwrap_err()
        .0
        .into_iter()
        .map(|diagnostic| diagnostic.code)
        .collect()
}

#[test]
fn a_directory_is_read_in_the_order_of_names() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("b.yml"), disk("b")).unwrap();
    fs::write(
        dir.path().join("a.yaml"),
        disk("a1") + "---\n" + &disk("a2"),
    )
    .unwrap();
    fs::write(dir.path().join("README.md"), "no manifest").unwrap();
    fs::write(dir.path().join(".hidden.yaml"), "no manifest").unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/c.json"), disk("c")).unwrap();
    let input = [path(dir.path())];
    assert_eq!(names(&read(&input, false, b"").unwrap()), ["a1", "a2", "b"]);
    assert_eq!(
        names(&read(&input, true, b"").unwrap()),
        ["a1", "a2", "b", "c"]
    );
}

#[test]
fn standard_input_and_files_go_together() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("any.name");
    fs::write(&file, disk("a")).unwrap();
    let loaded = read(
        &[Input::from("-"), path(&file)],
        false,
        disk("b").as_bytes(),
    )
    .unwrap();
    assert_eq!(names(&loaded), ["b", "a"]);
    assert_eq!(
        loaded.documents.data_disks[0].at.to_string(),
        "standard input:1"
    );
}

#[test]
fn what_cannot_be_read_is_said_for_each() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    fs::write(dir.path().join("binary"), [0xff, 0xfe, 0x00]).unwrap();
    let big = vec![b'#'; usize::try_from(LARGEST_FILE).unwrap() + 1];
    fs::write(dir.path().join("big"), big).unwrap();
    let inputs: Vec<_> = ["missing", "empty", "binary", "big"]
        .map(|name| path(&dir.path().join(name)))
        .into();
    assert_eq!(
        codes(read(&inputs, false, b"")),
        ["VSI0601", "VSI0610", "VSI0602", "VSI0601"]
    );
    assert_eq!(codes(read(&[], false, b"")), ["VSI0610"]);
    assert_eq!(codes(read(&[Input::Stdin], false, b"")), ["VSI0610"]);
}

#[test]
fn errors_of_all_files_come_at_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("a.yaml"),
        "a: [\n---\n".to_owned() + &disk("A"),
    )
    .unwrap();
    fs::write(dir.path().join("b.yaml"), disk("b") + "  x: 1\n").unwrap();
    fs::write(dir.path().join("c.yaml"), disk("c")).unwrap();
    let diagnostics = read(&[path(dir.path())], false, b"").unwrap_err();
    let places: Vec<_> = diagnostics
        .0
        .iter()
        .map(|d| (d.code.as_str(), d.line))
        .collect();
    assert_eq!(
        places,
        [
            ("VSI0602", Some(1)),
            ("VSI0604", Some(5)),
            ("VSI0602", Some(5))
        ]
    );
}

#[test]
fn there_is_a_limit_to_documents() {
    let many: String = (0..=1000)
        .map(|n| disk(&format!("d{n}")) + "---\n")
        .collect();
    assert_eq!(
        codes(read(&[Input::Stdin], false, many.as_bytes())),
        ["VSI0601"]
    );
    for aliases in [90, 900] {
        let list = "*a,".repeat(aliases);
        let bomb = format!("x: &a [1,2,3,4,5,6,7,8,9,10]\ny: [{list}]\n---\n");
        let bombs = bomb.repeat(999);
        let codes = codes(read(&[Input::Stdin], false, bombs.as_bytes()));
        assert!(
            codes.iter().any(|code| code == "VSI0601") && codes.len() < 1000,
            "{aliases}"
        );
    }
}

#[test]
fn a_long_list_is_no_problem() {
    let item = disk("d")
        .replace('\n', "\n  ")
        .replace("name: d", "name: d{n}");
    let items: String = (0..900)
        .map(|n| format!("- {}\n", item.replace("{n}", &n.to_string()).trim_end()))
        .collect();
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{items}");
    let loaded = read(&[Input::Stdin], false, list.as_bytes()).unwrap();
    assert_eq!(loaded.documents.data_disks.len(), 900);
    assert_eq!(loaded.documents.data_disks[899].at.line, Some(4 + 899 * 4));
}

#[test]
fn numbers_in_exponent_form_count_as_through_kubectl() {
    let sized = |size: &str| disk("a").replace("spec: {}", &format!("spec: {{size: {size}}}"));
    for (size, bytes) in [
        ("1.073741824e+11", 107_374_182_400),
        ("\"1.073741824e+11\"", 107_374_182_400),
        ("1e9", 1_000_000_000),
        ("2.0", 2),
        ("1024", 1024),
        ("\"1024\"", 1024),
    ] {
        let loaded = vsiflow_file::load_text("a.yaml", sized(size).as_bytes()).unwrap();
        let read = loaded.documents.data_disks[0].spec.size.bytes();
        assert_eq!(read, bytes, "{size}");
    }
    for size in ["1.5", "1e-1", "1e40", ".inf", "0", "\"0\"", "0Gi", "-1e3"] {
        let wrong = vsiflow_file::load_text("a.yaml", sized(size).as_bytes()).unwrap_err();
        assert!(wrong.to_string().contains("spec.size"), "{size}: {wrong}");
    }
}

#[test]
fn every_document_of_a_text_may_begin_with_a_mark_of_byte_order() {
    for text in [
        format!("\u{feff}{}---\n\u{feff}{}", disk("a"), disk("b")),
        format!("\u{feff}{}\u{feff}---\n{}", disk("a"), disk("b")),
        format!("\u{feff}---\n{}...\n\u{feff}---\n{}", disk("a"), disk("b")),
    ] {
        let loaded = vsiflow_file::load_text("a.yaml", text.as_bytes()).unwrap();
        assert_eq!(names(&loaded), ["a", "b"], "{text:?}");
    }
}

#[test]
fn labels_that_no_api_server_accepts_are_refused() {
    let labelled = disk("a").replace("{name: a}", "{name: a, labels: {app: \"my app\"}}");
    let wrong = vsiflow_file::load_text("a.yaml", labelled.as_bytes()).unwrap_err();
    assert!(wrong.to_string().contains("metadata.labels"), "{wrong}");
}

#[test]
fn what_a_guest_would_ignore_is_refused_with_its_place() {
    let text = include_str!("../../../tests/field/user-data.yaml");
    let loaded = vsiflow_file::load_text("a.yaml", text.as_bytes()).unwrap();
    let host: vsiflow_workflows::spec::HostSettings = "sim:".parse().unwrap();
    let words = loaded.resolve(Some(&host)).unwrap_err().to_string();
    assert!(
        words.contains("spec.guest.userDataFrom") && words.contains("#cloud-config"),
        "{words}"
    );
    assert!(words.contains("spec.guest.sshKeys[0]"), "{words}");
    let with_mark = text.replace(
        "{name: no-head, key: user-data}",
        "{name: mark, key: user-data}",
    );
    let marked = vsiflow_file::load_text("a.yaml", with_mark.as_bytes()).unwrap();
    let refusal = marked.resolve(Some(&host)).unwrap_err().to_string();
    assert!(refusal.contains("byte order mark"), "{refusal}");
    let float = include_str!("../../../tests/field/helm-float.yaml");
    let rendered = vsiflow_file::load_text("a.yaml", float.as_bytes()).unwrap();
    assert_eq!(
        rendered.documents.data_disks[0].spec.size.bytes(),
        107_374_182_400
    );
}
