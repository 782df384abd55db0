//! Links between the documents.

use std::{fs, path::Path, path::PathBuf};

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

/// The links of a page that lead to files, without their anchors.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let files = targets.map(|target| target.split('#').next().unwrap());
    files.filter(|file| !file.is_empty() && !file.contains("://"))
}

#[test]
fn every_link_in_the_documents_leads_to_a_file() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = Vec::new();
    documents(&repository.join("docs"), &mut pages);
    for name in [
        "README",
        "ARCHITECTURE",
        "CONTRIBUTING",
        "CHANGELOG",
        "tests/README",
    ] {
        pages.push(repository.join(format!("{name}.md")));
    }
    let mut dead = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let folder = page.parent().unwrap();
        let gone = links(&text).filter(|file| !folder.join(file).exists());
        dead.extend(gone.map(|file| format!("{}: {file}", page.display())));
    }
    assert!(dead.is_empty(), "{dead:#?}");
}
