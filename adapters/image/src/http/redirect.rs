//! Which redirects are followed. Each target is checked like the URL itself.

use reqwest::redirect::Policy;

use super::HttpOptions;
use crate::{address::AddressRefused, error::ShownError};

/// A redirect to an address that is not of HTTP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server redirects to {target}, and {scheme}: is not followed")]
pub(super) struct RedirectElsewhere {
    target: String,
    scheme: String,
}

const DOWNGRADED: &str = "the server redirects from HTTPS to plain HTTP, where any machine on the way may \
     put another image; give imageChecksum, or set IMAGE_ALLOW_INSECURE: \"true\" in the host's \
     settings";

/// The redirects that are followed with these options.
pub(super) fn redirects(options: &HttpOptions) -> Policy {
    let (most, addresses) = (options.redirects, options.addresses.clone());
    let (insecure, checked) = (options.insecure, options.checked);
    Policy::custom(move |attempt| {
        if attempt.previous().len() > most {
            return attempt.error(format!("more than {most} redirects"));
        }
        let target = attempt.url();
        if !matches!(target.scheme(), "http" | "https") {
            let elsewhere = RedirectElsewhere {
                target: ShownError::from(target).text().to_owned(),
                scheme: target.scheme().to_owned(),
            };
            return attempt.error(elsewhere);
        }
        if let Err(refused) = addresses.judge(target) {
            return attempt.error(refused);
        }
        let from = attempt.previous().last();
        let opened =
            from.is_some_and(|from| from.scheme() == "https") && target.scheme() != "https";
        // A redirect to the same server may carry credentials.
        let same = from.is_some_and(|from| from.host() == target.host());
        if opened && !insecure && (same || !checked) {
            return attempt.error(AddressRefused(DOWNGRADED.to_owned()));
        }
        attempt.follow()
    })
}
