//! Images from HTTP(S) servers.

pub(crate) mod answer;
mod stream;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, IF_RANGE, RANGE};
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode, redirect};
use tokio::time::timeout;
use url::Url;
use vsiflow_engine::{causes::chain, secret::Secret};
use vsiflow_steps::ports::{ImageSource, ImageStream, SourceError, SourceErrorKind, SourceInfo};

use self::{
    answer::{condition, examine, examine_rest},
    stream::HttpStream,
};
use crate::access::ServerAccess;
use crate::address::{AddressPolicy, AddressRefused};
use crate::error::{ShownError, error, parse};

/// Deadlines, limits, and what it takes to be let in.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// How long a connection may take, TLS included.
    pub connect_deadline: Duration,
    /// How long a server may send nothing. There is no limit to the whole: images are large and
    /// lines are slow.
    pub idle_deadline: Duration,
    /// How many redirects are followed.
    pub redirects: usize,
    /// What is shown to each one's server, where a URL holds no credentials of its own.
    pub access: Vec<ServerAccess>,
    /// Certificates of authorities that are trusted beside the system's, as PEM.
    pub authorities: Option<String>,
    /// The addresses that may be connected to, redirects included.
    pub addresses: AddressPolicy,
    /// Whether a password or token may go over plain HTTP, and a redirect lead from HTTPS to it.
    pub insecure: bool,
    /// Whether what is read is compared with a checksum, so that a redirect from HTTPS to plain HTTP
    /// can change nothing of it.
    pub checked: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_deadline: Duration::from_secs(15),
            idle_deadline: Duration::from_secs(30),
            redirects: 10,
            access: Vec::new(),
            authorities: None,
            addresses: AddressPolicy::Any,
            insecure: false,
            checked: false,
        }
    }
}

/// Reads `http:` and `https:` URLs, through the proxies of the usual environment variables.
/// User and password of the URL are sent as basic authentication, and to no other host.
#[derive(Clone, Debug)]
pub struct HttpSource {
    client: Client,
    idle_deadline: Duration,
    access: Vec<ServerAccess>,
    addresses: AddressPolicy,
    insecure: bool,
}

/// What proves to a server who asks.
#[derive(Clone, Copy)]
pub(crate) enum Credentials<'a> {
    None,
    /// A user's password, or a token, of the host's settings.
    Access(&'a ServerAccess),
    /// What a token server gave.
    Bearer(&'a Secret),
    /// What a token server gives to everybody.
    Anonymous(&'a Secret),
    /// What the URL itself holds.
    Url(&'a str, Option<&'a str>),
}

impl Credentials<'_> {
    fn show(self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::None => request,
            Self::Access(access) => access.show(request),
            Self::Bearer(token) | Self::Anonymous(token) => {
                request.bearer_auth(token.expose_str().unwrap_or_default())
            }
            Self::Url(user, password) => request.basic_auth(user, password),
        }
    }
}

/// A request beside its URL.
#[derive(Clone, Copy)]
pub(crate) struct RequestHeaders<'a> {
    pub(crate) credentials: Credentials<'a>,
    pub(crate) accept: Option<&'a str>,
    /// The byte to begin at, and the condition for it where there is one.
    pub(crate) rest: Option<(u64, Option<&'a str>)>,
}

impl HttpSource {
    /// A source with these options.
    ///
    /// # Errors
    /// When the system's TLS or proxy settings cannot be used.
    pub fn new(options: &HttpOptions) -> Result<Self, SourceError> {
        let authorities = options.authorities.as_deref().unwrap_or_default();
        let authorities = Certificate::from_pem_bundle(authorities.as_bytes());
        let client = authorities.and_then(|authorities| {
            let builder = Client::builder()
                .user_agent(concat!("vsiflow/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(options.connect_deadline)
                .redirect(redirects(options))
                // It would tell the next server the query of a URL, which is a secret.
                .referer(false)
                .tls_certs_merge(authorities);
            match options.addresses.resolver() {
                Some(resolver) => builder.dns_resolver(resolver).build(),
                None => builder.build(),
            }
        });
        let client = client.map_err(|cause| SourceError {
            kind: SourceErrorKind::Invalid,
            url: "https:".to_owned(),
            message: format!("HTTP cannot be set up here: {}", chain(&cause)),
        })?;
        Ok(Self {
            client,
            idle_deadline: options.idle_deadline,
            access: options.access.clone(),
            addresses: options.addresses.clone(),
            insecure: options.insecure,
        })
    }

    /// Asks for the image. Probing asks the same way, and then hangs up: servers answer HEAD
    /// otherwise than GET, or, where a URL is signed for GET, not at all.
    async fn get(&self, url: &str) -> Result<HttpStream, SourceError> {
        let (response, shown) = self.ask(url, None).await?;
        self.whole(response, shown)
    }

    /// The image of an answer that is to be all of it.
    ///
    /// # Errors
    /// By the answer's status and head.
    pub(crate) fn whole(
        &self,
        response: Response,
        shown: ShownError,
    ) -> Result<HttpStream, SourceError> {
        let info = examine(&response, &shown)?;
        Ok(self.stream(response, shown, info, 0))
    }

    /// The image of an answer that is to be the rest of it; `None` where it has to be asked for from
    /// its start.
    ///
    /// # Errors
    /// By the answer's status and head.
    pub(crate) fn rest(
        &self,
        response: Response,
        shown: ShownError,
        offset: u64,
    ) -> Result<Option<HttpStream>, SourceError> {
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let info = examine_rest(&response, &shown, offset)?;
                // Without a validator nothing tells that this is a part of the same image: what is
                // read from its start can be compared.
                let known = info.validator.is_some();
                Ok(known.then(|| self.stream(response, shown, info, offset)))
            }
            // It is shorter now: what it is now is told by its start.
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(None),
            _ => self.whole(response, shown).map(Some),
        }
    }

    /// Asks for the rest of the image, if it is still the same.
    async fn get_rest(
        &self,
        url: &str,
        offset: u64,
        condition: &str,
    ) -> Result<HttpStream, SourceError> {
        let (response, shown) = self.ask(url, Some((offset, condition))).await?;
        match self.rest(response, shown, offset)? {
            Some(stream) => Ok(stream),
            None => self.get(url).await,
        }
    }

    fn stream(
        &self,
        response: Response,
        shown: ShownError,
        info: SourceInfo,
        starts_at: u64,
    ) -> HttpStream {
        let idle_deadline = self.idle_deadline;
        HttpStream {
            response,
            shown,
            info,
            starts_at,
            read: starts_at,
            idle_deadline,
        }
    }

    async fn ask(
        &self,
        url: &str,
        rest: Option<(u64, &str)>,
    ) -> Result<(Response, ShownError), SourceError> {
        let mut url = parse(url)?;
        let shown = ShownError::from(&url);
        let own = take_credentials(&mut url);
        let credentials = match (&own, self.access_to(&url)) {
            (Some((user, password)), _) => Credentials::Url(user, password.as_deref()),
            (None, Some(access)) => Credentials::Access(access),
            (None, None) => Credentials::None,
        };
        let ask = RequestHeaders {
            credentials,
            accept: None,
            rest: rest.map(|(offset, condition)| (offset, Some(condition))),
        };
        let response = self.request(&shown, url, ask).await?;
        Ok((response, shown))
    }

    /// What the settings give for a server.
    pub(crate) fn access_to(&self, url: &Url) -> Option<&ServerAccess> {
        self.access.iter().find(|access| access.is_for(url))
    }

    /// Whether a password or token may go over plain HTTP.
    pub(crate) fn insecure(&self) -> bool {
        self.insecure
    }

    /// How long a server may send nothing.
    pub(crate) fn idle_deadline(&self) -> Duration {
        self.idle_deadline
    }

    /// The one way to any server: its address is judged, and so is each that it redirects to.
    pub(crate) async fn request(
        &self,
        shown: &ShownError,
        url: Url,
        ask: RequestHeaders<'_>,
    ) -> Result<Response, SourceError> {
        let judged = self.addresses.judge(&url);
        judged.map_err(|refused| error(SourceErrorKind::Refused, shown, refused.to_string()))?;
        let secret = matches!(
            ask.credentials,
            Credentials::Access(_) | Credentials::Bearer(_)
        );
        if secret && !self.insecure && url.scheme() != "https" {
            return Err(error(SourceErrorKind::Refused, shown, IN_THE_OPEN));
        }
        let request = self.client.get(url).header(ACCEPT_ENCODING, "identity");
        let mut request = ask.credentials.show(request);
        if let Some(accept) = ask.accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some((offset, condition)) = ask.rest {
            request = request.header(RANGE, format!("bytes={offset}-"));
            if let Some(condition) = condition {
                request = request.header(IF_RANGE, condition);
            }
        }
        within(self.idle_deadline, shown, request.send()).await
    }
}

#[async_trait]
impl ImageSource for HttpSource {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        Ok(self.get(url).await?.info)
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        Ok(Box::new(self.get(url).await?))
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        match validator.and_then(condition).filter(|_| offset > 0) {
            Some(condition) => Ok(Box::new(self.get_rest(url, offset, condition).await?)),
            None => self.open(url).await,
        }
    }
}

const IN_THE_OPEN: &str = "IMAGE_TOKEN or IMAGE_PASSWORD would go over plain HTTP, for anybody on \
     the way to read; write https:, or set IMAGE_ALLOW_INSECURE: \"true\" beside it";

/// Which redirects are followed. Each is judged as the URL itself was.
fn redirects(options: &HttpOptions) -> redirect::Policy {
    let (most, addresses) = (options.redirects, options.addresses.clone());
    let (insecure, checked) = (options.insecure, options.checked);
    redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > most {
            return attempt.error(format!("more than {most} redirects"));
        }
        if let Err(refused) = addresses.judge(attempt.url()) {
            return attempt.error(refused);
        }
        let from = attempt.previous().last();
        let opened =
            from.is_some_and(|from| from.scheme() == "https") && attempt.url().scheme() != "https";
        // To the same server it might take credentials along.
        let same = from.is_some_and(|from| from.host() == attempt.url().host());
        if opened && !insecure && (same || !checked) {
            return attempt.error(AddressRefused(OPENED.to_owned()));
        }
        attempt.follow()
    })
}

const OPENED: &str = "the server redirects from HTTPS to plain HTTP, where any machine on the way may \
     put another image; give imageChecksum, or set IMAGE_ALLOW_INSECURE: \"true\" in the host's \
     settings";

/// What was refused on the way, where something was.
fn refusal(cause: &reqwest::Error) -> Option<&AddressRefused> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(cause);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<AddressRefused>() {
            return Some(refused);
        }
        cause = error.source();
    }
    None
}

/// User and password, decoded; the URL keeps neither.
fn take_credentials(url: &mut Url) -> Option<(String, Option<String>)> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let user = decode(url.username());
    let password = url.password().map(decode);
    // These fail only for URLs without a host, which have no credentials either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some((user, password))
}

/// Percent-decodes. A `+` stays one: this is not a form.
pub(crate) fn decode(text: &str) -> String {
    let quoted = text.replace('+', "%2B");
    let pair = format!("x={quoted}");
    let decoded = url::form_urlencoded::parse(pair.as_bytes()).next();
    decoded
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// Awaits something of the server, and not for ever.
pub(crate) async fn within<T>(
    deadline: Duration,
    shown: &ShownError,
    future: impl Future<Output = reqwest::Result<T>>,
) -> Result<T, SourceError> {
    match timeout(deadline, future).await {
        Ok(result) => result.map_err(|cause| explain(shown, cause)),
        Err(_) => {
            let message = format!("the server sent nothing for {} s", deadline.as_secs_f32());
            Err(error(SourceErrorKind::Transient, shown, message))
        }
    }
}

/// What a failed request means. The cause may name the URL it was redirected to, with a
/// signature, so that is cut off.
fn explain(shown: &ShownError, cause: reqwest::Error) -> SourceError {
    let cause = cause.without_url();
    if let Some(refused) = refusal(&cause) {
        return error(SourceErrorKind::Refused, shown, refused.to_string());
    }
    let text = chain(&cause);
    let untrusted = text.contains("certificate");
    let kind = if cause.is_builder() || cause.is_redirect() || untrusted {
        SourceErrorKind::Invalid
    } else {
        SourceErrorKind::Transient
    };
    let message = match cause.is_redirect() {
        true => format!("too many redirects, or one to nowhere: {text}"),
        false if untrusted => format!("{text}; IMAGE_CA names further authorities to trust"),
        false => text,
    };
    error(kind, shown, message)
}
