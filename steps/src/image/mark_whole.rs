//! Puts on record that the image is whole.

use std::sync::Arc;

use async_trait::async_trait;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{BaseImage, Params, gone, unchanged, verify};
use crate::{error, ports::Hosts};

/// Looks a last time that the volume is what was verified; its output is the image.
///
/// It changes nothing on the host, so a crash in its middle leaves nothing. What makes an image
/// whole is this output in the journal, and nothing on the host.
pub struct MarkWhole {
    hosts: Arc<dyn Hosts>,
}

impl MarkWhole {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }

    async fn look(&self, cx: &StepContext, params: &Params) -> Result<BaseImage, Failure> {
        let verify::Output { image } = cx.output("verify_image")?;
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
        Ok(Observed::Present(self.look(cx, params).await?))
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<BaseImage>, Failure> {
        Ok(Done::present(self.look(cx, params).await?))
    }
}
