//! Which fields of specs may be shown, from the schemas of all kinds.
//!
//! The kind of a document may be misspelt, so all kinds count together: a field may be shown if a kind has it, and none
//! says that it is secret.

use std::collections::{BTreeMap, btree_map::Entry};
use std::sync::LazyLock;

use serde_json::Value;
use vsiflow_workflows::spec::schema::SECRET;

use crate::schemas::specs;

/// What of a value may be shown.
#[derive(Debug, PartialEq)]
pub(crate) enum Secrecy {
    /// All of it, whatever it is.
    Shown,
    /// Nothing.
    Hidden,
    /// These fields of an object, and the names of others.
    Fields(BTreeMap<String, Secrecy>),
    /// The items of a list, each of them like this.
    Items(Box<Secrecy>),
}

static SPEC: LazyLock<Secrecy> = LazyLock::new(|| {
    let specs = specs().map(|spec| Secrecy::Fields(fields(spec)));
    specs.reduce(together).unwrap_or(Secrecy::Hidden)
});

/// What of a spec may be shown.
pub(crate) fn spec() -> &'static Secrecy {
    &SPEC
}

/// Whether a spec may have a field of this name that holds no secret.
pub(crate) fn is_shown(field: &str) -> bool {
    match spec() {
        Secrecy::Fields(fields) => fields.get(field) == Some(&Secrecy::Shown),
        _ => false,
    }
}

fn of(schema: &Value) -> Secrecy {
    if schema.get(SECRET).is_some() {
        return Secrecy::Hidden;
    }
    if let Some(items) = schema.get("items") {
        return match of(items) {
            Secrecy::Shown => Secrecy::Shown,
            items => Secrecy::Items(Box::new(items)),
        };
    }
    let fields = fields(schema);
    if fields.values().all(|field| *field == Secrecy::Shown) {
        Secrecy::Shown
    } else {
        Secrecy::Fields(fields)
    }
}

fn fields(schema: &Value) -> BTreeMap<String, Secrecy> {
    let fields = schema.get("properties").and_then(Value::as_object);
    let fields = fields.into_iter().flatten();
    fields
        .map(|(name, field)| (name.clone(), of(field)))
        .collect()
}

/// What two kinds permit to show.
fn together(one: Secrecy, other: Secrecy) -> Secrecy {
    match (one, other) {
        (Secrecy::Fields(mut fields), Secrecy::Fields(others)) => {
            for (name, field) in others {
                match fields.entry(name) {
                    Entry::Vacant(entry) => _ = entry.insert(field),
                    Entry::Occupied(mut entry) => {
                        let own = std::mem::replace(entry.get_mut(), Secrecy::Hidden);
                        *entry.get_mut() = together(own, field);
                    }
                }
            }
            Secrecy::Fields(fields)
        }
        (Secrecy::Items(items), Secrecy::Items(others)) => {
            Secrecy::Items(Box::new(together(*items, *others)))
        }
        (Secrecy::Shown, narrower) | (narrower, Secrecy::Shown) => narrower,
        _ => Secrecy::Hidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'s>(mut secrecy: &'s Secrecy, path: &[&str]) -> &'s Secrecy {
        for name in path {
            while let Secrecy::Items(items) = secrecy {
                secrecy = items;
            }
            secrecy = match secrecy {
                Secrecy::Fields(fields) => &fields[*name],
                _ => return secrecy,
            };
        }
        secrecy
    }

    #[test]
    fn secrets_are_hidden_wherever_a_kind_has_them() {
        let template = ["template", "spec"];
        let member = ["waves", "members", "template", "spec"];
        for above in [&[][..], &template, &member] {
            for secret in ["contract", "userData", "vendorData", "networkConfig"] {
                let path = [above, &["guest", secret]].concat();
                assert_eq!(*at(spec(), &path), Secrecy::Hidden, "{path:?}");
            }
            let path = [above, &["guest", "hostname"]].concat();
            assert_eq!(*at(spec(), &path), Secrecy::Shown, "{path:?}");
        }
        for path in [
            &["contract"][..],
            &["networkConfig"],
            &["source", "imageURL"],
            &["diskTemplates", "spec", "source", "imageURL"],
            &["template", "metadata", "annotations"],
        ] {
            assert_eq!(*at(spec(), path), Secrecy::Hidden, "{path:?}");
        }
    }

    #[test]
    fn fields_of_every_kind_are_shown() {
        for field in [
            "machine",
            "volumeName",
            "cidr",
            "hard",
            "virtualServer",
            "cpus",
            "imageURL",
        ] {
            assert!(is_shown(field), "{field}");
        }
        for field in [
            "contract", "contrat", "guest", "template", "waves", "source",
        ] {
            assert!(!is_shown(field), "{field}");
        }
    }
}
