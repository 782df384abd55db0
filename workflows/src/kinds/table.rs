//! Lists of objects as data: what a table, a list of names and whole objects are printed from.
//!
//! The process that has the journal makes an [`ObjectTable`]; a client selects, arranges and prints its rows. It needs
//! to know nothing of the kind for that, so that a client shows kinds and columns that are newer than itself.

use std::collections::{BTreeMap, HashSet};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use tokio::task::spawn_blocking;
use vsiflow_engine::low_priority;

use super::{Cell, Head, ListedObject, ObjectIdentity, ObjectKind};
use crate::fleet::{FleetError, Fleets};

/// Which objects a table has, and what of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TableQuery {
    /// Those of this namespace alone.
    pub namespace: Option<String>,
    /// Those of these names alone, as `NAME` or `NAMESPACE/NAME`. Each of them must exist.
    pub names: Vec<String>,
    /// Deleted ones, too.
    pub deleted: bool,
    /// The cells of the additional columns, too.
    pub wide: bool,
    /// The whole objects, too.
    pub objects: bool,
}

/// Objects of a kind, as rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectTable {
    /// What stands above the cells.
    pub columns: Vec<Head>,
    /// The objects.
    pub rows: Vec<ObjectRow>,
}

impl ObjectTable {
    /// The whole objects, if they were asked for.
    pub fn into_objects(self) -> Vec<Value> {
        let rows = self.rows.into_iter();
        rows.filter_map(|row| row.object).collect()
    }
}

/// An object as a row of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRow {
    /// Its namespace; none of kinds without, and of an object whose record cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its UID; none of kinds without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Its labels, if objects of the kind have any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// How many machines or disks go with it when it is deleted.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub size: usize,
    /// Whether its record cannot be read; then only its name is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_unreadable: bool,
    /// The cells below the columns.
    pub cells: Vec<Cell>,
    /// The whole object, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Value>,
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one(size: &usize) -> bool {
    *size == 1
}

impl ObjectRow {
    fn of(object: &dyn ListedObject, query: &TableQuery) -> Result<Self, FleetError> {
        let identity = object.identity();
        let defect = |error: serde_json::Error| FleetError::defect(error.to_string());
        let whole = query.objects.then(|| object.to_json()).transpose();
        Ok(Self {
            namespace: identity.namespace.map(str::to_owned),
            name: identity.name.to_owned(),
            uid: identity.uid.map(str::to_owned),
            labels: identity.labels.cloned(),
            size: object.size(),
            is_unreadable: !object.is_readable(),
            cells: object.cells(query.wide),
            object: whole.map_err(defect)?,
        })
    }
}

impl ObjectKind {
    /// The objects that a query asks for.
    ///
    /// # Errors
    /// `VSI0703` with the user's next step if a named object does not exist; when a journal cannot be read.
    pub async fn table(
        self,
        fleets: &Fleets,
        query: &TableQuery,
    ) -> Result<ObjectTable, FleetError> {
        let objects = if query.objects || query.wide {
            self.list(fleets, query.deleted).await?
        } else {
            self.list_summaries(fleets, query.deleted).await?
        };
        let selection = query.clone();
        let rows = spawn_blocking(move || low_priority::run(|| rows_of(objects, &selection)));
        let rows = rows.await;
        let (rows, missing) = rows.map_err(|error| FleetError::defect(error.to_string()))??;
        let namespace = query.namespace.as_deref().unwrap_or("default");
        for name in &missing {
            self.check_exists(fleets, namespace, name).await?;
        }
        let columns = self.heads(query.wide);
        Ok(ObjectTable { columns, rows })
    }

    /// These objects as rows, with what the query asks for of each.
    ///
    /// # Errors
    /// A defect, if an object has no JSON form.
    pub fn table_of<'o>(
        self,
        objects: impl Iterator<Item = &'o dyn ListedObject>,
        query: &TableQuery,
    ) -> Result<ObjectTable, FleetError> {
        let rows: Result<Vec<_>, _> = objects.map(|object| ObjectRow::of(object, query)).collect();
        Ok(ObjectTable {
            columns: self.heads(query.wide),
            rows: rows?,
        })
    }
}

/// The rows of those objects that a query asks for, and the names that none of them has. There may be many, so that
/// they are not made on the runtime's threads.
fn rows_of(
    objects: Vec<Box<dyn ListedObject>>,
    query: &TableQuery,
) -> Result<(Vec<ObjectRow>, Vec<String>), FleetError> {
    let mut named = NamedObjects::of(&query.names);
    let mut rows = Vec::new();
    // Each object is freed once it is a row.
    for object in objects {
        let identity = object.identity();
        let is_asked_for = if query.names.is_empty() {
            is_here(query, &identity)
        } else {
            named.has(query, &identity)
        };
        if is_asked_for {
            rows.push(ObjectRow::of(object.as_ref(), query)?);
        }
    }
    let missing = query.names.iter().filter(|name| named.is_missing(name));
    let missing = missing.cloned().collect();
    Ok((rows, missing))
}

/// Whether an object is in the namespace. If its namespace cannot be read, it is shown in every one.
fn is_here(query: &TableQuery, identity: &ObjectIdentity<'_>) -> bool {
    match (&query.namespace, identity.namespace) {
        (Some(wanted), Some(own)) => wanted == own,
        _ => true,
    }
}

/// The names of a query. Each object is looked up in them, so that many names of many objects take no longer.
struct NamedObjects<'a> {
    names: HashSet<&'a str>,
    /// Those that no object had so far.
    missing: HashSet<&'a str>,
}

impl<'a> NamedObjects<'a> {
    fn of(names: &'a [String]) -> Self {
        let names: HashSet<_> = names.iter().map(String::as_str).collect();
        let missing = names.clone();
        Self { names, missing }
    }

    /// Whether the object is named.
    fn has(&mut self, query: &TableQuery, identity: &ObjectIdentity<'_>) -> bool {
        let bare = is_here(query, identity).then(|| identity.name.to_owned());
        let namespace = identity.namespace;
        let qualified = namespace.map(|own| format!("{own}/{}", identity.name));
        let mut is_named = false;
        for name in bare.into_iter().chain(qualified) {
            self.missing.remove(name.as_str());
            is_named |= self.names.contains(name.as_str());
        }
        is_named
    }

    fn is_missing(&self, name: &str) -> bool {
        self.missing.contains(name)
    }
}

impl Serialize for ObjectKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for ObjectKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let kind = Self::ALL.iter().find(|kind| kind.word() == word);
        kind.copied()
            .ok_or_else(|| de::Error::custom(format!("there is no kind {word}")))
    }
}

impl JsonSchema for ObjectKind {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ObjectKind".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let words: Vec<_> = Self::ALL.iter().map(|kind| kind.word()).collect();
        json_schema!({"description": "A kind of objects.", "type": "string", "enum": words})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_and_those_of_no_object_are_missing() {
        let query = TableQuery {
            namespace: Some("default".to_owned()),
            names: ["a", "b/a", "b/c", "d"].map(str::to_owned).to_vec(),
            ..TableQuery::default()
        };
        let mut named = NamedObjects::of(&query.names);
        for (namespace, name, is_named) in [
            (Some("default"), "a", true),
            (Some("b"), "a", true),
            (Some("b"), "d", false),
            (Some("default"), "c", false),
            (None, "d", true),
        ] {
            let identity = ObjectIdentity {
                namespace,
                name,
                uid: None,
                labels: None,
            };
            assert_eq!(named.has(&query, &identity), is_named, "{name}");
        }
        let missing = query.names.iter().filter(|name| named.is_missing(name));
        assert_eq!(missing.collect::<Vec<_>>(), ["b/c"]);
    }

    #[test]
    fn every_kind_is_read_from_its_word_alone() {
        for kind in ObjectKind::ALL {
            let word = serde_json::to_string(kind).unwrap();
            assert_eq!(serde_json::from_str::<ObjectKind>(&word).unwrap(), *kind);
        }
        assert!(serde_json::from_str::<ObjectKind>("\"machine\"").is_err());
    }
}
