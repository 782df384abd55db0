//! TLS of what listens.

use std::sync::Arc;

use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

pub use tokio_rustls::TlsAcceptor;

use crate::Certificate;

/// The one protocol that is spoken.
const HTTP_1: &[u8] = b"http/1.1";

/// Whose connections are taken.
#[derive(Clone, Copy, Debug)]
pub enum Clients<'a> {
    /// Anybody's: who they are is for the service to find out.
    Anybody,
    /// Those with a certificate, good now and for clients, of one of these authorities (PEM).
    Only(&'a [u8]),
}

/// Why no connection can be taken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// None of the authorities can be used.
    #[error("no authority of clients can be used: {0}")]
    Authorities(String),
    /// The certificate cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
}

/// What takes connections with this certificate.
///
/// # Errors
/// When the certificate or the authorities cannot be used.
pub fn acceptor(certificate: &Certificate, clients: Clients<'_>) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let builder = match clients {
        Clients::Anybody => builder.with_no_client_auth(),
        Clients::Only(authorities) => {
            let roots = Arc::new(roots(authorities)?);
            // They are not told: whoever may come knows which certificate to show.
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .clear_root_hint_subjects()
                .build();
            let unusable = |error: &dyn std::fmt::Display| TlsError::Authorities(error.to_string());
            builder.with_client_cert_verifier(verifier.map_err(|error| unusable(&error))?)
        }
    };
    let mut config = builder.with_single_cert(certificate.chain(), certificate.key())?;
    config.alpn_protocols = vec![HTTP_1.to_vec()];
    // A session that is resumed is not verified again: a certificate may have ended meanwhile.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Those of a bundle that can be used: one that cannot be read must not shut the others out.
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
