//! Parses XML into a tree. Bounded, because a host's output is not trusted to be small; a document with a
//! document type is refused. The parser compares each attribute of an element with the ones before it, and copies
//! the namespaces of an element into each one that declares another, so both are limited before it runs.

use std::borrow::Cow;

use roxmltree::{Document, Node, ParsingOptions};

/// The length limit of a document in bytes. Definitions of guests with a hundred disks have 100 KiB.
const LENGTH: usize = 2 << 20;
/// How many nodes a document may have: elements and texts.
const NODES: u32 = 100_000;
/// How many attributes an element may have. libvirt's have up to twenty.
const ATTRIBUTES: usize = 256;
/// How many namespaces a document may declare, one of vsiflow's among them.
const NAMESPACES: usize = 64;

/// A document that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the host's XML cannot be read: {0}")]
pub(crate) struct XmlError(pub(crate) String);

/// A parsed document.
pub(crate) struct XmlDocument<'a>(Document<'a>);

impl<'a> XmlDocument<'a> {
    /// Parses a document.
    pub(crate) fn parse(xml: &'a str) -> Result<Self, XmlError> {
        check(xml)?;
        let options = ParsingOptions {
            nodes_limit: NODES,
            ..ParsingOptions::default()
        };
        let document = Document::parse_with_options(xml, options);
        document.map(Self).map_err(|e| XmlError(e.to_string()))
    }

    /// The root element.
    pub(crate) fn root(&self) -> Element<'_> {
        Element(self.0.root_element())
    }
}

/// Checks a document against the limits, in one pass. It needs no parser: nothing but a tag has an attribute, a value
/// has no `<`, and the name of a declaration is written out. What it counts in comments and texts is counted too much.
fn check(xml: &str) -> Result<(), XmlError> {
    let refused = |words: String| Err(XmlError(words));
    if xml.len() > LENGTH {
        return refused(format!("it is longer than {LENGTH} bytes"));
    }
    if xml.matches("xmlns").nth(NAMESPACES).is_some() {
        return refused(format!("it declares more than {NAMESPACES} namespaces"));
    }
    let most = xml.split('<').map(attributes).max();
    if most.is_some_and(|most| most > ATTRIBUTES) {
        return refused(format!("an element has more than {ATTRIBUTES} attributes"));
    }
    Ok(())
}

/// How many attributes a tag has at most, by what follows its `<`.
fn attributes(tag: &str) -> usize {
    let (mut count, mut quote) = (0_usize, None);
    for byte in tag.bytes() {
        match (quote, byte) {
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'=') => count = count.saturating_add(1),
            (None, b'>') => break,
            (None, _) => {}
        }
    }
    count
}

/// An element of a document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a>(Node<'a, 'a>);

impl<'a> Element<'a> {
    /// Its name without its namespace.
    pub(crate) fn name(self) -> &'a str {
        self.0.tag_name().name()
    }

    /// Whether it is in this namespace.
    pub(crate) fn is_of(self, namespace: &str) -> bool {
        self.0.tag_name().namespace() == Some(namespace)
    }

    /// The value of an attribute.
    pub(crate) fn attribute(self, name: &str) -> Option<&'a str> {
        self.0.attribute(name)
    }

    /// The value of an attribute as libvirt has it. libvirt writes line breaks and tabs into attributes
    /// unescaped, and a parser of XML makes spaces of them.
    pub(crate) fn verbatim_attribute(self, name: &str) -> Option<Cow<'a, str>> {
        let attribute = self.0.attribute_node(name)?;
        let text = self.0.document().input_text();
        let raw = text.get(attribute.range_value()).unwrap_or_default();
        Some(if raw.contains(['\n', '\r', '\t']) {
            Cow::Owned(unescaped(raw))
        } else {
            Cow::Borrowed(self.attribute(name).unwrap_or_default())
        })
    }

    /// The text as libvirt has it, with all its spaces. Names and paths may begin and end with some.
    pub(crate) fn verbatim_text(self) -> Cow<'a, str> {
        let Some(text) = self.0.first_child().filter(Node::is_text) else {
            return Cow::Borrowed("");
        };
        let source = self.0.document().input_text();
        let raw = source.get(text.range()).unwrap_or_default();
        // A parser of XML reads a carriage return as a line break.
        if raw.contains('\r') && !raw.contains('<') {
            Cow::Owned(unescaped(raw))
        } else {
            Cow::Borrowed(text.text().unwrap_or_default())
        }
    }

    /// The child elements.
    pub(crate) fn children(self) -> impl Iterator<Item = Self> {
        self.0.children().filter(Node::is_element).map(Self)
    }

    /// The first child with this name.
    pub(crate) fn child(self, name: &str) -> Option<Self> {
        self.children().find(|child| child.name() == name)
    }

    /// The children with this name.
    pub(crate) fn all(self, name: &str) -> impl Iterator<Item = Self> {
        self.children().filter(move |child| child.name() == name)
    }

    /// The first descendant along the path.
    pub(crate) fn at(self, path: &[&str]) -> Option<Self> {
        path.iter()
            .try_fold(self, |element, name| element.child(name))
    }

    /// Its byte range in the text.
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.0.range()
    }

    /// The text, trimmed.
    pub(crate) fn text(self) -> &'a str {
        self.0.text().unwrap_or_default().trim()
    }

    /// The text of the first descendant along the path.
    pub(crate) fn text_at(self, path: &[&str]) -> Option<&'a str> {
        self.at(path).map(Self::text)
    }

    /// The text of the first descendant along the path, with all its spaces.
    pub(crate) fn verbatim_text_at(self, path: &[&str]) -> Option<Cow<'a, str>> {
        self.at(path).map(Self::verbatim_text)
    }

    /// This element and all its descendants.
    pub(crate) fn descendants(self) -> impl Iterator<Item = Self> {
        self.0.descendants().filter(Node::is_element).map(Self)
    }
}

/// A text without the escapes that libvirt uses.
fn unescaped(raw: &str) -> String {
    let escapes = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    let plain = |text: String, (escape, plain): (&str, &str)| text.replace(escape, plain);
    escapes.into_iter().fold(raw.to_owned(), plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_and_text_are_unescaped() {
        let xml = "<a x='1 &amp; 2'><b>p &lt; q<![CDATA[ < r]]></b><c/><b>r</b></a>";
        let document = XmlDocument::parse(xml).unwrap();
        let root = document.root();
        assert_eq!(root.attribute("x"), Some("1 & 2"));
        assert_eq!(root.text_at(&["b"]), Some("p < q < r"));
        assert_eq!(root.all("b").count(), 2);
        assert!(root.child("c").is_some());
    }

    #[test]
    fn names_keep_their_spaces_and_line_breaks() {
        let xml = "<a x=' b\n&amp;lt;\r\tc ' y='&amp;'><b> p </b><c>&lt;\r\n</c><d/></a>";
        let document = XmlDocument::parse(xml).unwrap();
        let root = document.root();
        let attribute = |name| root.verbatim_attribute(name).map(Cow::into_owned);
        let text = |name: &str| root.verbatim_text_at(&[name]).map(Cow::into_owned);
        assert_eq!(attribute("x").as_deref(), Some(" b\n&lt;\r\tc "));
        assert_eq!(attribute("y").as_deref(), Some("&"));
        assert_eq!(attribute("z"), None);
        assert_eq!(text("b").as_deref(), Some(" p "));
        assert_eq!(text("c").as_deref(), Some("<\r\n"));
        assert_eq!(text("d").as_deref(), Some(""));
        assert_eq!(text("e"), None);
    }

    #[test]
    fn what_is_no_document_is_an_error() {
        let open = "<a>".repeat(100);
        let entities = "<!DOCTYPE a [<!ENTITY b 'b'>]><a>&b;</a>";
        let many = format!("<a>{}</a>", "<b/>".repeat(NODES as usize));
        for xml in [
            "", "<a>", "</a>", "text", "<a></b>", "<b:a/>", entities, &open, &many,
        ] {
            assert!(XmlDocument::parse(xml).is_err(), "{xml:.60}");
        }
    }

    /// The error, which has to come within a second.
    fn refused_at_once(xml: &str) -> String {
        let begun = std::time::Instant::now();
        let refused = XmlDocument::parse(xml).map(drop).unwrap_err();
        let took = begun.elapsed();
        assert!(took < std::time::Duration::from_secs(1), "{took:?}");
        refused.to_string()
    }

    #[test]
    fn an_element_with_very_many_attributes_is_refused_at_once() {
        let with = |count: usize, value: &str| {
            let attributes: String = (0..count).map(|n| format!(" a{n}={value}")).collect();
            format!("<a><b{attributes}/></a>")
        };
        let long = with(400_000, "''");
        assert!(long.len() > 4 << 20);
        assert!(refused_at_once(&long).contains("longer than"));
        for value in ["''", "\"'>\"", "'\"'"] {
            let many = with(120_000, value);
            let commented = many.replace("<b", "<!-- ' --><b");
            for xml in [many, commented] {
                assert!(refused_at_once(&xml).contains("256 attributes"), "{value}");
            }
        }
        assert!(XmlDocument::parse(&with(ATTRIBUTES, "'a=b>c'")).is_ok());
        let text = format!("<a b='{0}'>{0}</a>", "=".repeat(1_000));
        assert!(XmlDocument::parse(&text).is_ok());
    }

    #[test]
    fn many_elements_with_many_attributes_take_little_time() {
        let attributes: String = (0..ATTRIBUTES).map(|n| format!(" a{n}=''")).collect();
        let element = format!("<a{attributes}/>");
        let most = LENGTH / element.len() - 1;
        let xml = format!("<a>{}</a>", element.repeat(most));
        let begun = std::time::Instant::now();
        assert!(XmlDocument::parse(&xml).is_ok());
        let took = begun.elapsed();
        assert!(took < std::time::Duration::from_secs(10), "{took:?}");
    }

    #[test]
    fn nested_declarations_of_namespaces_are_refused_at_once() {
        let nested = |depth: usize| {
            let open: String = (0..depth)
                .map(|n| format!("<a xmlns:n{n}='u{n}'>"))
                .collect();
            format!("{open}{}", "</a>".repeat(depth))
        };
        assert!(refused_at_once(&nested(30_000)).contains("64 namespaces"));
        assert!(XmlDocument::parse(&nested(NAMESPACES)).is_ok());
    }

    #[test]
    fn depth_takes_no_stack() {
        let deep = format!("{}{}", "<a>".repeat(90_000), "</a>".repeat(90_000));
        let read = std::thread::Builder::new()
            .stack_size(256 * 1024)
            .spawn(move || XmlDocument::parse(&deep).map(|read| read.root().descendants().count()));
        let count = read.unwrap().join().unwrap();
        assert!(matches!(count, Ok(90_000) | Err(_)), "{count:?}");
    }

    proptest! {
        #[test]
        fn nothing_panics(xml in ".{0,400}") {
            let _ = XmlDocument::parse(&xml);
        }

        #[test]
        fn no_tags_panic(xml in "[<>/a&;'= ]{0,60}") {
            let _ = XmlDocument::parse(&xml);
        }
    }
}
