//! Watches: maintain the content of the [`ResourceCache`].

mod list_errors;

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Client,
    api::DynamicObject,
    core::{NamespaceResourceScope, Resource as Described},
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::{
    health::Health,
    kind::ResourceKind,
    resource::{Resource, Settings},
    resource_cache::{CacheUpdate, ObjectSource, ResourceCache, WatchedKind},
};

/// Types of Secrets that are not host settings, and are large or many.
const OTHER_SECRETS: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token";

/// How often a watch is renewed, in seconds; a dead connection is noticed soon after.
const WATCH_FOR: u32 = 240;

/// The same problem of one watch is reported at most this often.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Follows one source forever. Errors are reported and retried; the cached content remains.
pub(crate) async fn follow(
    client: Client,
    source: ObjectSource,
    cache: Arc<ResourceCache>,
    health: Arc<Health>,
) {
    let namespace = source.1.as_deref();
    let watching = Watching {
        cache,
        source: source.clone(),
        health,
    };
    match source.0 {
        WatchedKind::Kind(kind) => {
            let described = kind.api_resource();
            let api: Api<DynamicObject> = match namespace {
                Some(namespace) => Api::namespaced_with(client, namespace, &described),
                None => Api::all_with(client, &described),
            };
            let update = move |object| cache_update(kind, object);
            watching.run(api, watcher::Config::default(), update).await;
        }
        WatchedKind::ConfigMaps => {
            let update = |object: ConfigMap| Settings::of_config_map(object).map(settings);
            watching
                .run(core(client, namespace), watcher::Config::default(), update)
                .await;
        }
        WatchedKind::Secrets => {
            let update = |object: Secret| Settings::of_secret(object).map(settings);
            let config = watcher::Config::default().fields(OTHER_SECRETS);
            watching.run(core(client, namespace), config, update).await;
        }
    }
}

fn core<K>(client: Client, namespace: Option<&str>) -> Api<K>
where
    K: Described<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

fn cache_update(kind: ResourceKind, object: DynamicObject) -> Option<CacheUpdate> {
    Resource::of(kind, object).map(|one| CacheUpdate::Resource(Arc::new(one)))
}

fn settings(settings: Settings) -> CacheUpdate {
    CacheUpdate::Settings(Arc::new(settings))
}

struct Watching {
    cache: Arc<ResourceCache>,
    source: ObjectSource,
    health: Arc<Health>,
}

impl Watching {
    async fn run<K>(
        &self,
        api: Api<K>,
        config: watcher::Config,
        update: impl Fn(K) -> Option<CacheUpdate>,
    ) where
        K: Described + Clone + DeserializeOwned + Debug + Send + 'static,
        K::DynamicType: Clone,
    {
        let config = config.timeout(WATCH_FOR);
        let mut events = watcher::watcher(api, config).default_backoff().boxed();
        let mut listed = Vec::new();
        let mut last_warning: Option<Instant> = None;
        // The stream never ends normally.
        loop {
            match events.try_next().await {
                Ok(Some(event)) => {
                    // `Init` is sent before the server is asked for the list.
                    if !matches!(event, watcher::Event::Init) {
                        self.health.answered();
                        last_warning = None;
                    }
                    self.on_event(event, &mut listed, &update);
                }
                Ok(None) => return,
                Err(error) => {
                    if list_errors::is_answer(&error) {
                        self.health.answered()
                    } else {
                        self.health.failed()
                    }
                    if self.is_lacking(&error) {
                        self.cache.put_off(&self.source);
                    }
                    let now = Instant::now();
                    if last_warning.is_none_or(|at| now.duration_since(at) >= WARN_INTERVAL) {
                        last_warning = Some(now);
                        tracing::warn!("{}", list_errors::describe(&self.source, &error));
                    }
                }
            }
        }
    }

    /// Whether the server does not have the kind, which is optional.
    fn is_lacking(&self, error: &watcher::Error) -> bool {
        let optional = matches!(self.source.0, WatchedKind::Kind(kind) if kind.is_optional());
        optional && list_errors::is_missing(error)
    }

    fn on_event<K>(
        &self,
        event: watcher::Event<K>,
        listed: &mut Vec<CacheUpdate>,
        update: impl Fn(K) -> Option<CacheUpdate>,
    ) {
        let what = self.source.0;
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(object) => listed.extend(update(object)),
            watcher::Event::InitDone => {
                self.cache.replace(&self.source, std::mem::take(listed));
            }
            watcher::Event::Apply(object) => {
                if let Some(update) = update(object) {
                    self.cache.put(what, update);
                }
            }
            watcher::Event::Delete(object) => {
                if let Some(update) = update(object) {
                    self.cache.remove(what, &update);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeFault, FakeServer};

    /// Whether the server counts as connected after answering every list like this for a while.
    async fn is_connected_with(code: u16) -> bool {
        let (server, health) = (FakeServer::new(), Arc::new(Health::default()));
        server.fail(FakeFault {
            of: &["GET"],
            code,
            times: usize::MAX,
            done: false,
        });
        let source = (WatchedKind::ConfigMaps, Some("default".to_owned()));
        let cache = Arc::new(ResourceCache::new(vec![source.clone()]));
        let following = follow(server.client(), source, cache, health.clone());
        let _ = tokio::time::timeout(Duration::from_secs(300), following).await;
        health.is_connected()
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_is_only_begun_is_no_answer_and_a_refusal_is_one() {
        assert!(!is_connected_with(503).await);
        assert!(is_connected_with(403).await);
    }
}
