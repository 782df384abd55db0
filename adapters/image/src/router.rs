//! Chooses an image's source by its URL.

use std::sync::Arc;

use async_trait::async_trait;
use url::Url;
use vsiflow_steps::ports::{
    ImageOwner, ImageSource, ImageStream, SourceError, SourceInfo, source_for_owner,
};

use crate::error::{ShownError, invalid, parse};
use crate::file::FileSource;
use crate::http::{HttpOptions, HttpSource};
use crate::oci::{OciSource, reference::is_oci};
use crate::packing::{Packing, PackingTrial};
use crate::relay::{self, UploadRelay};
use crate::s3::{S3Options, S3Source};
use crate::shared::SharedSource;
use crate::sparse::{SparseForm, SparseSource};

/// Whether a source is responsible for a URL.
type Predicate = Arc<dyn Fn(&Url) -> bool + Send + Sync>;

/// All sources of this crate as one; further sources can be added.
pub struct Router {
    special: Vec<(Predicate, SourceRoute)>,
    http: SourceRoute,
    oci: SourceRoute,
    s3: SourceRoute,
    file: SourceRoute,
    upload: SourceRoute,
    owner: ImageOwner,
}

/// A source of files, and of the sparse disks in them.
struct SourceRoute {
    files: Arc<dyn ImageSource>,
    /// Reads sparse disks, whose parts are not in the order of the file. `None` for a source that compares
    /// digests from start to end.
    sparse: Option<Arc<dyn ImageSource>>,
}

/// A file that was opened at its start, and what is wanted of the image in it.
struct OpenedFile<'a> {
    stream: Box<dyn ImageStream>,
    url: &'a str,
    owner: &'a ImageOwner,
    /// The first byte of the image.
    offset: u64,
    validator: Option<&'a str>,
}

impl SourceRoute {
    fn of(files: Arc<dyn ImageSource>) -> Self {
        Self {
            sparse: Some(sparse_disks(files.clone())),
            files,
        }
    }

    fn shared(source: impl ImageSource) -> Self {
        let files = SharedSource::new(source);
        Self {
            sparse: Some(sparse_disks(Arc::new(files.uncounted()))),
            files: Arc::new(files),
        }
    }

    fn from_start_to_end(source: impl ImageSource) -> Self {
        Self {
            files: Arc::new(SharedSource::new(source)),
            sparse: None,
        }
    }

    /// The same route, reading for an owner.
    fn for_owner(&self, owner: &ImageOwner) -> Self {
        let sparse = self.sparse.as_ref();
        Self {
            files: source_for_owner(&self.files, owner),
            sparse: sparse.map(|disks| source_for_owner(disks, owner)),
        }
    }

    /// The image in a file; from a byte on, if that is possible.
    async fn image(&self, file: OpenedFile<'_>) -> Result<Box<dyn ImageStream>, SourceError> {
        let OpenedFile {
            stream,
            url,
            owner,
            offset,
            validator,
        } = file;
        let parsed = parse(url)?;
        let stream = PackingTrial::new(stream).await?;
        match (stream.sparse(), &self.sparse) {
            (None, _) => Ok(stream.unpacked(&parsed, owner)),
            (Some(form), None) => {
                let why = "what comes from a registry cannot be read in another order than it has";
                Err(form.refused(&ShownError::from(&parsed), why))
            }
            (Some(_), Some(disks)) => {
                drop(stream);
                match validator.filter(|validator| SparseForm::around(validator).is_some()) {
                    Some(validator) => disks.open_at(url, offset, Some(validator)).await,
                    None => disks.open(url).await,
                }
            }
        }
    }
}

/// The sparse disks in files, whose tables and reads take their memory together.
fn sparse_disks(files: Arc<dyn ImageSource>) -> Arc<dyn ImageSource> {
    Arc::new(SharedSource::new(SparseSource::new(files)).uncounted())
}

impl Router {
    /// HTTP(S) with default deadlines, and files.
    ///
    /// # Errors
    /// If the system's TLS or proxy settings cannot be used.
    pub fn new() -> Result<Self, SourceError> {
        let http = HttpSource::new(&HttpOptions::default())?;
        Ok(Self::with(http, FileSource::new()))
    }

    /// HTTP(S) and files through these sources.
    pub fn with(http: HttpSource, file: FileSource) -> Self {
        Self {
            special: Vec::new(),
            oci: SourceRoute::from_start_to_end(OciSource::new(http.clone(), None)),
            s3: SourceRoute::shared(S3Source::new(http.clone(), S3Options::default())),
            http: SourceRoute::shared(http),
            file: SourceRoute::shared(file),
            upload: SourceRoute::shared(UploadRelay::default()),
            owner: ImageOwner::default(),
        }
    }

    /// Permits registries to name this token server (a name with an optional port). It receives the
    /// credentials of the registry.
    #[must_use]
    pub fn token_server(mut self, http: HttpSource, server: String) -> Self {
        self.oci = SourceRoute::from_start_to_end(OciSource::new(http, Some(server)));
        self
    }

    /// Reads `s3:` URLs through this source.
    #[must_use]
    pub fn object_storage(mut self, source: S3Source) -> Self {
        self.s3 = SourceRoute::shared(source);
        self
    }

    /// Reads `upload:` URLs from this relay.
    #[must_use]
    pub fn relay(mut self, relay: UploadRelay) -> Self {
        self.upload = SourceRoute::shared(relay);
        self
    }

    /// Routes URLs that `choose` accepts to `source`. The routes are tried in the order of their addition,
    /// before the URL's scheme decides.
    #[must_use]
    pub fn route(
        mut self,
        choose: impl Fn(&Url) -> bool + Send + Sync + 'static,
        source: Arc<dyn ImageSource>,
    ) -> Self {
        self.special
            .push((Arc::new(choose), SourceRoute::of(source)));
        self
    }

    fn opened_file<'a>(&'a self, stream: Box<dyn ImageStream>, url: &'a str) -> OpenedFile<'a> {
        OpenedFile {
            stream,
            url,
            owner: &self.owner,
            offset: 0,
            validator: None,
        }
    }

    fn choose(&self, url: &str) -> Result<&SourceRoute, SourceError> {
        let url = parse(url)?;
        if let Some((_, source)) = self.special.iter().find(|(choose, _)| choose(&url)) {
            return Ok(source);
        }
        match url.scheme() {
            "http" | "https" => Ok(&self.http),
            "file" => Ok(&self.file),
            "s3" => Ok(&self.s3),
            relay::SCHEME => Ok(&self.upload),
            _ if is_oci(&url) => Ok(&self.oci),
            other => Err(invalid(
                &url,
                format!(
                    "{other}: is not a scheme for images; use http, https, oci, s3, file or upload"
                ),
            )),
        }
    }
}

#[async_trait]
impl ImageSource for Router {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        // The packing is known only after the first bytes.
        Ok(self.open(url).await?.info().clone())
    }

    async fn expect(&self, url: &str) {
        if let Ok(way) = self.choose(url) {
            way.files.expect(url).await;
        }
    }

    async fn opened(&self, url: &str) {
        if let Ok(way) = self.choose(url) {
            way.files.opened(url).await;
        }
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        let way = self.choose(url)?;
        let stream = way.files.open(url).await?;
        way.image(self.opened_file(stream, url)).await
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        let way = self.choose(url)?;
        // A packed file must be read from its start; its validator still identifies it.
        let around = |packed| Packing::around(packed).or_else(|| SparseForm::around(packed));
        let stream = match validator.and_then(around) {
            Some(file) => way.files.open_at(url, 0, Some(file)).await?,
            None => way.files.open_at(url, offset, validator).await?,
        };
        match stream.starts_at() {
            0 => {
                let opened_file = self.opened_file(stream, url);
                let opened_file = OpenedFile {
                    offset,
                    validator,
                    ..opened_file
                };
                way.image(opened_file).await
            }
            _ => Ok(stream),
        }
    }

    fn for_owner(&self, owner: &ImageOwner) -> Option<Arc<dyn ImageSource>> {
        let special = self.special.iter();
        let special = special.map(|(choose, route)| (choose.clone(), route.for_owner(owner)));
        Some(Arc::new(Self {
            special: special.collect(),
            http: self.http.for_owner(owner),
            oci: self.oci.for_owner(owner),
            s3: self.s3.for_owner(owner),
            file: self.file.for_owner(owner),
            upload: self.upload.for_owner(owner),
            owner: owner.clone(),
        }))
    }
}

/// Whether the URL's host is in the reserved domain `.test`, which does not exist: for [`Router::route`] with
/// a simulated source.
pub fn is_test_host(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    host == "test" || host.ends_with(".test")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use vsiflow_steps::ports::SourceErrorKind;

    /// A source whose validator is its own name.
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

    async fn pieces(mut stream: Box<dyn ImageStream>) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        while let Some(piece) = stream.next().await.unwrap() {
            pieces.push(piece);
        }
        pieces
    }

    #[tokio::test]
    async fn a_file_is_read_once_for_those_who_asked_about_it_though_they_begin_apart() {
        let _shares = crate::shared::budget::MEMORY_USERS.read().await;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let content: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let url = Url::from_file_path(&path).unwrap().to_string();
        let router = Router::new().unwrap();
        for _ in 0..2 {
            router.expect(&url).await;
            router.probe(&url).await.unwrap();
        }
        let opened = async || {
            let stream = router.open(&url).await.unwrap();
            router.opened(&url).await;
            stream
        };
        let began = std::time::Instant::now();
        let early = tokio::spawn(pieces(opened().await));
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let late = pieces(opened().await).await;
        let early = early.await.unwrap();
        assert!(began.elapsed() < std::time::Duration::from_millis(1_900));
        assert!(early.concat() == content && late.concat() == content);
        let places = |pieces: &[Bytes]| {
            pieces
                .iter()
                .map(|piece| piece.as_ptr() as usize)
                .collect::<Vec<_>>()
        };
        // The first piece is examined before it is returned.
        assert_eq!(places(&early)[1..], places(&late)[1..]);
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
