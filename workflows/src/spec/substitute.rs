//! Substitutes `$(group.…)` and `$(pool.…)` in the texts of templates, and nothing else: `$(hostname)`
//! in a script is unchanged, and `$$(` gives `$(`.
//!
//! A group's values are filled in first, when a pool of it is made, and a pool's values when a member
//! is made. References inside values are never substituted.

/// Maximum length of a reference, in bytes.
const REFERENCE_MAX: usize = 256;

/// Maximum length of a text that is passed to a guest, in bytes.
pub const CONTENT_MAX: usize = 512 << 10;
/// Maximum length of any other text, in bytes.
pub const TEXT_MAX: usize = 16 << 10;

/// The fields whose texts are passed to a guest.
const CONTENTS: [&str; 4] = ["contract", "userData", "vendorData", "networkConfig"];

/// A text would be longer than its field may be, with values filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Maximum length, in bytes.
    pub max: usize,
}

impl TooLong {
    /// What is wrong, and the remedy.
    pub fn in_words(self) -> (String, String) {
        (
            format!("with values filled in it has more than {} bytes", self.max),
            "use fewer references in it, or shorter values".to_owned(),
        )
    }
}

/// The maximum length of a field's text, in bytes.
pub fn text_max(field: &str) -> usize {
    if CONTENTS.contains(&field) {
        CONTENT_MAX
    } else {
        TEXT_MAX
    }
}

/// The maximum length of a text with values filled in: that of its field, or a few values more than it has. Files may
/// contain longer texts than resources of a cluster.
pub fn filled_max(field: &str, text: &str) -> usize {
    text_max(field).max(text.len().saturating_add(TEXT_MAX))
}

/// A text that values are filled into, up to its maximum length.
struct FilledText {
    text: String,
    max: usize,
}

impl FilledText {
    fn new(template: &str, max: usize) -> Self {
        let text = String::with_capacity(template.len().min(max));
        Self { text, max }
    }

    fn push(&mut self, piece: &str) -> Result<(), TooLong> {
        if self.text.len().saturating_add(piece.len()) > self.max {
            return Err(TooLong { max: self.max });
        }
        self.text.push_str(piece);
        Ok(())
    }

    fn push_reference(&mut self, path: &str) -> Result<(), TooLong> {
        ["$(", path, ")"]
            .into_iter()
            .try_for_each(|part| self.push(part))
    }
}

/// The first segment of a reference to a group.
pub const GROUP: &str = "group";
/// The first segment of a reference to a pool.
pub const POOL: &str = "pool";

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TemplatePiece<'a> {
    /// Text without references.
    Plain(&'a str),
    /// `$$(`.
    Escape,
    /// A reference, without `$(` and `)`.
    Reference(&'a str),
}

/// The references of a text, such as `group.members.a-0.address`, in their order.
pub fn references(text: &str) -> impl Iterator<Item = &str> {
    TemplatePieces(text).filter_map(|piece| match piece {
        TemplatePiece::Reference(path) => Some(path),
        TemplatePiece::Plain(_) | TemplatePiece::Escape => None,
    })
}

/// The reference, if the whole text is one.
pub fn whole(text: &str) -> Option<&str> {
    let mut pieces = TemplatePieces(text.trim_end_matches('\n'));
    match (pieces.next(), pieces.next()) {
        (Some(TemplatePiece::Reference(path)), None) => Some(path),
        _ => None,
    }
}

/// Fills in a group's values, up to `max` bytes. Escapes remain, because a pool's values are filled in
/// later; so do references for which `value` returns `None`.
///
/// # Errors
/// The error of `value`, or when the text becomes too long.
pub fn of_group<E: From<TooLong>>(
    text: &str,
    max: usize,
    mut value: impl FnMut(&str) -> Result<Option<String>, E>,
) -> Result<String, E> {
    let mut filled = FilledText::new(text, max);
    for piece in TemplatePieces(text) {
        match piece {
            TemplatePiece::Plain(plain) => filled.push(plain)?,
            TemplatePiece::Escape => filled.push("$$(")?,
            TemplatePiece::Reference(path) => match value(path)? {
                Some(value) => filled.push(&value.replace("$(", "$$("))?,
                None => filled.push_reference(path)?,
            },
        }
    }
    Ok(filled.text)
}

/// Fills in a pool's values, up to `max` bytes, and resolves escapes. A reference for which `value`
/// returns `None` remains.
///
/// # Errors
/// When the text becomes too long.
pub fn of_pool(
    text: &str,
    max: usize,
    value: impl Fn(&str) -> Option<String>,
) -> Result<String, TooLong> {
    let mut filled = FilledText::new(text, max);
    for piece in TemplatePieces(text) {
        match piece {
            TemplatePiece::Plain(plain) => filled.push(plain)?,
            TemplatePiece::Escape => filled.push("$(")?,
            TemplatePiece::Reference(path) => match value(path) {
                Some(value) => filled.push(&value)?,
                None => filled.push_reference(path)?,
            },
        }
    }
    Ok(filled.text)
}

/// The fields of a guest whose texts may contain references.
pub const FILLED: [&str; 4] = ["userData", "networkConfig", "vendorData", "sshKeys"];

/// The release in a group's document: the names of its images, and access to their fields.
pub struct DocumentRelease<'a> {
    /// The names.
    pub names: Vec<String>,
    /// The text of an image's field, by the names of both.
    pub value: &'a dyn Fn(&str, &str) -> Option<String>,
}

/// A text of a template in a document.
#[derive(Clone, Copy)]
pub struct DocumentText<'a> {
    /// The text.
    pub text: &'a str,
    /// The name of its field.
    pub field: &'a str,
    /// Whether other values than those of the release are filled in later.
    pub takes_values: bool,
}

/// Why a text of a document cannot be filled in.
enum UnfilledDocument {
    /// This reference names nothing of the release.
    Unknown(String),
    TooLong(TooLong),
}

impl From<TooLong> for UnfilledDocument {
    fn from(error: TooLong) -> Self {
        Self::TooLong(error)
    }
}

/// Fills the release of a group's document into a text of a template; a pool's own document has none.
/// If the field takes no values, other references are refused.
///
/// # Errors
/// With message and remedy.
pub fn in_template(
    template: DocumentText<'_>,
    release: Option<&DocumentRelease<'_>>,
) -> Result<String, (String, String)> {
    let filled = match release {
        Some(release) => of_release(template, release)?,
        None => template.text.to_owned(),
    };
    let refused = if template.takes_values {
        let mut references = references(&filled);
        let of_group = references.find(|path| is_below(path, GROUP));
        of_group.filter(|_| release.is_none()).map(|reference| {
            (
                format!("$({reference}): this pool belongs to no group"),
                "remove it, or write $$( where it is meant as it is written".to_owned(),
            )
        })
    } else {
        references(&filled).next().map(|reference| {
            (
                format!("no value is put into this field: $({reference}) would stay"),
                format!("use values in {} of guest alone", FILLED.join(", ")),
            )
        })
    };
    match refused {
        None => Ok(filled),
        Some(refused) => Err(refused),
    }
}

fn of_release(
    template: DocumentText<'_>,
    release: &DocumentRelease<'_>,
) -> Result<String, (String, String)> {
    let text = template.text;
    let filled = of_group(text, filled_max(template.field, text), |reference| {
        let Some(path) = reference.strip_prefix("group.release.") else {
            return Ok(None);
        };
        let place = path.split_once('.');
        let place = place.filter(|(_, field)| ["image", "checksum"].contains(field));
        match place.and_then(|(name, field)| (release.value)(name, field)) {
            Some(value) => Ok(Some(value)),
            None => Err(UnfilledDocument::Unknown(reference.to_owned())),
        }
    });
    filled.map_err(|error| {
        let reference = match error {
            UnfilledDocument::Unknown(reference) => reference,
            UnfilledDocument::TooLong(error) => return error.in_words(),
        };
        let names = match release.names.as_slice() {
            [] => "spec.release, which is empty".to_owned(),
            names => super::target::list(names),
        };
        (
            format!("$({reference}) names nothing of spec.release"),
            format!("name one of {names}, with .image or .checksum"),
        )
    })
}

/// Whether a reference belongs to this root: a group, or a pool.
pub fn is_below(path: &str, root: &str) -> bool {
    let rest = path.strip_prefix(root);
    rest.is_some_and(|rest| rest.starts_with('.'))
}

struct TemplatePieces<'a>(&'a str);

impl<'a> Iterator for TemplatePieces<'a> {
    type Item = TemplatePiece<'a>;

    fn next(&mut self) -> Option<TemplatePiece<'a>> {
        let text = self.0;
        if text.is_empty() {
            return None;
        }
        let (piece, rest) = match special(text) {
            Some(found) => found,
            None => {
                // At least one character, up to the next `$` that begins a piece.
                let mut starts = text.char_indices().skip(1);
                let next = starts.find(|(at, c)| {
                    *c == '$' && text.get(*at..).is_some_and(|rest| special(rest).is_some())
                });
                let (plain, rest) = text.split_at(next.map_or(text.len(), |(at, _)| at));
                (TemplatePiece::Plain(plain), rest)
            }
        };
        self.0 = rest;
        Some(piece)
    }
}

/// The piece that begins here, and the text that follows it.
fn special(text: &str) -> Option<(TemplatePiece<'_>, &str)> {
    if let Some(rest) = text.strip_prefix("$$(") {
        return Some((TemplatePiece::Escape, rest));
    }
    let inner = text.strip_prefix("$(")?;
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    // Each `$(` is read to the end of its own path alone, so that a text of them takes linear time.
    let mut bytes = inner.bytes().take(REFERENCE_MAX.saturating_add(1));
    let (path, behind) = inner.split_at(bytes.position(|b| !is_plain(b))?);
    let rest = behind.strip_prefix(')')?;
    let is_ours = is_below(path, GROUP) || is_below(path, POOL);
    is_ours.then_some((TemplatePiece::Reference(path), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, value: &str) -> String {
        let max = usize::MAX;
        let group = |path: &str| Ok::<_, TooLong>(is_below(path, GROUP).then(|| value.to_owned()));
        let group = of_group(text, max, group).unwrap();
        let index = |path: &str| (path == "pool.index").then(|| "7".to_owned());
        of_pool(&group, max, index).unwrap()
    }

    #[test]
    fn filling_ends_at_the_limit_of_the_field() {
        let long = "x".repeat(15_000);
        let text = "$(group.release.n.image)".repeat(20_000);
        let filled = std::cell::Cell::new(0);
        let release = DocumentRelease {
            names: vec!["n".to_owned()],
            value: &|_, _| {
                filled.set(filled.get() + 1);
                Some(long.clone())
            },
        };
        for (field, most) in [("networkConfig", CONTENT_MAX), ("hostname", TEXT_MAX)] {
            filled.set(0);
            let template = DocumentText {
                text: &text,
                field,
                takes_values: true,
            };
            let (message, _) = in_template(template, Some(&release)).unwrap_err();
            let max = filled_max(field, &text);
            assert!(message.contains(&max.to_string()), "{message}");
            assert!(max <= most + text.len());
            assert!(filled.get() <= max / long.len() + 1, "{}", filled.get());
        }
        let name = |_: &str| Some("y".repeat(60));
        let members = "$(pool.member)".repeat(20_000);
        let max = filled_max("networkConfig", &members);
        assert_eq!(of_pool(&members, max, name), Err(TooLong { max }));
    }

    #[test]
    fn a_text_that_is_longer_than_a_resource_permits_still_takes_a_few_values() {
        let text = "x".repeat(CONTENT_MAX + 1) + "$(pool.member)";
        let max = filled_max("userData", &text);
        assert!(of_pool(&text, max, |_| Some("y".repeat(60))).is_ok());
    }

    #[test]
    fn only_references_are_substituted() {
        for (text, expected) in [
            ("a $(group.x.y) b", "a V b"),
            ("$(group.x)$(group.y)", "VV"),
            ("member $(pool.index)", "member 7"),
            (
                "echo $(hostname) $(pool.sh --all)",
                "echo $(hostname) $(pool.sh --all)",
            ),
            ("$$(group.x)", "$(group.x)"),
            ("$$(date)", "$(date)"),
            ("$$$(group.x)", "$$(group.x)"),
            ("$(group.x", "$(group.x"),
            ("$(groups.x) $(group)", "$(groups.x) $(group)"),
            ("100 $ and ü $", "100 $ and ü $"),
            ("", ""),
        ] {
            assert_eq!(filled(text, "V"), expected, "{text}");
        }
    }

    #[test]
    fn what_a_value_says_is_not_substituted_again() {
        for value in ["$(pool.index)", "$$(pool.index)", "$$$(a)", "$(group.x)"] {
            assert_eq!(filled("<$(group.x)>", value), format!("<{value}>"));
        }
    }

    #[test]
    fn a_text_of_beginnings_takes_linear_time() {
        let begun = std::time::Instant::now();
        for piece in ["$(", "$(pool.", "$$", "$$(", "$(pool.a"] {
            let text = piece.repeat(1_400_000 / piece.len()) + ")";
            assert!(filled(&text, "V").len() >= text.len() / 2);
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(10));
        let long = format!("$(group.{})", "x".repeat(REFERENCE_MAX));
        assert_eq!(filled(&long, "V"), long);
    }

    #[test]
    fn references_are_found() {
        let text = "$(group.a) $$(group.b) $(pool.index) $(other.c)";
        let found: Vec<_> = references(text).collect();
        assert_eq!(found, ["group.a", "pool.index"]);
        assert_eq!(whole("$(group.a)\n"), Some("group.a"));
        assert_eq!(whole("$(group.a) "), None);
        assert_eq!(whole("$$(group.a)"), None);
    }
}
