//! Where base images come from.

use std::sync::Arc;

use vsiflow_engine::secret::Secrets;
use vsiflow_steps::{ports::ImageSource, sim::SimSource};

/// Simulated images by their prefix, everything else by its scheme.
pub(super) fn sources(_secrets: Arc<dyn Secrets>) -> Arc<dyn ImageSource> {
    Arc::new(SimSource::new())
}
