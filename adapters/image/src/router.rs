//! Chooses the source by the URL.

use std::sync::Arc;

use async_trait::async_trait;
use url::Url;
use vsiflow_steps::ports::{ImageSource, ImageStream, SourceError, SourceInfo};

use crate::error::{invalid, parse};
use crate::file::FileSource;
use crate::http::{HttpOptions, HttpSource};
use crate::oci::{OciSource, is_oci};
use crate::packing::{Packing, unpacked};
use crate::s3::{S3Options, S3Source};
use crate::shared::SharedSource;

/// Whether a source is the one for a URL.
type Predicate = Box<dyn Fn(&Url) -> bool + Send + Sync>;

/// All sources of this crate as one, and room for others.
pub struct Router {
    special: Vec<(Predicate, Arc<dyn ImageSource>)>,
    http: Arc<dyn ImageSource>,
    oci: Arc<dyn ImageSource>,
    s3: Arc<dyn ImageSource>,
    file: Arc<dyn ImageSource>,
}

impl Router {
    /// HTTP(S) with usual deadlines, and files.
    ///
    /// # Errors
    /// When the system's TLS or proxy settings cannot be used.
    pub fn new() -> Result<Self, SourceError> {
        let http = HttpSource::new(&HttpOptions::default())?;
        Ok(Self::with(http, FileSource::new()))
    }

    /// HTTP(S) and files as given.
    pub fn with(http: HttpSource, file: FileSource) -> Self {
        Self {
            special: Vec::new(),
            oci: Arc::new(SharedSource::new(OciSource::new(http.clone(), None))),
            s3: Arc::new(SharedSource::new(S3Source::new(
                http.clone(),
                S3Options::default(),
            ))),
            http: Arc::new(SharedSource::new(http)),
            file: Arc::new(file),
        }
    }

    /// Permits registries to send who reads to this server for a token, with the credentials that
    /// are for the registry: a name, and perhaps a port.
    #[must_use]
    pub fn token_server(mut self, http: HttpSource, server: String) -> Self {
        self.oci = Arc::new(SharedSource::new(OciSource::new(http, Some(server))));
        self
    }

    /// Asks object storage so.
    #[must_use]
    pub fn object_storage(mut self, source: S3Source) -> Self {
        self.s3 = Arc::new(SharedSource::new(source));
        self
    }

    /// Gives URLs that `choose` accepts to `source`. Whoever was given first is asked first, and
    /// before the scheme is looked at.
    #[must_use]
    pub fn route(
        mut self,
        choose: impl Fn(&Url) -> bool + Send + Sync + 'static,
        source: Arc<dyn ImageSource>,
    ) -> Self {
        self.special.push((Box::new(choose), source));
        self
    }

    fn choose(&self, url: &str) -> Result<&Arc<dyn ImageSource>, SourceError> {
        let url = parse(url)?;
        if let Some((_, source)) = self.special.iter().find(|(choose, _)| choose(&url)) {
            return Ok(source);
        }
        match url.scheme() {
            "http" | "https" => Ok(&self.http),
            "file" => Ok(&self.file),
            "s3" => Ok(&self.s3),
            _ if is_oci(&url) => Ok(&self.oci),
            other => Err(invalid(
                &url,
                format!("{other}: is not a scheme for images; use http, https, oci, s3 or file"),
            )),
        }
    }
}

#[async_trait]
impl ImageSource for Router {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        // How it is packed is known once its first bytes are there.
        Ok(self.open(url).await?.info().clone())
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        let stream = self.choose(url)?.open(url).await?;
        unpacked(stream, &parse(url)?).await
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        let source = self.choose(url)?;
        // A packed image cannot be entered in its middle; which one it is may still be said.
        let stream = match validator.and_then(Packing::around) {
            Some(packed) => source.open_at(url, 0, Some(packed)).await?,
            None => source.open_at(url, offset, validator).await?,
        };
        match stream.starts_at() {
            0 => unpacked(stream, &parse(url)?).await,
            _ => Ok(stream),
        }
    }
}

/// Whether the URL's host is in the reserved domain `.test`, which exists nowhere: for
/// [`Router::route`] with a simulated source.
pub fn is_test_host(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    host == "test" || host.ends_with(".test")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use vsiflow_steps::ports::SourceErrorKind;

    /// Says its own name as the validator.
    struct NamedScheme(&'static str);

    /// An empty image.
    struct EmptySource(SourceInfo);

    #[async_trait]
    impl ImageSource for NamedScheme {
        async fn probe(&self, _: &str) -> Result<SourceInfo, SourceError> {
            Ok(SourceInfo {
                length: None,
                validator: Some(self.0.to_owned()),
            })
        }

        async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
            Ok(Box::new(EmptySource(self.probe(url).await?)))
        }
    }

    #[async_trait]
    impl ImageStream for EmptySource {
        fn info(&self) -> &SourceInfo {
            &self.0
        }

        async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
            Ok(None)
        }
    }

    #[tokio::test]
    async fn given_hosts_go_to_their_source() {
        let router = Router::new()
            .unwrap()
            .route(is_test_host, Arc::new(NamedScheme("first")))
            .route(|url| url.scheme() == "oci", Arc::new(NamedScheme("second")));
        for (url, name) in [
            ("http://images.test/a.qcow2", "first"),
            ("https://IMAGES.TEST./a.qcow2", "first"),
            ("oci://registry.example/a", "second"),
        ] {
            assert_eq!(
                router.probe(url).await.unwrap().validator.as_deref(),
                Some(name),
                "{url}"
            );
        }
        let error = router
            .probe("ftp://me:secret@a.example/b")
            .await
            .unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Invalid);
        assert!(!error.to_string().contains("secret"));
    }
}
