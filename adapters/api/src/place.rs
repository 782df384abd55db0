//! Where a client asks: a socket of this machine, or a daemon elsewhere whose certificate is known.

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

use crate::token::Token;

/// How long a connection may take to come about.
const CONNECTING: Duration = Duration::from_secs(10);

/// Where a daemon is asked.
#[derive(Clone, Debug)]
pub enum DaemonAddress {
    /// At a socket, by this process's user.
    Socket(PathBuf),
    /// At `HOST:PORT` over TLS, by the bearer of a token.
    Remote {
        /// `HOST:PORT`.
        address: String,
        /// Who asks, and whose certificate is believed.
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
    /// A connection. Bounded in time.
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let connected = timeout(CONNECTING, self.connected()).await;
        connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Whether somebody answers there.
    ///
    /// # Errors
    /// When nobody does, or somebody with another certificate.
    pub async fn check(&self) -> io::Result<()> {
        self.connect().await.map(drop)
    }

    async fn connected(&self) -> io::Result<Box<dyn Wire>> {
        match self {
            Self::Socket(path) => Ok(Box::new(UnixStream::connect(path).await?)),
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

    /// Who a request says that it is from; nothing at a socket, where the kernel says it.
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

/// Believes the one certificate that the token names, whatever it says of itself.
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
