//! Builds XML documents; all values are escaped.

use quick_xml::escape::escape;

/// An element that is being built.
pub(crate) struct Tag {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    content: String,
}

impl Tag {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            attributes: Vec::new(),
            content: String::new(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.attributes.push((name, value.to_string()));
        self
    }

    pub(crate) fn text(mut self, text: impl ToString) -> Self {
        self.content.push_str(&escape(text.to_string()));
        self
    }

    pub(crate) fn child(mut self, child: Tag) -> Self {
        self.content.push_str(&child.build());
        self
    }

    pub(crate) fn children(self, children: impl IntoIterator<Item = Tag>) -> Self {
        children.into_iter().fold(self, Self::child)
    }

    pub(crate) fn build(&self) -> String {
        let attributes: String = self
            .attributes
            .iter()
            .map(|(key, value)| format!(" {key}='{}'", escape(value)))
            .collect();
        match self.content.as_str() {
            "" => format!("<{}{attributes}/>", self.name),
            content => format!("<{0}{attributes}>{content}</{0}>", self.name),
        }
    }
}
