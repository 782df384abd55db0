//! The address of a daemon: a socket of this machine, or a remote daemon whose certificate is known.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use http::HeaderValue;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};

use crate::{socket_path::SocketPath, token::Token};

/// Timeout for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The address of a daemon.
#[derive(Clone, Debug)]
pub enum DaemonAddress {
    /// A socket; the kernel identifies the user.
    Socket(PathBuf),
    /// `HOST:PORT` over TLS, with a bearer token.
    Remote {
        /// `HOST:PORT`.
        address: String,
        /// Identifies the caller, and the daemon's certificate.
        token: Box<Token>,
    },
}

impl std::fmt::Display for DaemonAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Remote { address, .. } => write!(f, "https://{address}"),
        }
    }
}

pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl DaemonAddress {
    /// Connects, within a timeout.
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let connected = timeout(CONNECT_TIMEOUT, self.connected()).await;
        connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Checks whether a daemon answers there.
    ///
    /// # Errors
    /// If none does, or it has another certificate.
    pub async fn check(&self) -> io::Result<()> {
        self.connect().await.map(drop)
    }

    async fn connected(&self) -> io::Result<Box<dyn Wire>> {
        match self {
            Self::Socket(path) => {
                let reached = SocketPath::of(path)?;
                Ok(Box::new(UnixStream::connect(reached.as_path()).await?))
            }
            Self::Remote { address, token } => {
                let stream = TcpStream::connect(address).await?;
                let host = address.rsplit_once(':').map_or("", |(host, _)| host);
                let host = host
                    .trim_start_matches('[')
                    .trim_end_matches(']')
                    .to_owned();
                let name = ServerName::try_from(host).map_err(io::Error::other)?;
                let connector = TlsConnector::from(Arc::new(pinned(token)?));
                Ok(Box::new(connector.connect(name, stream).await?))
            }
        }
    }

    /// The `Authorization` header; none for a socket, where the kernel identifies the caller.
    pub(crate) fn authorization(&self) -> io::Result<Option<HeaderValue>> {
        match self {
            Self::Socket(_) => Ok(None),
            Self::Remote { token, .. } => token.header().map(Some).map_err(io::Error::other),
        }
    }
}

fn pinned(token: &Token) -> io::Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Pinned {
        token: token.clone(),
        provider: provider.clone(),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Accepts only the certificate whose fingerprint is in the token, whatever its content.
#[derive(Debug)]
struct Pinned {
    token: Token,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.token.is_of(certificate) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General(
                "its certificate is not the one that the token names".to_owned(),
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
