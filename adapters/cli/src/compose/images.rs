//! Where base images come from.

use std::sync::Arc;

use async_trait::async_trait;
use vsiflow_image::Router;
use vsiflow_steps::{
    ports::{ImageSource, ImageStream, SourceError, SourceInfo},
    sim::SimSource,
};
use vsiflow_workflows::provision_vsi::SIMULATED;

use crate::exit::{Exit, Problem};

/// Simulated images by their prefix, everything else by its scheme.
struct Sources {
    real: Router,
    simulated: SimSource,
}

/// Where base images come from.
pub(super) fn sources() -> Result<Arc<dyn ImageSource>, Problem> {
    let real = Router::new().map_err(|error| {
        let remedy = "see that this system's certificates can be read";
        Problem::new(
            Exit::Failed,
            "VSI0804",
            format!("no HTTP client: {error}"),
            remedy,
        )
    })?;
    Ok(Arc::new(Sources {
        real,
        simulated: SimSource::new(),
    }))
}

impl Sources {
    fn of<'a>(&self, url: &'a str) -> (&dyn ImageSource, &'a str) {
        match url.strip_prefix(SIMULATED) {
            Some(url) => (&self.simulated, url),
            None => (&self.real, url),
        }
    }
}

#[async_trait]
impl ImageSource for Sources {
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
}
