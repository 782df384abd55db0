//! Workflow `remove_base_image`: deletes a base image that nothing uses any more.

use serde::{Deserialize, Serialize};
use vsiflow_engine::model::{Failure, Graph};
use vsiflow_steps::{
    image::{RemoveImage, remove},
    ports::VolumeKey,
};

use crate::{nodes::Nodes, record::ImageRecord};

/// The workflow's name.
pub const NAME: &str = "remove_base_image";

/// An image to delete.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnwantedImage {
    /// The image.
    #[serde(flatten)]
    pub image: ImageRecord,
    /// Its volume.
    pub volume: VolumeKey,
}

/// The graph: `remove_image`.
///
/// # Errors
/// When parameters cannot be written.
pub fn graph(unwanted: &UnwantedImage) -> Result<Graph, Failure> {
    let host = &unwanted.image.host;
    let params = remove::Params {
        host: host.clone(),
        volume: unwanted.volume.clone(),
    };
    let mut nodes = Nodes::new(NAME, host);
    nodes.step::<RemoveImage>(&[], &params)?;
    Ok(nodes.build())
}
