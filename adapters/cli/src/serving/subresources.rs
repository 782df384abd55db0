//! Serves subresources to the cluster's API server, which requests them on behalf of its users.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use tokio::{
    net::TcpListener,
    time::{Instant, timeout},
};
use vsiflow_api::{
    API, Api, Certificate, Clients, NoConsole, Peer, Security, SessionRight, TlsAcceptor, acceptor,
};
use vsiflow_image::{
    UploadRelay,
    relay::{RelayRefusal, SentFile, SentPiece},
};
use vsiflow_kube::subresources::{
    self, AnnouncedUpload, Authorities, ConsoleRequest, Consoles, NotUploaded, ServiceName,
    Subresources, UploadPiece, UploadReader, UploadedFile, Uploads,
};

use super::listen::deaf;
use crate::{
    args::ClusterArgs,
    compose::App,
    exit::{Exit, ExitProblem},
    output, work,
};

/// The path of the certificate in the state directory.
const CERTIFICATE: &str = "tls/subresources.pem";

/// How often the right of a user whose console is open is reviewed.
const RIGHT_INTERVAL: Duration = Duration::from_secs(60);

/// Serves subresources if requested; returns only on failure.
pub(crate) async fn serve(
    app: &App,
    args: &ClusterArgs,
    subresources: Option<Subresources>,
    (consoles, relay): (&Api, UploadRelay),
) -> ExitProblem {
    let place = args
        .subresources_address
        .zip(args.subresources_service.as_ref());
    let (Some(subresources), Some((address, service))) = (subresources, place) else {
        return std::future::pending().await;
    };
    match serve_at(app, subresources, (address, service), (consoles, relay)).await {
        Ok(never) => match never {},
        Err(problem) => problem,
    }
}

async fn serve_at(
    app: &App,
    subresources: Subresources,
    (address, service): (SocketAddr, &ServiceName),
    (consoles, relay): (&Api, UploadRelay),
) -> Result<Infallible, ExitProblem> {
    let (path, name) = (app.state_path().join(CERTIFICATE), service.host());
    let stored = work::off_runtime(move || Certificate::stored(&path, &[name])).await?;
    let certificate = stored.map_err(|error| {
        let remedy = "see that the state directory has room and can be written and read";
        ExitProblem::new(Exit::Failed, "VSI0006", error.to_string(), remedy)
    })?;
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|why| deaf(address, Some(why), "--subresources-address"))?;
    output::note(&format!("answering for subresources at {address}"));
    let acceptor = CurrentAcceptor::default();
    let security = acceptor.security();
    tokio::select! {
        never = subresources.keep_current() => match never {},
        never = subresources.register(service, certificate.pem()) => match never {},
        never = acceptor.renew_certificate(&certificate, subresources.authorities()) => match never {},
        never = answer(listener, security, subresources.clone(), (consoles.clone(), relay)) => match never {},
    }
}

async fn answer(
    listener: TcpListener,
    security: Security,
    subresources: Subresources,
    (consoles, relay): (Api, UploadRelay),
) -> Infallible {
    let service = service_fn(move |request: Request<Incoming>| {
        let (subresources, consoles) = (subresources.clone(), DaemonConsoles(consoles.clone()));
        let uploads = RelayUploads(relay.clone());
        async move {
            let peer = request.extensions().get::<Peer>().cloned();
            let certificate = peer.and_then(|peer| peer.certificate);
            let answered =
                subresources.answer(certificate.as_deref(), request, (&consoles, &uploads));
            Ok::<_, Infallible>(answered.await)
        }
    });
    vsiflow_api::serve(listener, security, service, API).await
}

/// The consoles of this process, for the cluster's users.
struct DaemonConsoles(Api);

#[async_trait]
impl Consoles for DaemonConsoles {
    async fn open(&self, console: ConsoleRequest) -> Result<(), subresources::ConsoleRefused> {
        let ConsoleRequest {
            namespace,
            name,
            force,
            by,
            mut connection,
            right,
        } = console;
        connection.insert(SessionRight::checked(right, RIGHT_INTERVAL));
        let target = (namespace.as_str(), name.as_str());
        let opened = self.0.open_console(target, (force, by), connection).await;
        opened.map_err(|why| match why {
            NoConsole::Busy | NoConsole::Ends | NoConsole::Unread(_) => {
                subresources::ConsoleRefused::Busy
            }
            NoConsole::Connection => subresources::ConsoleRefused::Connection,
            NoConsole::Failed(error) => subresources::ConsoleRefused::Failed(error),
        })
    }
}

/// Passes files that are sent for hosts to the uploads that read them.
struct RelayUploads(UploadRelay);

fn sent(file: &UploadedFile) -> SentFile {
    SentFile {
        length: file.length,
        sha256: file.sha256.clone(),
    }
}

fn not_uploaded(why: RelayRefusal) -> NotUploaded {
    match why {
        RelayRefusal::Busy => NotUploaded::Busy,
        RelayRefusal::Another => NotUploaded::Another,
        RelayRefusal::TooLong => NotUploaded::TooLong,
        RelayRefusal::Unknown
        | RelayRefusal::NoReader
        | RelayRefusal::Elsewhere(_)
        | RelayRefusal::Slow(_) => NotUploaded::Elsewhere,
    }
}

#[async_trait]
impl Uploads for RelayUploads {
    async fn announce(
        &self,
        file: &UploadedFile,
        wait: Duration,
    ) -> Result<AnnouncedUpload, NotUploaded> {
        let url = file.url();
        self.0.begin(&url, &sent(file)).map_err(not_uploaded)?;
        let until = Instant::now().checked_add(wait);
        loop {
            let moved = self.0.moved();
            let readers = self.0.readers(&url).unwrap_or_default();
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let left = left.unwrap_or_default();
            if !readers.is_empty() || left.is_zero() || timeout(left, moved).await.is_err() {
                let shown = readers.into_iter().map(|reader| UploadReader {
                    id: reader.id,
                    from: reader.from,
                });
                return Ok(AnnouncedUpload {
                    readers: shown.collect(),
                    pause: self.0.pause(&url),
                });
            }
        }
    }

    fn end(&self, file: &UploadedFile) {
        self.0.end(&file.url(), &sent(file));
    }

    async fn feed(
        &self,
        file: &UploadedFile,
        to: UploadReader,
        piece: UploadPiece,
    ) -> Result<u64, NotUploaded> {
        let piece = match piece {
            UploadPiece::Data(bytes) => SentPiece::Data(bytes),
            UploadPiece::Zeros(zeros) => SentPiece::Zeros(zeros),
        };
        let (url, file) = (file.url(), sent(file));
        let fed = self.0.feed((&url, &file), to.id, to.from, piece).await;
        fed.map_err(not_uploaded)
    }
}

/// The TLS acceptor for clients of the cluster's current authorities.
#[derive(Clone, Default)]
struct CurrentAcceptor(Arc<Mutex<Option<TlsAcceptor>>>);

impl CurrentAcceptor {
    fn security(&self) -> Security {
        let acceptor = self.clone();
        Security::Tls(Arc::new(move || {
            let acceptor = acceptor.0.lock();
            acceptor.unwrap_or_else(PoisonError::into_inner).clone()
        }))
    }

    async fn renew_certificate(
        &self,
        certificate: &Certificate,
        mut authorities: Authorities,
    ) -> Infallible {
        loop {
            let now = authorities.now().and_then(|pem| {
                let made = acceptor(certificate, Clients::Only(pem.as_bytes()));
                made.inspect_err(|error| {
                    tracing::warn!(code = "VSI1034", %error, "no client can be verified");
                })
                .ok()
            });
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
            authorities.changed().await;
        }
    }
}
