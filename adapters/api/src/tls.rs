//! TLS for the listener.

use std::sync::Arc;

use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

pub use tokio_rustls::TlsAcceptor;

use crate::Certificate;

/// The only protocol that is offered.
const HTTP_1: &[u8] = b"http/1.1";

/// Which clients may connect.
#[derive(Clone, Copy, Debug)]
pub enum Clients<'a> {
    /// Any client; the service must authenticate it.
    Anybody,
    /// Clients with a certificate from one of these authorities (PEM) that is valid now and for clients.
    Only(&'a [u8]),
}

/// Error: no connection can be accepted.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// None of the authorities can be used.
    #[error("no authority of clients can be used: {0}")]
    Authorities(String),
    /// The certificate cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
}

/// An acceptor with this certificate.
///
/// # Errors
/// If the certificate or the authorities cannot be used.
pub fn acceptor(certificate: &Certificate, clients: Clients<'_>) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let builder = match clients {
        Clients::Anybody => builder.with_no_client_auth(),
        Clients::Only(authorities) => {
            let roots = Arc::new(roots(authorities)?);
            // The list of authorities is not sent: a permitted client knows which certificate to send.
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .clear_root_hint_subjects()
                .build();
            let unusable = |error: &dyn std::fmt::Display| TlsError::Authorities(error.to_string());
            builder.with_client_cert_verifier(verifier.map_err(|error| unusable(&error))?)
        }
    };
    let mut config = builder.with_single_cert(certificate.chain(), certificate.key())?;
    config.alpn_protocols = vec![HTTP_1.to_vec()];
    // A resumed session is not verified again, and the certificate may have expired since.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The usable authorities of a bundle: one that cannot be parsed must not disable the others.
fn roots(bundle: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (_, ignored) =
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(bundle).flatten());
    if ignored > 0 {
        tracing::warn!(ignored, "certificates of client authorities cannot be used");
    }
    if roots.is_empty() {
        Err(TlsError::Authorities("there is none".to_owned()))
    } else {
        Ok(roots)
    }
}
