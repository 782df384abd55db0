//! `serve`, as clap reads it.

use std::time::Duration;

use clap::Args;

#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// Act only while this process was not stopped or suspended for longer than that, such as
    /// `15s`: once it was, it sends nothing more to a host, records nothing and ends with exit
    /// code 6, since another one may have taken its place.
    #[arg(long, value_name = "DURATION", value_parser = lease)]
    pub(crate) lease: Option<Duration>,
    /// How often to look at the hosts: for what was changed there, and for restarts.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = super::duration)]
    pub(crate) look_every: Duration,
    /// How often to look whether finished work is older than `--retention`.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = super::duration)]
    pub(crate) archive_every: Duration,
    /// Move it out of the journal once it is at least so many events.
    #[arg(
        long,
        value_name = "EVENTS",
        default_value_t = 10_000,
        hide_short_help = true
    )]
    pub(crate) archive_from: u64,
}

/// The shortest lease: a busy machine must be able to renew it.
const SHORTEST: Duration = Duration::from_secs(3);

fn lease(text: &str) -> Result<Duration, String> {
    let lease = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match lease >= SHORTEST {
        true => Ok(lease),
        false => Err(format!(
            "a lease lasts at least {}",
            humantime::format_duration(SHORTEST)
        )),
    }
}
