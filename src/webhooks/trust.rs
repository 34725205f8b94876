//! Whose certificates are good: the authorities that Mozilla's programme has, built in; or those of a file instead.
//!
//! `docs/decisions/` says why no others, and why `ring`.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// What TLS is spoken with.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

/// Why a file of certificates is of no use.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadCertificates {
    /// It is not PEM, or what is in it is no certificate.
    #[error("{0}")]
    Wrong(String),
    /// There is none in it.
    #[error("there is no certificate in it; it should have one or more in PEM, -----BEGIN CERTIFICATE-----")]
    None,
}

impl Trust {
    /// In the authorities that are built in.
    pub fn built_in() -> Self {
        Self::of(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect())
    }

    /// In these, and no others.
    pub fn from_pem(pem: &[u8]) -> Result<Self, BadCertificates> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| BadCertificates::Wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| BadCertificates::Wrong(error.to_string()))?;
        }
        if roots.is_empty() { Err(BadCertificates::None) } else { Ok(Self::of(roots)) }
    }

    fn of(roots: RootCertStore) -> Self {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self(Arc::new(config))
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        self.0.clone()
    }
}

/// They were made by one call.
impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}
