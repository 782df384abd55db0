//! What a request asks for, as its path and query say.

use http::Method;
use url::form_urlencoded;
use vsiflow_workflows::spec::meta::{check_label, check_subdomain};

use super::{GROUP, Refusal, VERSION};
use crate::kind::{ResourceKind, Subresource};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// What there is of this group.
    Group,
    /// What there is of its version.
    Version,
    /// An object's.
    Target(RouteTarget),
    /// A file that is sent.
    Upload(UploadTarget),
}

/// A file that is sent into a namespace, under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UploadTarget {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl UploadTarget {
    /// As paths and rights name what such files are for.
    pub(super) const PLURAL: &str = "images";
    /// As they name what is done with it.
    pub(super) const WORD: &str = "upload";
    /// The verbs that rights are asked for: to say that a file is sent, and to send it.
    pub(super) const VERBS: [&str; 2] = ["create", "update"];

    /// The verb that a right is needed for.
    pub(super) fn verb(method: &Method) -> Result<&'static str, Refusal> {
        match *method {
            Method::POST => Ok("create"),
            Method::PUT => Ok("update"),
            _ => Err(Refusal::method(method)),
        }
    }
}

/// What rights are asked on.
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
    /// The verb that a right is needed for.
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

/// Nothing in it is decoded: no name of an object needs that.
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

/// Options of what is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RouteOptions {
    /// To continue with what comes.
    pub(super) follow: bool,
    /// From there on: an offset of the journal, or a byte of the log.
    pub(super) from: u64,
    /// What was kept of the newest failed boot.
    pub(super) failed: bool,
    /// The definition of that one's domain.
    pub(super) definition: bool,
    /// To close the console of whoever has it open.
    pub(super) force: bool,
}

impl RouteOptions {
    /// Those that a query says, of these.
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
