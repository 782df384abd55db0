//! Marks the image as whole.

use std::sync::Arc;

use async_trait::async_trait;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{
    BaseImage, Params, claimed, gone,
    sidecar::{self, Mark},
    unchanged, verify,
};
use crate::{error, ports::Hosts};

/// Checks once more that the volume is the one that was verified, and writes the mark to its sidecar. The
/// output is the image.
///
/// Without the mark the image is never copied. A crash during the step leaves no mark, or one whose sync
/// this journal has not recorded; the next attempt writes it again or has the host sync it to disk.
pub struct MarkWhole {
    hosts: Arc<dyn Hosts>,
}

impl MarkWhole {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }

    async fn inspect(&self, cx: &StepContext, params: &Params) -> Result<BaseImage, Failure> {
        let verify::Output { image, .. } = cx.output("verify_image")?;
        let ports = self.hosts.host(&params.host).await?;
        let volume = ports.storage.volume(&image.key).await?;
        match volume.ok_or_else(|| gone(&ports, &image.key))? {
            volume if unchanged(&image, &volume) => Ok(image),
            _ => Err(error::VERIFICATION
                .failure("the volume changed after it was verified")
                .on_host(ports.host.name())
                .of_object(format!("volume {}", image.key))),
        }
    }
}

#[async_trait]
impl Step for MarkWhole {
    const NAME: &'static str = "mark_whole";
    type Params = Params;
    type Output = BaseImage;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<BaseImage>, Failure> {
        let image = self.inspect(cx, params).await?;
        let ports = self.hosts.host(&params.host).await?;
        let sidecar = sidecar::read(&ports, &cx.journal_id, &image.key).await?;
        let is_ours = sidecar.as_ref().is_some_and(|sidecar| sidecar.ours);
        let marked = sidecar.and_then(|sidecar| sidecar.whole) == Some(Mark::of(&image));
        if is_ours && marked {
            // An earlier attempt may have ended between the write and the sync.
            ports.storage.sync(&sidecar::key(&image.key)).await?;
        }
        // An image that another program brought has that program's mark, or none.
        let was_whole = claimed(cx)?.whole.is_some();
        Ok(if marked || was_whole && !is_ours {
            Observed::Present(image)
        } else {
            Observed::Needed
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<BaseImage>, Failure> {
        let image = self.inspect(cx, params).await?;
        let ports = self.hosts.host(&params.host).await?;
        sidecar::hold(cx, &ports, &image.key).await?;
        let claim = sidecar::claim_of(cx, &image.origin);
        sidecar::write(&ports, &image.key, &claim, Some(&Mark::of(&image))).await?;
        self.inspect(cx, params).await.map(Done::created)
    }
}
