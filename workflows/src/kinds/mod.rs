//! The kinds of objects that users see, one file each.
//!
//! A [`Kind`] says what is particular to its objects: its words, whether they belong to namespaces, how they are
//! listed, found and described, and the columns of its table. Whoever shows objects of any kind does that through
//! [`ObjectKind`], the registry: it lists [`ListedObject`]s, and knows no kind by name.
//!
//! A kind never prints and never asks a host except through the fleet. Columns and descriptions are data; a client
//! decides how times and sizes are written.

mod column;
mod description;
mod disk;
mod group;
mod host;
mod image;
mod network;
mod pool;
mod quota;
mod run;
mod server_type;
mod snapshot;
mod table;
mod vsi;

use std::collections::BTreeMap;

use futures::{FutureExt as _, future::BoxFuture};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use vsiflow_engine::{executor::By, model::EntityId};

pub use self::{
    column::{Cell, Column, Head},
    description::{Description, Detail, Phrase, TreeNode},
    table::{ObjectRow, ObjectTable, TableQuery},
};
use crate::{
    fleet::{DeletionMode, Fleet, FleetError, Fleets, HistoryLine, Metadata},
    spec::documents,
};

/// The words of a kind.
#[derive(Clone, Copy, Debug)]
pub struct KindWords {
    /// The word before a name, such as `disk` in `disk/NAME`.
    pub singular: &'static str,
    /// What a sentence calls one of them, such as `data disk`.
    pub noun: &'static str,
    /// What a sentence calls several of them, such as `data disks`.
    pub plural: &'static str,
    /// The other words that users write for it, in lower case.
    pub synonyms: &'static [&'static str],
}

/// The words of a kind in the API for programs.
#[derive(Clone, Copy, Debug)]
pub struct ResourceWords {
    /// The collection in paths, such as `datadisks`.
    pub path: &'static str,
    /// The object in the names of operations, such as `DataDisk`.
    pub name: &'static str,
}

/// What the names of a kind's objects are unique in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameScope {
    /// A namespace. Such objects have labels.
    Namespace,
    /// The journal.
    Journal,
    /// A host or one of its pools: a list may have a name more than once.
    Host,
}

/// Who an object is.
#[derive(Clone, Copy, Debug)]
pub struct ObjectIdentity<'o> {
    /// Its namespace; none of kinds without, and of an object whose record cannot be read.
    pub namespace: Option<&'o str>,
    /// Its name.
    pub name: &'o str,
    /// Its UID; none of kinds without.
    pub uid: Option<&'o str>,
    /// Its labels, if objects of the kind have any.
    pub labels: Option<&'o BTreeMap<String, String>>,
}

impl<'o> ObjectIdentity<'o> {
    /// The identity of an object with metadata.
    fn of(metadata: &'o Metadata) -> Self {
        Self {
            namespace: Some(metadata.namespace.as_str()).filter(|namespace| !namespace.is_empty()),
            name: &metadata.name,
            uid: Some(&metadata.uid),
            labels: Some(&metadata.labels),
        }
    }

    /// The identity of an object that has a name and nothing else.
    fn named(name: &'o str) -> Self {
        Self {
            namespace: None,
            name,
            uid: None,
            labels: None,
        }
    }

    /// Whether it is this object, or one whose namespace is not known.
    fn is_called(&self, namespace: &str, name: &str) -> bool {
        self.name == name && self.namespace.is_none_or(|own| own == namespace)
    }
}

/// A kind of objects.
pub trait Kind: Sized + Send + Sync + 'static {
    /// An object as lists have it.
    type Object: Serialize + JsonSchema + Send + Sync + 'static;
    /// Its words.
    const WORDS: KindWords;
    /// What names are unique in.
    const NAMES: NameScope;
    /// Its words in the API for programs.
    const RESOURCE: ResourceWords;
    /// What a deletion does, in a sentence; `None` if objects of the kind are not deleted by their names.
    const DELETION: Option<&'static str>;
    /// Whether a list asks hosts, and is not answered from the journal alone.
    const ASKS_HOSTS: bool = false;
    /// The columns of its table. The namespace is not among them.
    const COLUMNS: &'static [Column<Self::Object>];

    /// Who an object is.
    fn identity(object: &Self::Object) -> ObjectIdentity<'_>;

    /// What a document of the object says, of kinds whose objects have no form of a document otherwise; `None` of kinds
    /// without documents.
    fn spec(_object: &Self::Object) -> Option<Value> {
        None
    }

    /// Whether its record can be read. Only its name is known otherwise, and no selection includes it.
    fn is_readable(_object: &Self::Object) -> bool {
        true
    }

    /// How many machines or disks go with it when it is deleted.
    fn size(_object: &Self::Object) -> usize {
        1
    }

    /// All objects; with `deleted` also deleted ones, if the kind remembers any.
    fn list(
        fleets: &Fleets,
        deleted: bool,
    ) -> impl Future<Output = Result<Vec<Self::Object>, FleetError>> + Send;

    /// The same objects with what a narrow table and a list of names need, if that is cheaper.
    ///
    /// # Errors
    /// As [`Self::list`].
    fn list_summaries(
        fleets: &Fleets,
        deleted: bool,
    ) -> impl Future<Output = Result<Vec<Box<dyn ListedObject>>, FleetError>> + Send {
        let objects = Self::list(fleets, deleted);
        objects.map(|objects| Ok(objects?.into_iter().map(listed::<Self>).collect()))
    }

    /// One object, by its name or as `NAMESPACE/NAME`.
    ///
    /// # Errors
    /// `VSI0703` with the user's next step if there is none, or when a journal cannot be read.
    fn get(
        fleets: &Fleets,
        namespace: &str,
        name: &str,
    ) -> impl Future<Output = Result<Self::Object, FleetError>> + Send {
        async move {
            let (namespace, name) = match Self::NAMES {
                NameScope::Namespace => name.split_once('/').unwrap_or((namespace, name)),
                NameScope::Journal | NameScope::Host => ("", name),
            };
            let mut objects = Self::list(fleets, false).await?.into_iter();
            let object = objects.find(|object| Self::identity(object).is_called(namespace, name));
            object.ok_or_else(|| FleetError::not_found(Self::WORDS.singular, name))
        }
    }

    /// Orders the deletion of an object. Returns the entities to wait for; none if it is gone at once.
    ///
    /// # Errors
    /// `VSI0703` if there is no such object, or it cannot be deleted; the guards' refusals.
    fn delete(
        _fleet: &Fleet,
        _namespace: &str,
        name: &str,
        _mode: DeletionMode,
        _by: By,
    ) -> impl Future<Output = Result<Vec<EntityId>, FleetError>> + Send {
        std::future::ready(Err(FleetError::not_found(Self::WORDS.singular, name)))
    }

    /// The parts of an object's description; none if its value says everything.
    fn details(_object: &Self::Object) -> Vec<Detail> {
        Vec::new()
    }

    /// The history of an object, named as for [`Self::get`].
    ///
    /// # Errors
    /// When a journal cannot be read.
    fn history(
        fleets: &Fleets,
        namespace: &str,
        name: &str,
        _object: &Self::Object,
    ) -> impl Future<Output = Result<Vec<HistoryLine>, FleetError>> + Send {
        let name = format!("{}/{name}", Self::WORDS.singular);
        async move { history_lines(fleets, namespace, &name).await }
    }

    /// Everything known about an object, named as for [`Self::get`].
    ///
    /// # Errors
    /// As [`Self::get`].
    fn describe(
        fleets: &Fleets,
        namespace: &str,
        name: &str,
    ) -> impl Future<Output = Result<Description, FleetError>> + Send {
        async move {
            let object = Self::get(fleets, namespace, name).await?;
            let history = Self::history(fleets, namespace, name, &object).await?;
            Description::of(&object, Self::details(&object), history)
        }
    }

    /// Checks that an object of this name exists.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn check_exists(
        fleets: &Fleets,
        namespace: &str,
        name: &str,
    ) -> impl Future<Output = Result<(), FleetError>> + Send {
        async move { Self::get(fleets, namespace, name).await.map(drop) }
    }
}

/// The history of an object, named as in [`HistoryHandle::lines`](crate::fleet::HistoryHandle::lines).
async fn history_lines(
    fleets: &Fleets,
    namespace: &str,
    name: &str,
) -> Result<Vec<HistoryLine>, FleetError> {
    let fleet = fleets.that_has(namespace, name).await?;
    fleet.history().lines(namespace, name).await
}

/// An object of any kind.
pub trait ListedObject: Send + Sync {
    /// Who it is.
    fn identity(&self) -> ObjectIdentity<'_>;

    /// Whether its record can be read.
    fn is_readable(&self) -> bool;

    /// How many machines or disks go with it when it is deleted.
    fn size(&self) -> usize;

    /// The object as it is printed, with `metadata` in any case.
    ///
    /// # Errors
    /// A defect, if the object has no JSON form.
    fn to_json(&self) -> serde_json::Result<Value>;

    /// The cells of its row; with `wide`, those of the additional columns, too.
    fn cells(&self, wide: bool) -> Vec<Cell>;
}

/// An object together with its kind.
struct ObjectOf<K: Kind>(K::Object);

impl<K: Kind> ListedObject for ObjectOf<K> {
    fn identity(&self) -> ObjectIdentity<'_> {
        K::identity(&self.0)
    }

    fn is_readable(&self) -> bool {
        K::is_readable(&self.0)
    }

    fn size(&self) -> usize {
        K::size(&self.0)
    }

    fn to_json(&self) -> serde_json::Result<Value> {
        let object = serde_json::to_value(&self.0)?;
        Ok(match K::NAMES {
            NameScope::Namespace => object,
            NameScope::Journal | NameScope::Host => {
                let ObjectIdentity { name, uid, .. } = self.identity();
                let metadata = match uid {
                    Some(uid) => json!({"name": name, "uid": uid}),
                    None => json!({"name": name}),
                };
                match K::spec(&self.0) {
                    None => json!({"metadata": metadata, "status": object}),
                    Some(spec) => json!({
                        "apiVersion": documents::VSIFLOW_API_VERSION,
                        "kind": K::RESOURCE.name,
                        "metadata": metadata,
                        "spec": spec,
                        "status": object,
                    }),
                }
            }
        })
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let columns = K::COLUMNS.iter().filter(|column| wide || !column.is_wide);
        columns.map(|column| (column.cell)(&self.0)).collect()
    }
}

fn listed<K: Kind>(object: K::Object) -> Box<dyn ListedObject> {
    Box::new(ObjectOf::<K>(object))
}

/// What the registry knows of a kind.
trait AnyKind: Sync {
    fn words(&self) -> KindWords;
    fn names(&self) -> NameScope;
    fn heads(&self, wide: bool) -> Vec<Head>;
    fn asks_hosts(&self) -> bool;
    fn list<'f>(&self, fleets: &'f Fleets, deleted: bool) -> Listing<'f>;
    fn list_summaries<'f>(&self, fleets: &'f Fleets, deleted: bool) -> Listing<'f>;
    fn get<'f>(
        &self,
        fleets: &'f Fleets,
        namespace: &'f str,
        name: &'f str,
    ) -> BoxFuture<'f, Result<Box<dyn ListedObject>, FleetError>>;
    fn describe<'f>(
        &self,
        fleets: &'f Fleets,
        namespace: &'f str,
        name: &'f str,
    ) -> BoxFuture<'f, Result<Description, FleetError>>;
    fn check_exists<'f>(
        &self,
        fleets: &'f Fleets,
        namespace: &'f str,
        name: &'f str,
    ) -> BoxFuture<'f, Result<(), FleetError>>;
    fn is_deletable(&self) -> bool;
    fn delete<'f>(
        &self,
        fleet: &'f Fleet,
        namespace: &'f str,
        name: &'f str,
        mode: DeletionMode,
        by: By,
    ) -> BoxFuture<'f, Result<Vec<EntityId>, FleetError>>;
}

/// A list of objects that is being made.
type Listing<'f> = BoxFuture<'f, Result<Vec<Box<dyn ListedObject>>, FleetError>>;

impl<K: Kind> AnyKind for K {
    fn words(&self) -> KindWords {
        K::WORDS
    }

    fn names(&self) -> NameScope {
        K::NAMES
    }

    fn heads(&self, wide: bool) -> Vec<Head> {
        let columns = K::COLUMNS.iter().filter(|column| wide || !column.is_wide);
        columns.map(|column| column.head.clone()).collect()
    }

    fn asks_hosts(&self) -> bool {
        K::ASKS_HOSTS
    }

    fn list_summaries<'f>(&self, fleets: &'f Fleets, deleted: bool) -> Listing<'f> {
        K::list_summaries(fleets, deleted).boxed()
    }

    fn list<'f>(&self, fleets: &'f Fleets, deleted: bool) -> Listing<'f> {
        let objects = K::list(fleets, deleted);
        let listed = objects.map(|objects| Ok(objects?.into_iter().map(listed::<K>).collect()));
        listed.boxed()
    }

    fn get<'f>(
        &self,
        fleets: &'f Fleets,
        namespace: &'f str,
        name: &'f str,
    ) -> BoxFuture<'f, Result<Box<dyn ListedObject>, FleetError>> {
        let object = K::get(fleets, namespace, name);
        object.map(|object| Ok(listed::<K>(object?))).boxed()
    }

    fn describe<'f>(
        &self,
        fleets: &'f Fleets,
        namespace: &'f str,
        name: &'f str,
    ) -> BoxFuture<'f, Result<Description, FleetError>> {
        K::describe(fleets, namespace, name).boxed()
    }

    fn check_exists<'f>(
        &self,
        fleets: &'f Fleets,
        namespace: &'f str,
        name: &'f str,
    ) -> BoxFuture<'f, Result<(), FleetError>> {
        K::check_exists(fleets, namespace, name).boxed()
    }

    fn is_deletable(&self) -> bool {
        K::DELETION.is_some()
    }

    fn delete<'f>(
        &self,
        fleet: &'f Fleet,
        namespace: &'f str,
        name: &'f str,
        mode: DeletionMode,
        by: By,
    ) -> BoxFuture<'f, Result<Vec<EntityId>, FleetError>> {
        K::delete(fleet, namespace, name, mode, by).boxed()
    }
}

/// Does something for each kind as its type.
pub trait KindVisitor {
    /// Does it for this kind.
    fn visit<K: Kind>(&mut self);
}

macro_rules! registry {
    ($($(#[$doc:meta])* $name:ident => $module:ident::$kind:ident;)+) => {
        /// The kinds of objects. Each has a file in this folder, and a line here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ObjectKind {
            $($(#[$doc])* $name,)+
        }

        impl ObjectKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            fn kind(self) -> &'static dyn AnyKind {
                match self {
                    $(Self::$name => &$module::$kind,)+
                }
            }
        }

        /// Shows a visitor each kind as its type.
        pub fn visit_kinds(visitor: &mut impl KindVisitor) {
            $(visitor.visit::<$module::$kind>();)+
        }
    };
}

registry! {
    /// Virtual server instances.
    Vsi => vsi::VsiKind;
    /// Pools.
    Pool => pool::PoolKind;
    /// Groups.
    Group => group::GroupKind;
    /// Base images.
    Image => image::ImageKind;
    /// Data disks.
    Disk => disk::DiskKind;
    /// Snapshots.
    Snapshot => snapshot::SnapshotKind;
    /// Networks.
    Network => network::NetworkKind;
    /// Hosts.
    Host => host::HostKind;
    /// Runs of workflows.
    Run => run::RunKind;
    /// Sizes of machines.
    Type => server_type::ServerTypeKind;
    /// Limits of namespaces.
    Quota => quota::QuotaKind;
}

impl ObjectKind {
    /// The kind that a word denotes, whatever its case.
    pub fn named(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        let is_meant = |kind: &&Self| {
            let words = kind.words();
            words.singular == word || words.synonyms.contains(&word.as_str())
        };
        Self::ALL.iter().find(is_meant).copied()
    }

    /// The kind and the name in `KIND/NAME`; everything else is the name of a VSI.
    pub fn of_name(qualified: &str) -> (Self, &str) {
        let parts = qualified.split_once('/');
        let of_kind = parts.and_then(|(word, bare)| Some((Self::named(word)?, bare)));
        of_kind.unwrap_or((Self::Vsi, qualified))
    }

    /// Its words.
    pub fn words(self) -> KindWords {
        self.kind().words()
    }

    /// The word before a name.
    pub fn word(self) -> &'static str {
        self.words().singular
    }

    /// What names of the kind are unique in.
    pub fn names(self) -> NameScope {
        self.kind().names()
    }

    /// Whether a list asks hosts, and is not answered from the journal alone.
    pub fn asks_hosts(self) -> bool {
        self.kind().asks_hosts()
    }

    /// The heads of its table.
    pub fn heads(self, wide: bool) -> Vec<Head> {
        self.kind().heads(wide)
    }

    /// All objects of the kind, whole; with `deleted` also deleted ones.
    ///
    /// # Errors
    /// When a journal cannot be read.
    pub async fn list(
        self,
        fleets: &Fleets,
        deleted: bool,
    ) -> Result<Vec<Box<dyn ListedObject>>, FleetError> {
        self.kind().list(fleets, deleted).await
    }

    /// The same objects with what the narrow table and a list of names need. A list of many VSIs is much cheaper
    /// this way.
    ///
    /// # Errors
    /// When a journal cannot be read.
    pub async fn list_summaries(
        self,
        fleets: &Fleets,
        deleted: bool,
    ) -> Result<Vec<Box<dyn ListedObject>>, FleetError> {
        self.kind().list_summaries(fleets, deleted).await
    }

    /// One object, by its name or as `NAMESPACE/NAME`. A deleted one, if no other of a kind that remembers those has
    /// that name.
    ///
    /// # Errors
    /// `VSI0703` with the user's next step if there is none, or when a journal cannot be read.
    pub async fn get(
        self,
        fleets: &Fleets,
        namespace: &str,
        name: &str,
    ) -> Result<Box<dyn ListedObject>, FleetError> {
        self.kind().get(fleets, namespace, name).await
    }

    /// Everything known about an object, named as for [`Self::get`].
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn describe(
        self,
        fleets: &Fleets,
        namespace: &str,
        name: &str,
    ) -> Result<Description, FleetError> {
        self.kind().describe(fleets, namespace, name).await
    }

    /// Checks that an object of this name exists.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn check_exists(
        self,
        fleets: &Fleets,
        namespace: &str,
        name: &str,
    ) -> Result<(), FleetError> {
        self.kind().check_exists(fleets, namespace, name).await
    }

    /// Whether objects of the kind are deleted by their names.
    pub fn is_deletable(self) -> bool {
        self.kind().is_deletable()
    }

    /// Orders the deletion of an object. Returns the entities to wait for; none if it is gone at once.
    ///
    /// # Errors
    /// As [`Kind::delete`].
    pub async fn delete(
        self,
        fleet: &Fleet,
        namespace: &str,
        name: &str,
        mode: DeletionMode,
        by: By,
    ) -> Result<Vec<EntityId>, FleetError> {
        self.kind().delete(fleet, namespace, name, mode, by).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_word_denotes_one_kind() {
        let mut words = BTreeSet::new();
        for kind in ObjectKind::ALL {
            let KindWords {
                singular, synonyms, ..
            } = kind.words();
            assert_eq!(ObjectKind::named(singular), Some(*kind));
            for word in std::iter::once(&singular).chain(synonyms) {
                assert!(words.insert(*word), "{word} twice");
                assert_eq!(*word, word.to_ascii_lowercase());
            }
        }
        assert_eq!(ObjectKind::named("VirtualServer"), Some(ObjectKind::Vsi));
        assert_eq!(ObjectKind::named("web"), None);
    }

    #[test]
    fn every_table_begins_with_the_name() {
        for kind in ObjectKind::ALL {
            assert_eq!(kind.heads(false).first(), Some(&Head::Word("NAME".into())));
            assert!(kind.heads(true).len() >= kind.heads(false).len());
        }
    }
}
