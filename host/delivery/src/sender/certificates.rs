//! Whom a client trusts.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// TLS for a client that trusts the certificates of a file, or else those of the system. Says what is
/// wrong with the file.
pub(super) fn trusting(ca: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let refused = |message: String| format!("{}: {message}", path.display());
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let found = read.map_err(|error| refused(format!("expected certificates in PEM: {error}")))?;
            if found.is_empty() {
                return Err(refused("expected a certificate in PEM; there is none".into()));
            }
            for certificate in found {
                roots.add(certificate).map_err(|error| refused(error.to_string()))?;
            }
        }
        // Of those of the system some are always odd; the rest counts.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth())
}
