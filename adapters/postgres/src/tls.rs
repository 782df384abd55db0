//! TLS with verified certificate and name for a connection to the database.

use std::{error::Error, io, path::Path, pin::Pin, sync::Arc, task};

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::{
    TlsConnector, client,
    rustls::{
        self, CertificateError, ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

use crate::{PostgresError, address::Roots};

/// Why a server is not trusted, if an error says so.
pub(crate) fn distrusted(error: &tokio_postgres::Error) -> Option<String> {
    let mut cause = error.source();
    while let Some(layer) = cause {
        let inner = layer.downcast_ref::<io::Error>();
        // The source of an `io::Error` skips the error that it wraps.
        let inner = inner.and_then(|boxed| boxed.get_ref());
        let found = layer.downcast_ref::<rustls::Error>();
        let found = found.or_else(|| inner?.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::InvalidCertificate(why)) = found {
            return Some(words(why));
        }
        // The text of the client library, which has no error type for this.
        if layer.to_string() == "server does not support TLS" {
            return Some("it speaks no TLS".to_owned());
        }
        cause = layer.source();
    }
    None
}

fn words(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "its certificate is of an authority that is not trusted here".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is another server's: {why}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("its certificate has expired: {why}")
        }
        other => format!("its certificate: {other}"),
    }
}

/// Makes verified connections.
#[derive(Clone)]
pub(crate) struct Verified(TlsConnector);

impl Verified {
    /// Trusts the certificates that these authorities sign. Blocks.
    pub(crate) fn new(roots: &Roots) -> Result<Self, PostgresError> {
        let mut store = RootCertStore::empty();
        let (added, _) = match roots {
            Roots::System => {
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)
            }
            Roots::File(path) => store.add_parsable_certificates(certificates(path)?),
        };
        if added == 0 {
            let why = format!("no certificate of an authority is in {roots:?}");
            return Err(PostgresError::Address(why));
        }
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| PostgresError::Address(e.to_string()))?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PostgresError> {
    let unreadable =
        |why: String| PostgresError::Address(format!("sslrootcert={}: {why}", path.display()));
    let found = CertificateDer::pem_file_iter(path).map_err(|e| unreadable(e.to_string()))?;
    let found = found.collect::<Result<Vec<_>, _>>();
    found.map_err(|e| unreadable(e.to_string()))
}

impl<S> MakeTlsConnect<S> for Verified
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = EncryptedStream<S>;
    type TlsConnect = ToServer;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<ToServer, io::Error> {
        let name = ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?;
        Ok(ToServer(self.0.clone(), name))
    }
}

/// Connects to the server with that name.
pub(crate) struct ToServer(TlsConnector, ServerName<'static>);

impl<S> TlsConnect<S> for ToServer
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = EncryptedStream<S>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<EncryptedStream<S>>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { Ok(EncryptedStream(self.0.connect(self.1, stream).await?)) })
    }
}

/// An encrypted stream.
pub(crate) struct EncryptedStream<S>(client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for EncryptedStream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        // Not needed: certificate and name were verified.
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for EncryptedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for EncryptedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &[u8],
    ) -> task::Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
