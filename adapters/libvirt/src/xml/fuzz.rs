//! Fuzzes the XML parsers with hostile documents.

use vsiflow_fuzz::FuzzTarget;

use super::{XmlDocument, capabilities, domain_info, pool, volume, write::Tag};

#[test]
fn fuzz_xml() {
    FuzzTarget {
        // An element of four bytes, `<a/>`, needs a hundred bytes in memory, and lists grow by doubling.
        memory_per_byte: 128,
        words: &[
            "<a>",
            "</a>",
            "<a/>",
            "<a b='",
            "'",
            "<!--",
            "-->",
            "<![CDATA[",
            "]]>",
            "<?",
            "?>",
            "<!DOCTYPE a [",
            "<!ENTITY a '&a;&a;'>",
            "]>",
            "&a;",
            "&#0;",
            "&#x110000;",
            "&amp;",
            "<source file='/a'/>",
            "<backingStore>",
            " xmlns:v='https://vsiflow.io/domain/v1'",
        ],
        ..FuzzTarget::new("xml", target)
    }
    .check();
}

/// Parses the text as everything that hosts describe; parsed values can be written again.
pub(crate) fn target(bytes: &[u8]) {
    let xml = String::from_utf8_lossy(bytes);
    let _ = domain_info::read(&xml);
    let _ = volume::read("images", &xml);
    let _ = pool::place(&xml);
    let _ = capabilities::host_uuid(&xml);
    for arch in ["s390x", "x86_64", "other"] {
        let _ = capabilities::guest_support(&xml, arch);
    }
    let _ = capabilities::has_secure_execution(&xml);
    if let Ok(document) = XmlDocument::parse(&xml) {
        let names = document.root().descendants().take(1000);
        names.for_each(|element| written_again(element.text()));
    }
}

fn written_again(text: &str) {
    let again = Tag::new("a").with("b", text).text(text).build();
    let again = XmlDocument::parse(&again).unwrap();
    assert_eq!(again.root().text(), text);
}
