//! Kinds of objects as words on the command line: `KIND NAME…`, `KIND/NAME`.

pub(crate) use vsiflow_workflows::kinds::ObjectKind;

/// The kind and the names in `KIND NAME…` or `KIND/NAME…`: `disk/a disk/b` is `disk a b`.
pub(crate) fn kind_and_names(words: &[String]) -> (ObjectKind, Vec<String>) {
    let first = words.first().map_or("", String::as_str);
    if let Some(kind) = ObjectKind::named(first) {
        return (kind, words.iter().skip(1).cloned().collect());
    }
    let prefix = first.split_once('/').map_or("", |(kind, _)| kind);
    let kind = ObjectKind::named(prefix).unwrap_or(ObjectKind::Vsi);
    let bare = |word: &String| match word.split_once('/') {
        Some((other, name)) if ObjectKind::named(other) == Some(kind) => name.to_owned(),
        _ => word.clone(),
    };
    (kind, words.iter().map(bare).collect())
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
            names.iter().map(bare).collect()
        }
        _ => words.iter().map(|word| of_word(word)).collect(),
    }
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

/// The kind and the name in `KIND/NAME`; everything else is the name of a VSI.
pub(crate) fn kind_and_name(name: &str) -> (ObjectKind, &str) {
    let qualified = name.split_once('/');
    let of_kind = qualified.and_then(|(word, bare)| Some((ObjectKind::named(word)?, bare)));
    of_kind.unwrap_or((ObjectKind::Vsi, name))
}

/// `vsi/NAME` as `NAME`.
pub(crate) fn without_kind(name: &str) -> &str {
    match kind_and_name(name) {
        (ObjectKind::Vsi, name) => name,
        _ => name,
    }
}
