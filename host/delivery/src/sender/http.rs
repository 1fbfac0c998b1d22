//! Events as HTTP posts: CloudEvents in structured mode, or in batches.

mod answer;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::secret::Secret;
use super::{Ended, Event, Load, Sender, Sent};
use crate::certificates;
use crate::delivery::Outcome;

/// Heads of answers are smaller than this; a larger one is a failure.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long a connection that is not used is kept.
const IDLE: Duration = Duration::from_secs(60);

/// What Stillhouse says of a request itself.
const OWN_HEADERS: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    HeaderName::from_static("idempotency-key"),
];

/// Where events are posted, and how.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// `https://host/path`, or `http`. It may hold a secret too, so only its host is ever shown.
    pub url: Url,
    /// Headers that go with each request.
    pub headers: Vec<(String, Secret)>,
    /// Certificates to trust (PEM); those of the system if there is none.
    pub ca: Option<PathBuf>,
    /// Headers may go over http to other machines, where everybody on the way can read them.
    pub insecure: bool,
    /// How long it may take to connect.
    pub connect_timeout: Duration,
    /// Events in one request: 1, or more in batch mode.
    pub batch_max: usize,
    /// Requests at the same time.
    pub requests_max: usize,
}

impl HttpConfig {
    /// Posts one event after the other on up to 8 connections, each made within 10 s.
    pub fn new(url: &str) -> Self {
        Self {
            url: Url(url.to_owned()),
            headers: Vec::new(),
            ca: None,
            insecure: false,
            connect_timeout: Duration::from_secs(10),
            batch_max: 1,
            requests_max: 8,
        }
    }
}

/// An address that is not shown whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(pub String);

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.0.parse::<Uri>().map_or_else(|_| "no URL".into(), |url| shown(&url));
        write!(f, "{shown}/…")
    }
}

/// Posts events.
pub struct HttpSender {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Uri,
    at: String,
    headers: HeaderMap,
    secrets: Vec<String>,
    load: Load,
}

impl HttpSender {
    /// A sender that has not spoken to the sink yet.
    ///
    /// # Errors
    /// If address, headers or certificates cannot be used; says what was expected, and shows no secret.
    pub fn new(config: &HttpConfig) -> Result<Self, String> {
        let url = checked(&config.url.0)?;
        let at = shown(&url);
        let (headers, secrets) = headers(&config.headers).map_err(|message| format!("{at}: {message}"))?;
        if !secrets.is_empty() && !config.insecure && url.scheme_str() == Some("http") && !is_here(&url) {
            return Err(format!(
                "{at}: over http everybody on the way can read the headers; use https, or say `insecure = true` \
                 where something else encrypts"
            ));
        }
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(config.connect_timeout));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let tls = certificates::trusting(config.ca.as_deref())?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(config.requests_max)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector.wrap_connector(tcp));
        let load = Load { batch_max: config.batch_max.max(1), calls_max: config.requests_max.max(1), timed: true };
        Ok(Self { client, url, at, headers, secrets, load })
    }

    async fn post(&self, content_type: &'static str, id: Option<&str>, body: Bytes) -> Outcome {
        let request = Request::builder().method(Method::POST).uri(self.url.clone()).body(Full::new(body));
        let Ok(mut request) = request else {
            return Outcome::Failed(format!("{}: the request cannot be made", self.at));
        };
        let headers = request.headers_mut();
        *headers = self.headers.clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(id) = id {
            let Ok(id) = HeaderValue::from_str(id) else {
                return Outcome::Refused("the id of the event cannot be a header: expected printable ASCII".into());
            };
            headers.insert("idempotency-key", id);
        }
        match self.client.request(request).await {
            Ok(response) => answer::outcome(&self.at, response, &self.secrets).await,
            Err(error) => Outcome::Failed(format!("{}: {}", self.at, whole(&error))),
        }
    }

    /// Posts a batch. Where it is refused, one event may be why: halves are posted until that one is alone.
    async fn post_batch(&self, batch: &[Arc<Event>]) -> Vec<Outcome> {
        let joined: Vec<&[u8]> = batch.iter().map(|event| &event.bytes[..]).collect();
        let body = [b"[", joined.join(&b","[..]).as_slice(), b"]"].concat();
        let outcome = self.post("application/cloudevents-batch+json", None, body.into()).await;
        if matches!(outcome, Outcome::Refused(_)) && batch.len() > 1 {
            let (first, second) = batch.split_at(batch.len() / 2);
            let mut outcomes = Box::pin(self.post_batch(first)).await;
            outcomes.append(&mut Box::pin(self.post_batch(second)).await);
            return outcomes;
        }
        vec![outcome; batch.len()]
    }
}

impl Sender for HttpSender {
    fn load(&self) -> Load {
        self.load
    }

    async fn send(&self, batch: Vec<Arc<Event>>) -> Result<Sent, Ended> {
        let outcomes = match batch.as_slice() {
            [event] if self.load.batch_max == 1 => {
                let body = event.bytes.clone();
                vec![self.post("application/cloudevents+json", Some(&event.id), body).await]
            }
            batch => self.post_batch(batch).await,
        };
        Ok(Sent { outcomes, mark: None })
    }
}

/// An address that can be posted to.
fn checked(url: &str) -> Result<Uri, String> {
    let parsed: Uri = url.parse().map_err(|error| format!("expected a URL such as https://host/events: {error}"))?;
    if !matches!(parsed.scheme_str(), Some("http" | "https")) || parsed.host().is_none_or(str::is_empty) {
        return Err("expected a URL that begins with https:// or http://".into());
    }
    if parsed.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(format!(
            "{}: a name or password in the URL is not sent; use the header Authorization",
            shown(&parsed)
        ));
    }
    Ok(parsed)
}

/// What may be shown of an address: neither a password nor a path that is one.
fn shown(url: &Uri) -> String {
    let port = url.port_u16().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{}{port}", url.scheme_str().unwrap_or("http"), url.host().unwrap_or_default())
}

fn is_here(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn headers(configured: &[(String, Secret)]) -> Result<(HeaderMap, Vec<String>), String> {
    let (mut headers, mut secrets) = (HeaderMap::new(), Vec::new());
    for (name, secret) in configured {
        let parsed = HeaderName::try_from(name).map_err(|_| format!("`{name}` is no name of a header"))?;
        if OWN_HEADERS.contains(&parsed) {
            return Err(format!("the header `{name}` is made for each request and cannot be set"));
        }
        let value = secret.reveal().map_err(|message| format!("header `{name}`: {message}"))?;
        let mut sent = HeaderValue::from_str(&value)
            .map_err(|_| format!("header `{name}`: its value cannot be sent: expected one line of printable ASCII"))?;
        sent.set_sensitive(true);
        headers.append(parsed, sent);
        secrets.push(value);
    }
    Ok((headers, secrets))
}

/// An error with its causes: hyper's own text names only the first.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
