//! The other end: one request to a host, over its Unix socket or its address.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::server::tls;

pub use hyper::Uri;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longer than the server lets anybody wait.
const PATIENCE: Duration = Duration::from_secs(100);

/// Where a host is, and how it knows the caller.
#[derive(Clone)]
pub enum Target {
    /// Its Unix socket; the system tells it who calls.
    Socket {
        /// The path.
        path: PathBuf,
        /// A token, to be somebody else than the user.
        token: Option<String>,
    },
    /// Its address.
    Url {
        /// `https://host:port`; `http` only to this machine.
        url: Uri,
        /// The token.
        token: Option<String>,
        /// Certificates to trust (PEM); those of the system if there is none.
        ca: Option<PathBuf>,
    },
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket { path, .. } => write!(f, "{}", path.display()),
            Self::Url { url, .. } => write!(f, "{url}"),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("{at}: no host answers here: {error}; is it running, and with `[control]` in its configuration?")]
    NoHost {
        /// The path or address.
        at: String,
        /// Why.
        error: std::io::Error,
    },
    /// The address, the token or a certificate cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// The connection broke off.
    #[error("{at}: the connection broke off: {error}")]
    Broken {
        /// The path or address.
        at: String,
        /// Why.
        error: String,
    },
    /// The host answered that it will not.
    #[error("refused by the host: {0}")]
    Refused(Refusal),
}

/// What a host says when it refuses (`application/problem+json`).
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Refusal {
    /// In a word or two.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was expected and what came.
    pub detail: String,
    /// What to do.
    pub help: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}\n  {}", self.title, self.detail, self.help)
    }
}

/// A question or an order.
#[derive(Clone, Debug)]
pub struct Call {
    /// Path and query.
    pub path: String,
    /// Its type and its bytes; a GET has none.
    pub body: Option<(&'static str, Vec<u8>)>,
}

impl Call {
    /// A question.
    pub fn get(path: impl Into<String>) -> Self {
        Self { path: path.into(), body: None }
    }

    /// The path of a slot, with what follows it.
    pub fn slot(signal: &str, kind: crate::slots::Kind, rest: &str) -> String {
        format!("/v1/slots/{}/{kind}{rest}", percent_encoded(signal))
    }
}

/// A text as a part of a path or a query.
pub fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
    // A dot alone, or two, would be taken for a folder; elsewhere they may stay.
    let dots = !text.is_empty() && text.bytes().all(|byte| byte == b'.');
    let letter = |byte: u8| {
        if plain(byte) || (byte == b'.' && !dots) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(letter).collect()
}

/// Calls a host. Answers the body.
///
/// # Errors
/// If there is no answer, or it is a refusal.
pub async fn call(target: &Target, call: Call) -> Result<Vec<u8>, ClientError> {
    let broken = |error: String| ClientError::Broken { at: target.to_string(), error };
    let answer = tokio::time::timeout(PATIENCE, send(target, call)).await;
    let (status, body) = answer.map_err(|_| broken(format!("no answer for {} s", PATIENCE.as_secs())))??;
    if status.is_success() {
        return Ok(body);
    }
    match serde_json::from_slice(&body) {
        Ok(refusal) => Err(ClientError::Refused(refusal)),
        Err(_) => Err(broken(format!("it answered {status}, which says nothing of why; is a Stillhouse there?"))),
    }
}

async fn send(target: &Target, call: Call) -> Result<(StatusCode, Vec<u8>), ClientError> {
    let no_host = |error| ClientError::NoHost { at: target.to_string(), error };
    match target {
        Target::Socket { path, token } => {
            let stream = UnixStream::connect(path).await.map_err(no_host)?;
            exchange(target, stream, "localhost", token.as_deref(), call).await
        }
        Target::Url { url, token, ca } => {
            let address = Address::of(url)?;
            let stream = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(no_host)?;
            let authority = url.authority().map_or("localhost", |authority| authority.as_str());
            if !address.tls {
                return exchange(target, stream, authority, token.as_deref(), call).await;
            }
            let name = ServerName::try_from(address.host.clone())
                .map_err(|_| ClientError::Unusable(format!("{url}: `{}` is no name of a host", address.host)))?;
            let stream = connector(ca.as_deref())?.connect(name, stream).await.map_err(|error| {
                let message = format!("{url}: no TLS: {error}; name the certificate to trust with --ca");
                ClientError::Unusable(message)
            })?;
            exchange(target, stream, authority, token.as_deref(), call).await
        }
    }
}

/// What a URL comes to.
struct Address {
    host: String,
    port: u16,
    tls: bool,
}

impl Address {
    fn of(url: &Uri) -> Result<Self, ClientError> {
        let refused = |message: &str| ClientError::Unusable(format!("{url}: {message}"));
        let host = url.host().ok_or_else(|| refused("expected a URL such as https://host:9443"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err(refused("expected a URL without a path"));
        }
        let here = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        match url.scheme_str() {
            Some("https") => Ok(Self { host, port: url.port_u16().unwrap_or(443), tls: true }),
            Some("http") if here => Ok(Self { host, port: url.port_u16().unwrap_or(80), tls: false }),
            Some("http") => Err(refused("over http everybody on the way can read the token; use https, or the socket")),
            _ => Err(refused("expected a URL that begins with https://")),
        }
    }
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector, ClientError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let unusable = |message: String| ClientError::Unusable(format!("{}: {message}", path.display()));
            for certificate in tls::certificates(path).map_err(unusable)? {
                roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
            }
        }
        // Of those of the system some are always odd; the rest counts.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| ClientError::Unusable(error.to_string()))?;
    Ok(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}

async fn exchange<S>(
    target: &Target,
    stream: S,
    host: &str,
    token: Option<&str>,
    call: Call,
) -> Result<(StatusCode, Vec<u8>), ClientError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |error: String| ClientError::Broken { at: target.to_string(), error };
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.to_string()))?;
    let method = if call.body.is_some() { Method::POST } else { Method::GET };
    let mut request = Request::builder().method(method).uri(call.path).header(header::HOST, host);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if let Some((content_type, _)) = &call.body {
        request = request.header(header::CONTENT_TYPE, *content_type);
    }
    let body = Full::new(Bytes::from(call.body.map(|(_, bytes)| bytes).unwrap_or_default()));
    let request = request.body(body).map_err(|error| {
        ClientError::Unusable(format!("the request cannot be made: {error}; is the token one line of text?"))
    })?;
    let answered = async move {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes().to_vec()))
    };
    let (answer, _) = tokio::join!(answered, connection);
    answer.map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_in_the_clear_to_this_machine_only() {
        let of = |url: &str| {
            Address::of(&url.parse().expect("a URL")).map(|address| (address.host, address.port, address.tls))
        };
        assert_eq!(of("https://host:9443").ok(), Some(("host".into(), 9443, true)));
        assert_eq!(of("https://host/").ok(), Some(("host".into(), 443, true)));
        assert_eq!(of("http://127.0.0.1:80").ok(), Some(("127.0.0.1".into(), 80, false)));
        assert_eq!(of("http://[::1]:81").ok(), Some(("::1".into(), 81, false)));
        for url in ["http://host", "host:80", "ftp://host", "https://host/v1", "/v1"] {
            assert!(of(url).is_err(), "{url}");
        }
    }

    #[test]
    fn signal_types_are_parts_of_a_path() {
        assert_eq!(percent_encoded("net.link"), "net.link");
        assert_eq!(percent_encoded(".."), "%2E%2E");
        assert_eq!(percent_encoded("a/b c%é"), "a%2Fb%20c%25%C3%A9");
    }
}
