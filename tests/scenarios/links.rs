//! Checks the links between the documents.

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf};

fn repository() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            documents(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// A page without its code blocks: brackets there are not links, and `#` does not start a heading.
fn prose(page: &str) -> String {
    let mut in_code = false;
    let lines = page.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !fence && !in_code
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// The links of a page within the repository.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.is_empty() && !target.contains("://"))
}

/// The anchors of a page: explicit ones, and headings as GitHub and mdBook name them.
fn places(page: &str) -> Vec<String> {
    let mut counts = BTreeMap::<String, u32>::new();
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let name = |line: &str| -> String {
        let name_chars = line
            .trim_start_matches('#')
            .trim()
            .chars()
            .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        let lower = name_chars.flat_map(char::to_lowercase);
        lower
            .map(|letter| if letter == ' ' { '-' } else { letter })
            .collect()
    };
    let anchors = page.split("<a id=\"").skip(1);
    let anchors = anchors.filter_map(|rest| rest.split('"').next());
    let mut found: Vec<_> = anchors.map(str::to_owned).collect();
    for place in headings.map(name) {
        let count = counts.entry(place.clone()).or_default();
        found.push(match count {
            0 => place,
            _ => format!("{place}-{count}"),
        });
        *count += 1;
    }
    found
}

#[test]
fn every_link_in_the_documents_leads_to_a_place_in_a_file() {
    let repository = repository();
    let mut pages = Vec::new();
    documents(&repository.join("docs"), &mut pages);
    for name in [
        "README",
        "ARCHITECTURE",
        "CONTRIBUTING",
        "CHANGELOG",
        "SECURITY",
        "tests/README",
        "deploy/lab/README",
        "deploy/monitoring/README",
    ] {
        pages.push(repository.join(format!("{name}.md")));
    }
    let mut dead = Vec::new();
    for page in pages {
        let text = prose(&fs::read_to_string(&page).unwrap());
        for link in links(&text) {
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let file = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            let found = file.exists()
                && (place.is_empty()
                    || places(&prose(&fs::read_to_string(&file).unwrap()))
                        .iter()
                        .any(|at| at == place));
            if !found {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn the_book_has_each_page_once_and_in_the_order_of_its_kind() {
    let docs = repository().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let listed: Vec<_> = links(&summary).map(str::to_owned).collect();
    let mut pages = Vec::new();
    documents(&docs, &mut pages);
    let mut pages: Vec<_> = pages
        .iter()
        .map(|page| page.strip_prefix(&docs).unwrap().display().to_string())
        .filter(|page| page != "SUMMARY.md")
        .collect();
    pages.sort();
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(sorted, pages, "docs/SUMMARY.md lists each page once");
    let kinds = ["tutorial/", "how-to/", "reference/", "explanation/", "adr/"];
    let kind = |page: &String| kinds.iter().position(|kind| page.starts_with(kind));
    let order: Vec<_> = listed.iter().filter_map(kind).collect();
    assert!(order.is_sorted(), "{listed:#?}");
}

/// Whether a comment of the text says what games check.
fn is_marked(text: &str) -> bool {
    let comments = text.split("<!--").skip(1);
    let mut comments = comments.filter_map(|comment| Some(comment.split_once("-->")?.0));
    comments.any(|comment| comment.to_lowercase().contains("game"))
}

#[test]
fn each_how_to_page_says_what_games_check() {
    let mut pages = Vec::new();
    documents(&repository().join("docs/how-to"), &mut pages);
    pages.retain(|page| !is_marked(&fs::read_to_string(page).unwrap()));
    assert!(pages.is_empty(), "{pages:#?}");
}

/// The pages whose promises games hold vsiflow to (`tests/sim/oracle`).
const PLAYED: [&str; 6] = [
    "groups",
    "maintenance",
    "placement",
    "pools",
    "quotas",
    "snapshots",
];

#[test]
fn each_section_of_a_page_that_games_check_says_what_they_do_not() {
    for page in PLAYED {
        let path = format!("docs/how-to/{page}.md");
        let text = fs::read_to_string(repository().join(&path)).unwrap();
        for section in text.split("\n## ").skip(1) {
            let title = section.lines().next().unwrap();
            assert!(
                is_marked(section),
                "{path} does not say what games check: {title}"
            );
        }
    }
}
