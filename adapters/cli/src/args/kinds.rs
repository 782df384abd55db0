//! Kinds of objects as words on the command line: `KIND NAME…`, `KIND/NAME`.

use std::collections::HashSet;

pub(crate) use vsiflow_workflows::kinds::ObjectKind;

/// The kind and the names in `KIND NAME…` or `KIND/NAME…`: `disk/a disk/b` is `disk a b`. A name that is there twice is
/// returned once.
pub(crate) fn kind_and_names(words: &[String]) -> (ObjectKind, Vec<String>) {
    let first = words.first().map_or("", String::as_str);
    if let Some(kind) = ObjectKind::named(first) {
        return (kind, once(words.iter().skip(1).cloned()));
    }
    let prefix = first.split_once('/').map_or("", |(kind, _)| kind);
    let kind = ObjectKind::named(prefix).unwrap_or(ObjectKind::Vsi);
    let bare = |word: &String| match word.split_once('/') {
        Some((other, name)) if ObjectKind::named(other) == Some(kind) => name.to_owned(),
        _ => word.clone(),
    };
    (kind, once(words.iter().map(bare)))
}

/// A VSI's name; the name of another object with its kind, as `disk/NAME`.
pub(super) fn name_of(words: &[String]) -> String {
    match words {
        [kind, name] => named(kind, name.strip_prefix(&format!("{kind}/")).unwrap_or(name)),
        words => of_word(words.first().map_or("", String::as_str)),
    }
}

/// The names of several objects, as [`name_of`] returns them.
pub(crate) fn names_of(words: &[String]) -> Vec<String> {
    match words.split_first() {
        Some((kind, names)) if !names.is_empty() && ObjectKind::named(kind).is_some() => {
            let own = format!("{kind}/");
            let bare = |name: &String| named(kind, name.strip_prefix(&own).unwrap_or(name));
            once(names.iter().map(bare))
        }
        _ => once(words.iter().map(|word| of_word(word))),
    }
}

/// The names in their order, each of them once: a command works once on an object, however often it is named.
pub(super) fn once(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    let names = names.into_iter();
    names.filter(|name| seen.insert(name.clone())).collect()
}

fn of_word(word: &str) -> String {
    match word.split_once('/') {
        Some((kind, name)) => named(kind, name),
        None => word.to_owned(),
    }
}

fn named(kind: &str, name: &str) -> String {
    match ObjectKind::named(kind) {
        Some(ObjectKind::Vsi) => name.to_owned(),
        Some(kind) => format!("{}/{name}", kind.word()),
        None => format!("{kind}/{name}"),
    }
}

/// `vsi/NAME` as `NAME`.
pub(crate) fn without_kind(name: &str) -> &str {
    match ObjectKind::of_name(name) {
        (ObjectKind::Vsi, name) => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_there_twice_is_returned_once() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (text, names) in [
            ("b a b vsi/a", "b a"),
            ("disk b a disk/b", "disk/b disk/a"),
            ("disk/a a disk/a", "disk/a a"),
        ] {
            assert_eq!(names_of(&words(text)), words(names), "{text}");
        }
        for (text, names) in [("vsi b a b", "b a"), ("disk/a disk/b disk/a", "a b")] {
            assert_eq!(kind_and_names(&words(text)).1, words(names), "{text}");
        }
    }
}
