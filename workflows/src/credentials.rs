//! Opens image URLs with the credentials that belong to them.
//!
//! Recorded, compared and shown is the URL without credentials; steps open that one. This source adds
//! the credentials again, from the secret store, only for the call that needs them.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;
use vsiflow_engine::{model::Name, secret::Secrets};
use vsiflow_steps::ports::{ImageSource, ImageStream, SourceError, SourceErrorKind, SourceInfo};

/// Which secret holds a URL with its credentials, by the image's host and the URL without them. Using
/// the image on another host needs the credentials there as well.
#[derive(Debug, Default)]
pub(crate) struct ImageCredentials {
    known: RwLock<BTreeMap<(String, String), KnownCredentials>>,
}

#[derive(Debug)]
struct KnownCredentials {
    secret: Name,
    /// When they were stored.
    since: Instant,
}

/// With so many of them, those that no record names are forgotten.
const MANY: usize = 1024;
/// How long they are known although no record names them yet.
const UNRECORDED: Duration = Duration::from_secs(3600);

impl ImageCredentials {
    /// Stores the newest credentials of a URL; they replace older ones.
    pub(crate) fn put(&self, host: &str, url: &str, secret: Name) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let since = Instant::now();
        let credentials = KnownCredentials { secret, since };
        known.insert((host.to_owned(), url.to_owned()), credentials);
    }

    /// Whether there are so many that those which no record names are to be forgotten.
    pub(crate) fn are_many(&self) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.len() > MANY
    }

    /// Forgets what no record names.
    pub(crate) fn retain(&self, is_named: impl Fn(&Name) -> bool) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, one| is_named(&one.secret) || one.since.elapsed() < UNRECORDED);
    }

    fn get(&self, host: &str, url: &str) -> Option<Name> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&(host.to_owned(), url.to_owned()))
            .map(|known| known.secret.clone())
    }
}

/// An image source that opens URLs with the credentials of one host.
pub(crate) struct WithCredentials {
    pub(crate) source: Arc<dyn ImageSource>,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) credentials: Arc<ImageCredentials>,
    /// The host; without one no credentials are sent to any server.
    pub(crate) host: Option<String>,
}

impl WithCredentials {
    async fn full(&self, url: &str) -> Result<String, SourceError> {
        let host = self.host.as_deref();
        let Some(secret) = host.and_then(|host| self.credentials.get(host, url)) else {
            return Ok(url.to_owned());
        };
        let failed = |message: String| SourceError {
            kind: SourceErrorKind::Forbidden,
            url: url.to_owned(),
            message,
        };
        let secret = self
            .secrets
            .get(&secret)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let full = secret.expose_str().map(str::to_owned);
        full.ok_or_else(|| failed("its credentials are not text".to_owned()))
    }
}

#[async_trait]
impl ImageSource for WithCredentials {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        self.source.probe(&self.full(url).await?).await
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        self.source.open(&self.full(url).await?).await
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        let full = self.full(url).await?;
        self.source.open_at(&full, offset, validator).await
    }

    async fn expect(&self, url: &str) {
        if let Ok(full) = self.full(url).await {
            self.source.expect(&full).await;
        }
    }

    async fn opened(&self, url: &str) {
        if let Ok(full) = self.full(url).await {
            self.source.opened(&full).await;
        }
    }

    async fn for_host(
        &self,
        host: &str,
        checksum: Option<&str>,
    ) -> Result<Option<Arc<dyn ImageSource>>, SourceError> {
        let own = self.source.for_host(host, checksum).await?;
        Ok(Some(Arc::new(Self {
            source: own.unwrap_or_else(|| self.source.clone()),
            secrets: self.secrets.clone(),
            credentials: self.credentials.clone(),
            host: Some(host.to_owned()),
        })))
    }
}
