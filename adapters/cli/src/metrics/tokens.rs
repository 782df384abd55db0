//! The counter of requests whose token is refused.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter},
};

/// Reads the counter of the listener.
#[derive(Debug)]
pub(super) struct RefusedTokens;

impl Collector for RefusedTokens {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Requests whose token was missing, wrong, revoked or expired";
        let refused = vsiflow_api::refused_tokens();
        let counter =
            encoder.encode_descriptor("refused_tokens", help, None, MetricType::Counter)?;
        ConstCounter::new(refused).encode(counter)
    }
}
