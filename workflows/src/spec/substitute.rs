//! Substitutes `$(group.…)` and `$(pool.…)` in the texts of templates, and nothing else: `$(hostname)`
//! in a script is unchanged, and `$$(` gives `$(`.
//!
//! A group's values are filled in first, when a pool of it is made, and a pool's values when a member
//! is made. References inside values are never substituted.

/// Maximum length of a reference, in bytes.
const REFERENCE_MAX: usize = 256;

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

/// Fills in a group's values. Escapes remain, because a pool's values are filled in later; so do
/// references for which `value` returns `None`.
///
/// # Errors
/// The error of `value`.
pub fn of_group<E>(
    text: &str,
    mut value: impl FnMut(&str) -> Result<Option<String>, E>,
) -> Result<String, E> {
    let mut filled = String::with_capacity(text.len());
    for piece in TemplatePieces(text) {
        match piece {
            TemplatePiece::Plain(plain) => filled.push_str(plain),
            TemplatePiece::Escape => filled.push_str("$$("),
            TemplatePiece::Reference(path) => match value(path)? {
                Some(value) => filled.push_str(&value.replace("$(", "$$(")),
                None => {
                    filled.push_str("$(");
                    filled.push_str(path);
                    filled.push(')');
                }
            },
        }
    }
    Ok(filled)
}

/// Fills in a pool's values, and resolves escapes. A reference for which `value` returns `None`
/// remains.
pub fn of_pool(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(text.len());
    for piece in TemplatePieces(text) {
        match piece {
            TemplatePiece::Plain(plain) => filled.push_str(plain),
            TemplatePiece::Escape => filled.push_str("$("),
            TemplatePiece::Reference(path) => match value(path) {
                Some(value) => filled.push_str(&value),
                None => {
                    filled.push_str("$(");
                    filled.push_str(path);
                    filled.push(')');
                }
            },
        }
    }
    filled
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

/// Fills the release of a group's document into a text of a template; a pool's own document has none.
/// If the field takes no values, other references are refused.
///
/// # Errors
/// With message and remedy.
pub fn in_template(
    text: &str,
    release: Option<&DocumentRelease<'_>>,
    takes_values: bool,
) -> Result<String, (String, String)> {
    let filled = match release {
        Some(release) => of_release(text, release)?,
        None => text.to_owned(),
    };
    let refused = if takes_values {
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

fn of_release(text: &str, release: &DocumentRelease<'_>) -> Result<String, (String, String)> {
    let filled = of_group(text, |reference| {
        let Some(path) = reference.strip_prefix("group.release.") else {
            return Ok(None);
        };
        let place = path.split_once('.');
        let place = place.filter(|(_, field)| ["image", "checksum"].contains(field));
        match place.and_then(|(name, field)| (release.value)(name, field)) {
            Some(value) => Ok(Some(value)),
            None => Err(reference.to_owned()),
        }
    });
    filled.map_err(|reference| {
        let names = match release.names.as_slice() {
            [] => "spec.release, which is empty".to_owned(),
            names => names.join(", "),
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
        let group = |path: &str| Ok::<_, ()>(is_below(path, GROUP).then(|| value.to_owned()));
        let group = of_group(text, group).unwrap();
        of_pool(&group, |path| {
            (path == "pool.index").then(|| "7".to_owned())
        })
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
