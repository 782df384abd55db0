//! Decides which volume the image is, and whether it is whole already.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{BaseImage, Params, transfer, unchanged, verify};
use crate::ports::{HostPorts, Hosts, ImageSource, VolumeInfo, VolumeKey};

/// Claims a name in the pool for the image.
///
/// It changes nothing on the host: what it leaves is the recorded intent to make a volume of the
/// wished name, and that is recorded only where the name was seen free. So a volume found there
/// later without a whole image on record is a part of an upload of ours. One found there without
/// that intent, or changed since it was whole, is somebody's: it is used if it is the same image
/// by its hash, and otherwise left alone and another name is taken. A crash in its middle leaves
/// nothing.
pub struct Claim {
    hosts: Arc<dyn Hosts>,
    source: Arc<dyn ImageSource>,
}

/// What [`Claim`] decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The volume that the image is or becomes.
    pub volume: VolumeKey,
    /// The image, where it is whole already: the later steps have nothing to do then.
    pub whole: Option<BaseImage>,
}

impl Claim {
    /// The step, acting through these hosts, with images of that source.
    pub fn new(hosts: Arc<dyn Hosts>, source: Arc<dyn ImageSource>) -> Self {
        Self { hosts, source }
    }

    /// What a volume that is not an upload of ours is good for.
    async fn judge(
        &self,
        cx: &StepContext,
        ports: &HostPorts,
        params: &Params,
        volume: &VolumeInfo,
    ) -> Result<Output, Failure> {
        let expected = match params.expected()? {
            Some(digits) => digits,
            None => {
                let read = transfer::hash_source(cx, self.source.as_ref(), &params.url);
                read.await?.sha256.to_string()
            }
        };
        ports.storage.sync(&volume.key).await?;
        if ports.storage.sha256(&volume.key).await?.to_string() == expected {
            let image = verify::base_image(ports, params, &volume.key, expected).await?;
            return Ok(Output {
                volume: volume.key.clone(),
                whole: Some(image),
            });
        }
        Ok(Output {
            volume: other_name(params),
            whole: None,
        })
    }
}

#[async_trait]
impl Step for Claim {
    const NAME: &'static str = "claim";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        params.expected()?;
        let ports = self.hosts.host(&params.host).await?;
        let previous = cx.previous_output::<BaseImage>();
        if let Some(image) = still_whole(&ports, params, previous.as_ref()).await? {
            let volume = image.key.clone();
            return Ok(Observed::Present(Output {
                volume,
                whole: Some(image),
            }));
        }
        let Some(volume) = ports.storage.volume(&params.volume).await? else {
            return Ok(Observed::Needed);
        };
        let was_whole = previous.is_some_and(|image| image.key == params.volume);
        if cx.intended_before && !was_whole {
            return Ok(Observed::Needed);
        }
        self.judge(cx, &ports, params, &volume)
            .await
            .map(Observed::Present)
    }

    async fn run(&self, _: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        Ok(Done::created(Output {
            volume: params.volume.clone(),
            whole: None,
        }))
    }
}

/// The image of an earlier run, if it was brought for the same origin and is untouched.
async fn still_whole(
    ports: &HostPorts,
    params: &Params,
    previous: Option<&BaseImage>,
) -> Result<Option<BaseImage>, Failure> {
    let origin = params.origin().to_string();
    let Some(image) = previous.filter(|image| image.origin == origin) else {
        return Ok(None);
    };
    let volume = ports.storage.volume(&image.key).await?;
    Ok(volume
        .filter(|volume| unchanged(image, volume))
        .map(|_| image.clone()))
}

/// A name for an image whose wished name is taken by another: the file's name and twelve digits
/// of what it was brought for, before the extension.
fn other_name(params: &Params) -> VolumeKey {
    let digits: String = params.origin().to_string().chars().take(12).collect();
    let wished = &params.volume.name;
    let name = match wished.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => format!("{stem}-{digits}.{extension}"),
        _ => format!("{wished}-{digits}"),
    };
    VolumeKey {
        pool: params.volume.pool.clone(),
        name,
    }
}
