//! Prepares the definition in a file of saved memory for its restore: the machine stays as it was saved, the
//! metadata and the files of its disks are the current ones.

use std::{collections::HashMap, ops::Range};

use super::{Element, XmlDocument, XmlError};

/// The saved definition with the metadata of the stored one. Each writable disk has the file that the stored
/// definition names for the same target, because the disk may have got another since, and no backing file: it was
/// restored as one complete file, so the content of an old backing file would appear in its holes.
pub(crate) fn redefined(saved: &str, stored: &str) -> Result<String, XmlError> {
    let (document, today) = (XmlDocument::parse(saved)?, XmlDocument::parse(stored)?);
    let root = document.root();
    let metadata = (today.root().child("metadata")).and_then(|element| stored.get(element.range()));
    let mut changes: Vec<(Range<usize>, &str)> = Vec::new();
    if let Some(old) = root.child("metadata") {
        changes.push((old.range(), metadata.unwrap_or_default()));
    }
    // The first disk of a target counts. A host may list very many.
    let mut disks_today = HashMap::new();
    for disk in disks(today.root()) {
        disks_today.entry(target(disk)).or_insert(disk);
    }
    for disk in disks(root).filter(|disk| disk.child("readonly").is_none()) {
        let disk_today = disks_today.get(&target(disk));
        let source_today = disk_today.and_then(|d| stored.get(d.child("source")?.range()));
        let saved_source = disk.child("source").map(|source| source.range());
        changes.extend(saved_source.zip(source_today));
        changes.extend(nothing_below(disk).map(|position| (position, NOTHING)));
    }
    changes.sort_by_key(|(range, _)| range.start);
    spliced(saved, &changes)
}

/// The element of a disk without a backing file.
const NOTHING: &str = "<backingStore/>";

fn disks(root: Element<'_>) -> impl Iterator<Item = Element<'_>> {
    let devices = root.child("devices").into_iter();
    devices.flat_map(|devices| devices.all("disk"))
}

fn target(disk: Element<'_>) -> Option<&str> {
    disk.child("target")?.attribute("dev")
}

/// The range to replace in a writable disk: its backing store, or else the position behind its source.
fn nothing_below(disk: Element<'_>) -> Option<Range<usize>> {
    if let Some(below) = disk.child("backingStore") {
        return Some(below.range());
    }
    let end = disk.child("source")?.range().end;
    Some(end..end)
}

fn spliced(text: &str, changes: &[(Range<usize>, &str)]) -> Result<String, XmlError> {
    let odd = || XmlError("its parts overlap".to_owned());
    let (mut made, mut at) = (String::with_capacity(text.len()), 0);
    for (range, replacement) in changes {
        made.push_str(text.get(at..range.start).ok_or_else(odd)?);
        made.push_str(replacement);
        at = range.end;
    }
    made.push_str(text.get(at..).ok_or_else(odd)?);
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_stays_and_nothing_lies_below_what_is_written_to() {
        let saved = "<domain><name>a</name><metadata><m:x xmlns:m='u' n='1'/></metadata><devices>\
                     <disk><source file='/b'/><backingStore type='file'><source file='/base'/>\
                     <backingStore/></backingStore><target dev='vda'/></disk>\
                     <disk><source file='/d'/><target dev='vdb'/></disk>\
                     <disk><source file='/c'/><readonly/></disk></devices></domain>";
        let stored = "<domain><metadata><m:x xmlns:m='u' n='2'/></metadata></domain>";
        assert_eq!(
            redefined(saved, stored).unwrap(),
            "<domain><name>a</name><metadata><m:x xmlns:m='u' n='2'/></metadata><devices>\
             <disk><source file='/b'/><backingStore/><target dev='vda'/></disk>\
             <disk><source file='/d'/><backingStore/><target dev='vdb'/></disk>\
             <disk><source file='/c'/><readonly/></disk></devices></domain>"
        );
    }

    #[test]
    fn a_disk_has_the_file_that_the_stored_definition_names() {
        let saved = "<domain><devices><disk><source file='/boot' index='2'/><target dev='vda'/></disk>\
                     <disk><source file='/seed'/><target dev='vdb'/><readonly/></disk></devices></domain>";
        let stored = "<domain><devices><disk><source file='/boot-1'/><target dev='vda'/></disk>\
                      <disk><source file='/other'/><target dev='vdb'/><readonly/></disk></devices></domain>";
        assert_eq!(
            redefined(saved, stored).unwrap(),
            "<domain><devices><disk><source file='/boot-1'/><backingStore/><target dev='vda'/></disk>\
             <disk><source file='/seed'/><target dev='vdb'/><readonly/></disk></devices></domain>"
        );
    }

    #[test]
    fn very_many_disks_take_little_time() {
        let disks: String = (0..40_000)
            .map(|n| format!("<disk><target dev='{n}'/></disk>"))
            .collect();
        let domain = format!("<domain><devices>{disks}</devices></domain>");
        let begun = std::time::Instant::now();
        assert_eq!(redefined(&domain, &domain), Ok(domain.clone()));
        let took = begun.elapsed();
        assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    }

    #[test]
    fn what_is_no_definition_is_an_error() {
        assert!(redefined("", "<domain/>").is_err());
        assert!(redefined("<domain/>", "<domain>").is_err());
    }
}
