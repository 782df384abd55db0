//! Prepares the definition in a file of saved memory for its restore: the machine stays as it was saved, and
//! the metadata is the current one.

use std::ops::Range;

use super::{Element, XmlDocument, XmlError};

/// The saved definition with the metadata of the stored one, and without a backing file of any writable disk.
/// Such a disk was restored as one complete file, so the content of an old backing file would appear in its
/// holes.
pub(crate) fn redefined(saved: &str, stored: &str) -> Result<String, XmlError> {
    let (document, today) = (XmlDocument::parse(saved)?, XmlDocument::parse(stored)?);
    let root = document.root();
    let metadata = today.root().child("metadata");
    let metadata = metadata.and_then(|element| stored.get(element.range()));
    let mut changes: Vec<(Range<usize>, &str)> = Vec::new();
    if let Some(old) = root.child("metadata") {
        changes.push((old.range(), metadata.unwrap_or_default()));
    }
    let devices = root.child("devices").into_iter();
    let disks = devices.flat_map(|devices| devices.all("disk"));
    changes.extend(disks.filter_map(nothing_below).map(|at| (at, NOTHING)));
    changes.sort_by_key(|(range, _)| range.start);
    spliced(saved, &changes)
}

/// The element of a disk without a backing file.
const NOTHING: &str = "<backingStore/>";

/// The range to replace in a writable disk: its backing store, or else the position behind its source.
fn nothing_below(disk: Element<'_>) -> Option<Range<usize>> {
    if disk.child("readonly").is_some() {
        return None;
    }
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
    fn what_is_no_definition_is_an_error() {
        assert!(redefined("", "<domain/>").is_err());
        assert!(redefined("<domain/>", "<domain>").is_err());
    }
}
