//! A document as a tree, for looking things up. Bounded: a host's answer is not trusted to be
//! small or shallow.

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};

/// The deepest nesting that is read; libvirt's own documents stay below 20.
const DEPTH: usize = 64;
/// The most elements that are read.
const ELEMENTS: usize = 200_000;

/// A document that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the host's XML cannot be read: {0}")]
pub(crate) struct XmlError(pub(crate) String);

/// An element without its namespace prefixes resolved: names are as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: String,
    attributes: Vec<(String, String)>,
    pub(crate) children: Vec<Element>,
    text: String,
}

impl Element {
    /// Reads a document; its root.
    pub(crate) fn parse(xml: &str) -> Result<Self, XmlError> {
        let mut reader = Reader::from_str(xml);
        let mut open = vec![Self::default()];
        let mut elements = 0_usize;
        loop {
            match reader
                .read_event()
                .map_err(|error| XmlError(error.to_string()))?
            {
                Event::Start(start) => open.push(Self::start(&start)?),
                Event::Empty(start) => close(&mut open, Self::start(&start)?)?,
                Event::End(_) => {
                    let done = open
                        .pop()
                        .ok_or_else(|| XmlError("it ends too early".into()))?;
                    close(&mut open, done)?;
                }
                Event::Text(text) => {
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text);
                    }
                }
                Event::GeneralRef(name) => {
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&resolve(&name)?);
                    }
                }
                Event::CData(text) => {
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text);
                    }
                }
                Event::Eof => break,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
            elements = elements.saturating_add(1);
            if open.len() > DEPTH || elements > ELEMENTS {
                return Err(XmlError("it is too deep or too long".into()));
            }
        }
        let root = open.pop().filter(|_| open.is_empty());
        let root = root.and_then(|outer| outer.children.into_iter().next());
        root.ok_or_else(|| XmlError("it has no root element".into()))
    }

    fn start(start: &BytesStart<'_>) -> Result<Self, XmlError> {
        let name = start.name().as_ref().to_owned();
        let mut attributes = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|error| XmlError(error.to_string()))?;
            let value = quick_xml::escape::unescape(&attribute.value)
                .map_err(|e| XmlError(e.to_string()))?;
            attributes.push((attribute.key.as_ref().to_owned(), value.into_owned()));
        }
        Ok(Self {
            name,
            attributes,
            ..Self::default()
        })
    }

    /// The value of an attribute.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The first child of that name.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The children of that name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first descendant along the path.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter()
            .try_fold(self, |element, name| element.child(name))
    }

    /// The text, without white space around it.
    pub(crate) fn text(&self) -> &str {
        self.text.trim()
    }

    /// The text of the first descendant along the path.
    pub(crate) fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path).map(Self::text)
    }

    /// This element and everything below it.
    pub(crate) fn descendants(&self) -> Vec<&Self> {
        let mut found = vec![self];
        let mut next = 0;
        while let Some(element) = found.get(next).copied() {
            found.extend(&element.children);
            next += 1;
        }
        found
    }
}

fn close(open: &mut [Element], done: Element) -> Result<(), XmlError> {
    let parent = open
        .last_mut()
        .ok_or_else(|| XmlError("it ends too early".into()))?;
    parent.children.push(done);
    Ok(())
}

fn resolve(name: &str) -> Result<String, XmlError> {
    let reference = format!("&{name};");
    let text = quick_xml::escape::unescape(&reference).map_err(|e| XmlError(e.to_string()))?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_and_text_are_unescaped() {
        let root = Element::parse("<a x='1 &amp; 2'><b>p &lt; q</b><c/><b>r</b></a>").unwrap();
        assert_eq!(root.attribute("x"), Some("1 & 2"));
        assert_eq!(root.text_at(&["b"]), Some("p < q"));
        assert_eq!(root.all("b").count(), 2);
        assert!(root.child("c").is_some());
    }

    #[test]
    fn what_is_no_document_is_an_error() {
        let deep = "<a>".repeat(100);
        for xml in ["", "<a>", "</a>", "text", "<a></b>", &deep] {
            assert!(Element::parse(xml).is_err(), "{xml}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(xml in ".{0,400}") {
            let _ = Element::parse(&xml);
        }

        #[test]
        fn no_tags_panic(xml in "[<>/a&;'= ]{0,60}") {
            let _ = Element::parse(&xml);
        }
    }
}
