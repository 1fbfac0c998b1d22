//! TLS: whom a client trusts, and what a server shows.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// TLS for a client that trusts the certificates of a file, or else those of the system. Says what is
/// wrong with the file.
pub(crate) fn trusting(ca: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let found = read(path)?;
            for certificate in found {
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        // Of those of the system some are always odd; the rest counts.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    Ok(config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth())
}

/// TLS for a server with a certificate and its key. Says what is wrong with which file.
pub(crate) fn serving(cert: &Path, key: &Path) -> Result<ServerConfig, String> {
    let chain = read(cert)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("{}: expected a private key in PEM: {error}", key.display()))?;
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| format!("{}: certificate and key cannot be used: {error}", cert.display()))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => {
            Err(format!("{}: expected a certificate in PEM; there is none", path.display()))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(format!("{}: expected certificates in PEM: {error}", path.display())),
    }
}
