//! Parses the path and query of a request.

use http::Method;
use url::form_urlencoded;
use vsiflow_workflows::spec::meta::{check_label, check_subdomain};

use super::{GROUP, Refusal, VERSION};
use crate::kind::{ResourceKind, Subresource};

/// The parsed path of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Discovery of the group.
    Group,
    /// Discovery of the version.
    Version,
    /// A subresource of an object.
    Target(RouteTarget),
    /// A file upload.
    Upload(UploadTarget),
}

/// A file that is uploaded into a namespace, under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UploadTarget {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl UploadTarget {
    /// The plural of uploaded files in paths and access rules.
    pub(super) const PLURAL: &str = "images";
    /// The subresource in paths and access rules.
    pub(super) const WORD: &str = "upload";
    /// The verbs whose rights are checked: `create` to announce a file, `update` to send it.
    pub(super) const VERBS: [&str; 2] = ["create", "update"];

    /// The verb whose right is required.
    pub(super) fn verb(method: &Method) -> Result<&'static str, Refusal> {
        match *method {
            Method::POST => Ok("create"),
            Method::PUT => Ok("update"),
            _ => Err(Refusal::method(method)),
        }
    }
}

/// The object whose rights are checked.
pub(super) struct ReviewedObject<'a> {
    pub(super) namespace: &'a str,
    pub(super) plural: String,
    pub(super) name: &'a str,
    pub(super) subresource: &'static str,
}

impl<'a> From<&'a RouteTarget> for ReviewedObject<'a> {
    fn from(target: &'a RouteTarget) -> Self {
        Self {
            namespace: &target.namespace,
            plural: target.kind.plural(),
            name: &target.name,
            subresource: target.subresource.word(),
        }
    }
}

impl<'a> From<&'a UploadTarget> for ReviewedObject<'a> {
    fn from(target: &'a UploadTarget) -> Self {
        Self {
            namespace: &target.namespace,
            plural: UploadTarget::PLURAL.to_owned(),
            name: &target.name,
            subresource: UploadTarget::WORD,
        }
    }
}

/// A subresource of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RouteTarget {
    pub(super) namespace: String,
    pub(super) kind: ResourceKind,
    pub(super) name: String,
    pub(super) subresource: Subresource,
}

impl RouteTarget {
    /// The verb whose right is required.
    pub(super) fn verb(&self, method: &Method) -> Result<&'static str, Refusal> {
        let verb = match *method {
            Method::GET => "get",
            Method::POST => "create",
            Method::PUT => "update",
            _ => return Err(Refusal::method(method)),
        };
        if self.subresource.verbs().contains(&verb) {
            Ok(verb)
        } else {
            Err(Refusal::method(method))
        }
    }
}

/// Parses a path. Nothing in it is percent-decoded: no name of an object needs that.
pub(super) fn route(path: &str) -> Option<Route> {
    let mut parts = path.split('/');
    let prefix = [parts.next()?, parts.next()?, parts.next()?];
    if prefix != ["", "apis", GROUP] {
        return None;
    }
    match parts.collect::<Vec<_>>().as_slice() {
        [] => Some(Route::Group),
        [version] if *version == VERSION => Some(Route::Version),
        [version, "namespaces", namespace, plural, name, subresource]
            if *version == VERSION
                && (*plural, *subresource) == (UploadTarget::PLURAL, UploadTarget::WORD) =>
        {
            check_label(namespace).ok()?;
            check_subdomain(name).ok()?;
            Some(Route::Upload(UploadTarget {
                namespace: (*namespace).to_owned(),
                name: (*name).to_owned(),
            }))
        }
        [version, "namespaces", namespace, plural, name, subresource] if *version == VERSION => {
            target(namespace, plural, name, subresource).map(Route::Target)
        }
        _ => None,
    }
}

fn target(namespace: &str, plural: &str, name: &str, subresource: &str) -> Option<RouteTarget> {
    check_subdomain(namespace).ok()?;
    check_subdomain(name).ok()?;
    let kind = ResourceKind::with_plural(plural)?;
    let mut has = kind.subresources().iter();
    let subresource = *has.find(|one| one.word() == subresource)?;
    Some(RouteTarget {
        namespace: namespace.to_owned(),
        kind,
        name: name.to_owned(),
        subresource,
    })
}

/// Options of a read or a console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RouteOptions {
    /// Whether to wait for new entries.
    pub(super) follow: bool,
    /// The start: an offset of the journal, or a byte of the log.
    pub(super) from: u64,
    /// Whether to read the evidence of the newest failed boot.
    pub(super) failed: bool,
    /// Whether to read its domain's definition.
    pub(super) definition: bool,
    /// Whether to close a console that another user has open.
    pub(super) force: bool,
}

impl RouteOptions {
    /// Parses a query that may have the options `known`.
    pub(super) fn of(query: &str, known: &[&str]) -> Result<Self, Refusal> {
        let mut options = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let wrong = || Refusal::query(&key);
            if !known.contains(&&*key) {
                return Err(wrong());
            }
            match &*key {
                "from" => options.from = value.parse().map_err(|_| wrong())?,
                "follow" => options.follow = flag(&value).ok_or_else(wrong)?,
                "failed" => options.failed = flag(&value).ok_or_else(wrong)?,
                "definition" => options.definition = flag(&value).ok_or_else(wrong)?,
                "force" => options.force = flag(&value).ok_or_else(wrong)?,
                _ => return Err(wrong()),
            }
        }
        Ok(options)
    }
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "" | "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Actions have no options in the query.
pub(super) fn no_query(query: &str) -> Result<(), Refusal> {
    RouteOptions::of(query, &[]).map(|_| ())
}
