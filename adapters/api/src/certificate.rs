//! The listener's certificate: created at the first start, stored, and renewed in time.
//!
//! It is self-signed and is not an authority: a client that trusts it trusts only this server, and its
//! key cannot sign other certificates. Certificate and key are in one file, which gets its name only
//! when it is complete, so that a crash leaves either the old pair or the new one.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    str::FromStr as _,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use p256::{
    ecdsa::{DerSignature, SigningKey},
    pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding},
};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _,
};
use x509_cert::{
    Certificate as X509, SubjectPublicKeyInfo, TbsCertificate,
    builder::{self, Builder as _, CertificateBuilder, profile::BuilderProfile},
    der::{
        Decode as _, DecodePem as _, Encode as _, EncodePem as _, asn1::Ia5String,
        oid::db::rfc5280::ID_KP_SERVER_AUTH,
    },
    ext::{
        Extension, ToExtension as _,
        pkix::{
            BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
            name::GeneralName,
        },
    },
    name::Name,
    serial_number::SerialNumber,
    spki::SubjectPublicKeyInfoRef,
    time::Validity,
};

/// The validity of a certificate.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 86_400);
/// A certificate that expires sooner than this is renewed at the next start.
const SOON: Duration = Duration::from_secs(365 * 86_400);
/// Held while a certificate is loaded or made: a token that is created while its daemon starts names the
/// certificate that the daemon shows.
static STORED: Mutex<()> = Mutex::new(());
/// The line that separates the two parts of the file.
const KEY: &str = "-----BEGIN PRIVATE KEY-----";

/// Error: there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Its file cannot be read or written.
    #[error("the certificate's file cannot be read or written: {0}")]
    File(#[from] io::Error),
    /// The certificate cannot be created or parsed.
    #[error("no certificate can be made: {0}")]
    Made(String),
}

impl CertificateError {
    fn made(error: impl std::fmt::Display) -> Self {
        Self::Made(error.to_string())
    }
}

/// A certificate and its key. It is never printed.
pub struct Certificate {
    pem: String,
    chain: CertificateDer<'static>,
    /// The intermediate certificates of its chain.
    more: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// Loads the certificate from that file (mode 0600). If there is none, or it is damaged, expires
    /// within a year or is not for these names, a new one replaces it. Those who ask for it at once get the
    /// same one. Blocks.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn stored(path: &Path, names: &[String]) -> Result<Self, CertificateError> {
        let _stored = STORED.lock().unwrap_or_else(PoisonError::into_inner);
        match std::fs::read_to_string(path) {
            Ok(text) => match Self::read(&text).filter(|(_, x509)| is_good(x509, names)) {
                Some((kept, _)) => Ok(kept),
                None => Self::renew(path, names),
            },
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Self::renew(path, names),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::renew(path, names),
            Err(error) => Err(error.into()),
        }
    }

    /// The certificate without its key, in PEM, for clients to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Loads a chain and its key, each from a PEM file. Blocks.
    ///
    /// # Errors
    /// If the files cannot be read or parsed.
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self, CertificateError> {
        let pem = std::fs::read_to_string(chain)?;
        let leaf = Self::leaf_of(chain)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(CertificateError::made)?;
        let more = CertificateDer::pem_slice_iter(pem.as_bytes()).skip(1);
        let more = more
            .collect::<Result<_, _>>()
            .map_err(CertificateError::made)?;
        Ok(Self {
            pem,
            chain: leaf.into(),
            more,
            key,
        })
    }

    /// The first certificate (DER) of a PEM file. Blocks.
    ///
    /// # Errors
    /// If it cannot be read or parsed.
    pub fn leaf_of(file: &Path) -> Result<Vec<u8>, CertificateError> {
        let leaf = CertificateDer::from_pem_file(file).map_err(CertificateError::made)?;
        Ok(leaf.to_vec())
    }

    /// The certificate (DER).
    pub fn leaf(&self) -> &[u8] {
        &self.chain
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        let more = self.more.iter().cloned();
        std::iter::once(self.chain.clone()).chain(more).collect()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }

    fn read(text: &str) -> Option<(Self, X509)> {
        let at = text.find(KEY)?;
        let (pem, key) = text.split_at_checked(at)?;
        let x509 = X509::from_pem(pem).ok()?;
        let key = SigningKey::from_pkcs8_pem(key).ok()?;
        let own = key.verifying_key().to_public_key_der().ok()?;
        let spki = x509.tbs_certificate().subject_public_key_info().to_der();
        if spki.ok()?.as_slice() != own.as_bytes() {
            return None;
        }
        let key = key.to_pkcs8_der().ok()?;
        let certificate = Self {
            pem: pem.to_owned(),
            chain: x509.to_der().ok()?.into(),
            more: Vec::new(),
            key: PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into(),
        };
        Some((certificate, x509))
    }

    fn renew(path: &Path, names: &[String]) -> Result<Self, CertificateError> {
        let text = made(names)?;
        write(path, &text)?;
        let read = Self::read(&text).ok_or_else(|| CertificateError::made("it cannot be read"));
        Ok(read?.0)
    }
}

/// Whether it is valid for a while longer, and for exactly these names.
fn is_good(x509: &X509, names: &[String]) -> bool {
    let tbs = x509.tbs_certificate();
    let validity = tbs.validity();
    let now = SystemTime::now();
    let later = now.checked_add(SOON);
    let lasts = later.is_some_and(|later| validity.not_after.to_system_time() > later);
    let begun = validity.not_before.to_system_time() <= now;
    let own = tbs.get_extension::<SubjectAltName>().ok().flatten();
    let own = own.map(|(_, own)| own.0).unwrap_or_default();
    let expected = general(names).unwrap_or_default();
    lasts && begun && own == expected
}

fn general(names: &[String]) -> builder::Result<Vec<GeneralName>> {
    let general = |name: &String| Ok(GeneralName::DnsName(Ia5String::new(name)?));
    names.iter().map(general).collect()
}

/// Creates a certificate for these names and its key, in PEM.
fn made(names: &[String]) -> Result<String, CertificateError> {
    let key = new_key()?;
    let public = key.verifying_key().to_public_key_der();
    let public = public.map_err(CertificateError::made)?;
    let public = SubjectPublicKeyInfo::from_der(public.as_bytes());
    let public = public.map_err(CertificateError::made)?;
    let certificate = signed(&key, public, names).map_err(CertificateError::made)?;
    let certificate = certificate.to_pem(LineEnding::LF);
    let key = key.to_pkcs8_pem(LineEnding::LF);
    let certificate = certificate.map_err(CertificateError::made)?;
    Ok(certificate + key.map_err(CertificateError::made)?.as_str())
}

fn signed(
    key: &SigningKey,
    public: SubjectPublicKeyInfo,
    names: &[String],
) -> builder::Result<X509> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|_| builder::Error::MissingAttributes)?;
    // The serial number must be positive and have its full length: the first byte is neither zero nor
    // negative.
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    let serial = SerialNumber::new(&serial)?;
    let validity = Validity::from_now(VALIDITY)?;
    let profile = OneServer {
        subject: Name::from_str("CN=vsiflow")?,
        names: general(names)?,
    };
    let builder = CertificateBuilder::new(profile, serial, validity, public)?;
    builder.build::<_, DerSignature>(key)
}

/// Generates a key. Nearly every number of 32 bytes is a valid one.
fn new_key() -> Result<SigningKey, CertificateError> {
    loop {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(CertificateError::made)?;
        if let Ok(key) = SigningKey::from_slice(&bytes) {
            return Ok(key);
        }
    }
}

/// The profile of a self-signed server certificate.
struct OneServer {
    subject: Name,
    names: Vec<GeneralName>,
}

impl BuilderProfile for OneServer {
    fn get_issuer(&self, subject: &Name) -> Name {
        subject.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _spk: SubjectPublicKeyInfoRef<'_>,
        _issuer_spk: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let leaf = BasicConstraints {
            ca: false,
            path_len_constraint: None,
        };
        let subject = tbs.subject();
        Ok(vec![
            leaf.to_extension(subject, &[])?,
            KeyUsage(KeyUsages::DigitalSignature.into()).to_extension(subject, &[])?,
            ExtendedKeyUsage(vec![ID_KP_SERVER_AUTH]).to_extension(subject, &[])?,
            SubjectAltName(self.names.clone()).to_extension(subject, &[])?,
        ])
    }
}

/// Writes the file completely or not at all.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }

    #[test]
    fn those_who_ask_for_it_at_once_get_the_same_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tls.pem");
        let stored = || Certificate::stored(&path, &names("a.b.svc"));
        let leaves: Vec<_> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(stored)).collect();
            let asked = asking.into_iter().map(|one| one.join().unwrap());
            asked.map(|one| one.unwrap().leaf().to_vec()).collect()
        });
        let on_disk = stored().unwrap();
        assert!(leaves.iter().all(|leaf| leaf == on_disk.leaf()));
    }

    #[test]
    fn it_is_made_once_and_kept_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tls/server.pem");
        let first = Certificate::stored(&path, &names("a.b.svc")).unwrap();
        let again = Certificate::stored(&path, &names("a.b.svc")).unwrap();
        assert_eq!(first.pem(), again.pem());
        assert!(!first.pem().contains("PRIVATE"));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn another_name_damage_and_what_a_crash_left_make_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.pem");
        let first = Certificate::stored(&path, &names("a.b.svc")).unwrap();
        std::fs::write(path.with_extension("new"), "half").unwrap();
        let other = Certificate::stored(&path, &names("c.b.svc")).unwrap();
        assert_ne!(first.pem(), other.pem());
        let text = std::fs::read_to_string(&path).unwrap();
        // The certificate of one pair with the key of another is no pair.
        let key = text.find(KEY).unwrap();
        std::fs::write(&path, format!("{}{}", first.pem(), &text[key..])).unwrap();
        let third = Certificate::stored(&path, &names("a.b.svc")).unwrap();
        assert!(![first.pem(), other.pem()].contains(&third.pem()));
        std::fs::write(&path, b"\xff\xfe").unwrap();
        Certificate::stored(&path, &names("a.b.svc")).unwrap();
    }

    #[test]
    fn one_that_ends_soon_is_not_good_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.pem");
        Certificate::stored(&path, &names("a")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let (_, x509) = Certificate::read(&text).unwrap();
        assert!(is_good(&x509, &names("a")));
        assert!(!is_good(&x509, &[]));
        let ends = x509.tbs_certificate().validity().not_after;
        let lasts = ends.to_system_time().duration_since(SystemTime::now());
        assert!(lasts.unwrap() > SOON);
    }
}
