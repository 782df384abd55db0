//! Images from HTTP and HTTPS servers.

pub(crate) mod answer;
mod redirect;
mod stream;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, IF_RANGE, RANGE};
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode};
use tokio::time::timeout;
use tokio_rustls::rustls;
use url::{Host, Url};
use vsiflow_engine::{causes::chain, secret::Secret};
use vsiflow_steps::ports::{ImageSource, ImageStream, SourceError, SourceErrorKind, SourceInfo};

use self::{
    answer::{Coding, condition, examine, examine_rest, of_rest},
    redirect::{RedirectElsewhere, redirects},
    stream::{Begin, HttpStream},
};
use crate::access::ServerAccess;
use crate::address::{AddressPolicy, AddressRefused};
use crate::error::{ShownError, causes, error, parse};

/// Deadlines, limits and credentials for HTTP.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// How long a connection may take, TLS included.
    pub connect_deadline: Duration,
    /// How long a server may send nothing. There is no limit for a whole image, because images are large and
    /// links may be slow.
    pub idle_deadline: Duration,
    /// How many redirects are followed in a row.
    pub redirects: usize,
    /// Credentials for servers. They are used if a URL has none of its own.
    pub access: Vec<ServerAccess>,
    /// Certificates of authorities to trust in addition to the system's, as PEM.
    pub authorities: Option<String>,
    /// The addresses that may be connected to, redirects included.
    pub addresses: AddressPolicy,
    /// Whether passwords and tokens may be sent over plain HTTP, and redirects may lead from HTTPS to HTTP.
    pub insecure: bool,
    /// Whether the image is compared with a checksum, so that a redirect from HTTPS to plain HTTP cannot
    /// change it undetected.
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

/// Reads `http:` and `https:` URLs, through the proxies from the usual environment variables. User and
/// password of a URL are sent as basic authentication, and to no other host.
#[derive(Clone, Debug)]
pub struct HttpSource {
    client: Client,
    idle_deadline: Duration,
    access: Vec<ServerAccess>,
    addresses: AddressPolicy,
    insecure: bool,
    checked: bool,
}

/// The credentials for one request.
#[derive(Clone, Copy)]
pub(crate) enum Credentials<'a> {
    None,
    /// A password or token from the host's settings.
    Access(&'a ServerAccess),
    /// A token that a token server issued for credentials.
    Bearer(&'a Secret),
    /// A token that a token server issued without credentials.
    Anonymous(&'a Secret),
    /// User and password from the URL itself.
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

/// The parts of a request other than its URL.
#[derive(Clone, Copy)]
pub(crate) struct RequestHeaders<'a> {
    pub(crate) credentials: Credentials<'a>,
    pub(crate) accept: Option<&'a str>,
    /// The first byte to read, and the `If-Range` condition if there is one.
    pub(crate) rest: Option<(u64, Option<&'a str>)>,
}

impl HttpSource {
    /// Creates a source with these options.
    ///
    /// # Errors
    /// If the system's TLS or proxy settings cannot be used.
    pub fn new(options: &HttpOptions) -> Result<Self, SourceError> {
        let authorities = options.authorities.as_deref().unwrap_or_default();
        let authorities = Certificate::from_pem_bundle(authorities.as_bytes());
        let client = authorities.and_then(|authorities| {
            let builder = Client::builder()
                .user_agent(concat!("vsiflow/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(options.connect_deadline)
                .redirect(redirects(options))
                // A referer would reveal the query of a URL, which may be a secret, to the next server.
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
            checked: options.checked,
        })
    }

    /// Requests the image with GET. A probe does so too, and closes the connection: servers answer HEAD
    /// differently, or, if a URL is signed for GET, not at all.
    async fn get(&self, url: &str) -> Result<HttpStream, SourceError> {
        let (response, shown) = self.ask(url, None).await?;
        self.whole(response, shown).await
    }

    /// The image from a response that must hold all of it.
    ///
    /// # Errors
    /// If the status, the headers or the first bytes do not fit.
    pub(crate) async fn whole(
        &self,
        response: Response,
        shown: ShownError,
    ) -> Result<HttpStream, SourceError> {
        let info = self.versioned(examine(&response, &shown)?);
        let coding = Coding::of(response.headers());
        let mut stream = self.stream(response, shown, info, Begin::default());
        if let Some(coding) = coding {
            let head = stream.peek(Coding::HEAD).await?;
            coding.check(&head, &stream.shown)?;
            let validator = stream.info.validator.take();
            stream.info.validator =
                validator.map(|sent| coding.of_sent(sent, stream.response.url()));
        }
        Ok(stream)
    }

    /// The image from a response that should hold the rest of it; `None` if it must be read from its start.
    ///
    /// # Errors
    /// If the status or the headers do not fit.
    pub(crate) async fn rest(
        &self,
        response: Response,
        shown: ShownError,
        offset: u64,
    ) -> Result<Option<HttpStream>, SourceError> {
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let Some((info, first)) = examine_rest(&response, &shown, offset)? else {
                    return Ok(None);
                };
                let info = self.versioned(info);
                // Without a validator nothing shows that this is part of the same image. An image that is
                // read from its start can be compared.
                let is_same = info.validator.is_some();
                let begin = Begin {
                    first,
                    wanted: offset,
                };
                Ok(is_same.then(|| self.stream(response, shown, info, begin)))
            }
            // The image is shorter now; reading it from its start shows what it is.
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(None),
            _ => self.whole(response, shown).await.map(Some).map_err(of_rest),
        }
    }

    /// The properties of an image that is compared with a checksum at its end: whatever version a server names,
    /// it is the same image. Each mirror behind a redirector names its own.
    fn versioned(&self, info: SourceInfo) -> SourceInfo {
        if !self.checked {
            return info;
        }
        SourceInfo {
            validator: Some(CHECKED.to_owned()),
            ..info
        }
    }

    /// Requests the rest of the image, if the image has not changed.
    async fn get_rest(
        &self,
        url: &str,
        offset: u64,
        condition: Option<&str>,
    ) -> Result<HttpStream, SourceError> {
        let (response, shown) = self.ask(url, Some((offset, condition))).await?;
        match self.rest(response, shown, offset).await? {
            Some(stream) => Ok(stream),
            None => self.get(url).await.map_err(of_rest),
        }
    }

    fn stream(
        &self,
        response: Response,
        shown: ShownError,
        info: SourceInfo,
        begin: Begin,
    ) -> HttpStream {
        HttpStream {
            response,
            shown,
            info,
            starts_at: begin.wanted,
            read: begin.first,
            peeked: Bytes::new(),
            idle_deadline: self.idle_deadline,
        }
    }

    async fn ask(
        &self,
        url: &str,
        rest: Option<(u64, Option<&str>)>,
    ) -> Result<(Response, ShownError), SourceError> {
        let mut url = parse(url)?;
        let shown_url = ShownError::from(&url);
        let own_credentials = take_credentials(&mut url);
        let credentials = match (&own_credentials, self.access_to(&url)) {
            (Some((user, password)), _) => Credentials::Url(user, password.as_deref()),
            (None, Some(access)) => Credentials::Access(access),
            (None, None) => Credentials::None,
        };
        let ask = RequestHeaders {
            credentials,
            accept: None,
            rest,
        };
        let response = self.request(&shown_url, url, ask).await?;
        Ok((response, shown_url))
    }

    /// The `If-Range` condition of a request for the rest of an image with this validator; `None` if the image has
    /// to be read from its start. There is no condition for an image that is compared with a checksum.
    pub(crate) fn condition<'a>(&self, validator: Option<&'a str>) -> Option<Option<&'a str>> {
        if self.checked {
            validator.map(|_| None)
        } else {
            validator.and_then(condition).map(Some)
        }
    }

    /// The credentials from the settings for a server.
    pub(crate) fn access_to(&self, url: &Url) -> Option<&ServerAccess> {
        self.access.iter().find(|access| access.is_for(url))
    }

    /// Whether passwords and tokens may be sent over plain HTTP.
    pub(crate) fn insecure(&self) -> bool {
        self.insecure
    }

    /// How long a server may send nothing.
    pub(crate) fn idle_deadline(&self) -> Duration {
        self.idle_deadline
    }

    /// Sends a request. All requests pass here: the address is checked, and so is that of each redirect.
    pub(crate) async fn request(
        &self,
        shown: &ShownError,
        url: Url,
        ask: RequestHeaders<'_>,
    ) -> Result<Response, SourceError> {
        let judged = self.addresses.judge(&url);
        judged.map_err(|refused| error(SourceErrorKind::Refused, shown, refused.to_string()))?;
        let secret = match ask.credentials {
            Credentials::Access(_) | Credentials::Bearer(_) => true,
            Credentials::Url(_, Some(_)) => !stays_on_this_machine(&url),
            _ => false,
        };
        if secret && !self.insecure && url.scheme() != "https" {
            return Err(error(SourceErrorKind::Refused, shown, PLAIN_HTTP));
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
        match self.condition(validator).filter(|_| offset > 0) {
            Some(condition) => Ok(Box::new(self.get_rest(url, offset, condition).await?)),
            None => self.open(url).await,
        }
    }
}

/// Whether the address of a URL is one of this machine, so that nobody is on the way. A name may mean another
/// machine.
fn stays_on_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    }
}

/// The validator of an image that is compared with a checksum.
const CHECKED: &str = "checked at its end";

const PLAIN_HTTP: &str = "the URL's password, IMAGE_TOKEN or IMAGE_PASSWORD would go over plain HTTP, for anybody on \
     the way to read; write https:, or set IMAGE_ALLOW_INSECURE: \"true\" with it";

/// The error of this type that caused another one, if there was one.
fn caused_by<E: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// Takes user and password out of the URL and decodes them.
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

/// Percent-decodes. A `+` remains, because this is not a form.
pub(crate) fn decode(text: &str) -> String {
    let quoted = text.replace('+', "%2B");
    let pair = format!("x={quoted}");
    let decoded = url::form_urlencoded::parse(pair.as_bytes()).next();
    decoded
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// Awaits a response of the server, at most for the deadline.
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

/// Turns a failed request into an error. The cause may name a redirect's URL, which may hold a signature, so
/// the URL is removed.
fn explain(shown: &ShownError, cause: reqwest::Error) -> SourceError {
    let plain_cause = cause.without_url();
    if let Some(refused) = caused_by::<AddressRefused>(&plain_cause) {
        return error(SourceErrorKind::Refused, shown, refused.to_string());
    }
    if let Some(elsewhere) = caused_by::<RedirectElsewhere>(&plain_cause) {
        return error(SourceErrorKind::Redirected, shown, elsewhere.to_string());
    }
    let text = chain(&plain_cause);
    let tls = caused_by::<rustls::Error>(&plain_cause);
    let untrusted = matches!(tls, Some(rustls::Error::InvalidCertificate(_)));
    let kind = match () {
        () if plain_cause.is_redirect() => SourceErrorKind::Redirected,
        () if untrusted => SourceErrorKind::Untrusted,
        () if plain_cause.is_builder() => SourceErrorKind::Invalid,
        () => SourceErrorKind::Transient,
    };
    let message = match plain_cause.is_redirect() {
        true => format!("too many redirects, or one to nowhere: {text}"),
        false if untrusted => format!("{text}; IMAGE_CA names further authorities to trust"),
        false => text,
    };
    error(kind, shown, message)
}
