//! The sources of base images.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use tokio::sync::Mutex;
use vsiflow_image::{
    FileSource, HttpOptions, HttpSource, Router, S3Options, S3Source, ServerAccess,
    bundle::WithBundles,
};
use vsiflow_steps::{
    ports::{ImageOwner, ImageSource, ImageStream, SourceError, SourceErrorKind, SourceInfo},
    sim::SimSource,
};
use vsiflow_workflows::{
    hosts::HostDirectory,
    provision_vsi::SIMULATED,
    spec::{HostSettings, ImageAccess, ImageSecrets, ImageUrl},
};

use super::{bounds::ReadBounds, bundles::AppliedBundles};
use crate::exit::{Exit, ExitProblem};

/// The image sources: simulated images by their prefix, everything else by its scheme, with the
/// access that a host's settings give.
struct ImageSources {
    public: Arc<Scheme>,
    directory: Arc<HostDirectory>,
    bounds: ReadBounds,
    /// The applied bundles; `None` if only documents are read.
    bundles: Option<AppliedBundles>,
    /// Hosts with the same access share a source, so that they share reads.
    special: Mutex<Vec<(ImageAccessRules, Arc<Scheme>)>>,
}

/// Simulated images by their prefix, everything else by its scheme.
struct Scheme {
    real: Arc<dyn ImageSource>,
    simulated: SimSource,
}

/// The settings that require a separate source.
#[derive(Clone, PartialEq)]
struct ImageAccessRules {
    settings: ImageAccess,
    secret: Option<Vec<u8>>,
    authorities: Option<String>,
    /// Whether everything that is read is compared with a checksum.
    checked: bool,
}

/// The sources of base images.
pub(super) fn sources(
    directory: Arc<HostDirectory>,
    bounds: ReadBounds,
    bundles: Option<AppliedBundles>,
) -> Result<Arc<dyn ImageSource>, ExitProblem> {
    let options = HttpOptions {
        addresses: bounds.addresses.clone(),
        ..HttpOptions::default()
    };
    let real = HttpSource::new(&options).map(|http| routed(http, &bounds));
    let real = real.map_err(|error| {
        let remedy = "see that this system's certificates can be read";
        ExitProblem::new(
            Exit::Failed,
            "VSI0804",
            format!("no HTTP client: {error}"),
            remedy,
        )
    })?;
    Ok(Arc::new(ImageSources {
        public: Arc::new(Scheme::new(real)),
        directory,
        bounds,
        bundles,
        special: Mutex::default(),
    }))
}

/// The image sources for commands without a state directory, with the access that the settings of these hosts
/// give.
pub(crate) fn sources_for(
    hosts: impl IntoIterator<Item = HostSettings>,
) -> Result<Arc<dyn ImageSource>, ExitProblem> {
    let directory = Arc::new(HostDirectory::default());
    hosts.into_iter().for_each(|host| directory.put(host));
    sources(directory, ReadBounds::default(), None)
}

/// The URL as it is recorded: without credentials, and without the prefix of simulated images.
fn named(url: &str) -> String {
    let url = url.strip_prefix(SIMULATED).unwrap_or(url);
    let read = url.parse::<ImageUrl>();
    read.map_or_else(|_| url.to_owned(), |url| url.stored().to_owned())
}

fn routed(http: HttpSource, bounds: &ReadBounds) -> Router {
    let files = FileSource::within(bounds.files.clone());
    Router::with(http, files).relay(bounds.relay.clone())
}

impl Scheme {
    fn new(real: Router) -> Self {
        Self {
            real: Arc::new(real),
            simulated: SimSource::new(),
        }
    }

    fn of<'a>(&self, url: &'a str) -> (&dyn ImageSource, &'a str) {
        match url.strip_prefix(SIMULATED) {
            Some(url) => (&self.simulated, url),
            None => (&*self.real, url),
        }
    }
}

impl ImageAccessRules {
    /// Reads the file of authorities each time, because certificates are renewed.
    async fn of(
        host: &HostSettings,
        settings: &ImageAccess,
        bounds: &ReadBounds,
        checked: bool,
    ) -> Result<Self, SourceError> {
        let mut authorities = settings.authorities.clone();
        if let Some(path) = &settings.authorities_file {
            let read = bounds.read(PathBuf::from(path)).await;
            let read = read.map_err(|why| unusable(format!("IMAGE_CA_FILE: {why}")))?;
            let read = String::from_utf8_lossy(&read).into_owned();
            authorities = Some(authorities.unwrap_or_default() + "\n" + &read);
        }
        Ok(Self {
            settings: settings.clone(),
            secret: host.image_secret.as_ref().map(|s| s.expose().to_vec()),
            authorities,
            checked,
        })
    }

    fn source(&self, host: &HostSettings, bounds: &ReadBounds) -> Result<Scheme, SourceError> {
        let secrets = ImageSecrets::of(host.image_secret.as_ref(), self.settings.several);
        let options = HttpOptions {
            access: self.access(&secrets)?,
            authorities: self.authorities.clone(),
            addresses: bounds.addresses.clone(),
            insecure: self.settings.insecure,
            checked: self.checked,
            ..HttpOptions::default()
        };
        let http = HttpSource::new(&options)?;
        let s3 = self.settings.s3.clone().unwrap_or_default();
        let s3 = S3Options {
            endpoint: s3.endpoint,
            region: s3.region,
            key: s3.access_key.zip(secrets.s3.clone()),
        };
        let router = routed(http.clone(), bounds);
        let router = router.object_storage(S3Source::new(http.clone(), s3));
        Ok(Scheme::new(match self.settings.token_server.clone() {
            Some(server) => router.token_server(http, server),
            None => router,
        }))
    }

    /// The credentials for each server.
    fn access(&self, secrets: &ImageSecrets) -> Result<Vec<ServerAccess>, SourceError> {
        let mut access = match &secrets.registries {
            Some(config) => ServerAccess::of_docker_config(config)
                .map_err(|why| unusable(format!(".dockerconfigjson: {why}")))?,
            None => Vec::new(),
        };
        if let Some((server, secret)) = self.settings.server.as_deref().zip(secrets.server.clone())
        {
            let own = ServerAccess::new(server, self.settings.user.clone(), secret);
            let own =
                own.ok_or_else(|| unusable(format!("IMAGE_SERVER {server} is not a server")))?;
            access.insert(0, own);
        }
        Ok(access)
    }
}

fn unusable(message: String) -> SourceError {
    SourceError {
        kind: SourceErrorKind::Invalid,
        url: "the host's settings for images".to_owned(),
        message,
    }
}

#[async_trait]
impl ImageSource for ImageSources {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        self.public.probe(url).await
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        self.public.open(url).await
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        self.public.open_at(url, offset, validator).await
    }

    async fn expect(&self, url: &str) {
        self.public.expect(url).await;
    }

    async fn opened(&self, url: &str) {
        self.public.opened(url).await;
    }

    async fn for_host(
        &self,
        host: &str,
        checksum: Option<&str>,
    ) -> Result<Option<Arc<dyn ImageSource>>, SourceError> {
        let own = self.with_access(host, checksum.is_some()).await?;
        let source = own.unwrap_or_else(|| self.public.clone());
        let owner = self.directory.owner(host);
        let owner = owner.as_deref().unwrap_or(host).into();
        let source: Arc<dyn ImageSource> = source.for_owner(&owner).unwrap_or(source);
        let bundled = match (&self.bundles, checksum) {
            (Some(bundles), Some(checksum)) => bundles.with(checksum).await,
            _ => Vec::new(),
        };
        Ok(Some(if bundled.is_empty() {
            source
        } else {
            Arc::new(WithBundles::new(bundled, source, named))
        }))
    }
}

impl ImageSources {
    async fn with_access(
        &self,
        host: &str,
        checked: bool,
    ) -> Result<Option<Arc<Scheme>>, SourceError> {
        let Some(host) = self.directory.get(host) else {
            return Ok(None);
        };
        let settings = match (host.record.image_access(), checked) {
            (Some(settings), _) => settings.clone(),
            (None, true) => ImageAccess::default(),
            (None, false) => return Ok(None),
        };
        let access = ImageAccessRules::of(&host, &settings, &self.bounds, checked).await?;
        let mut special = self.special.lock().await;
        if let Some((_, source)) = special.iter().find(|(known, _)| *known == access) {
            return Ok(Some(source.clone()));
        }
        let source = Arc::new(access.source(&host, &self.bounds)?);
        // The oldest source is dropped; uploads in progress retain theirs.
        if special.len() >= MAX {
            special.remove(0);
        }
        special.push((access, source.clone()));
        Ok(Some(source))
    }
}

/// How many sources with separate access are cached.
const MAX: usize = 16;

#[async_trait]
impl ImageSource for Scheme {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        let (source, url) = self.of(url);
        source.probe(url).await
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        let (source, url) = self.of(url);
        source.open(url).await
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        let (source, url) = self.of(url);
        source.open_at(url, offset, validator).await
    }

    async fn expect(&self, url: &str) {
        let (source, url) = self.of(url);
        source.expect(url).await;
    }

    async fn opened(&self, url: &str) {
        let (source, url) = self.of(url);
        source.opened(url).await;
    }

    fn for_owner(&self, owner: &ImageOwner) -> Option<Arc<dyn ImageSource>> {
        Some(Arc::new(Self {
            real: self.real.for_owner(owner)?,
            simulated: self.simulated,
        }))
    }
}
