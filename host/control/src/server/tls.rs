//! TLS 1.3 by rustls, with a certificate and a key from files.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use tokio_rustls::TlsAcceptor;

use super::{ServeError, TlsFiles};

pub(super) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, ServeError> {
    let refused = |path: &Path, message: String| ServeError::Tls { path: path.to_owned(), message };
    let chain = certificates(&files.cert).map_err(|message| refused(&files.cert, message))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| refused(&files.key, format!("expected a private key in PEM: {error}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| refused(&files.cert, format!("certificate and key cannot be used: {error}")))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The certificates of a PEM file. Says what is wrong with it.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => Err("expected a certificate in PEM; there is none".into()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("expected certificates in PEM: {error}")),
    }
}
