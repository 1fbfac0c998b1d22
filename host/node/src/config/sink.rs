//! `[store]`, `[sink.NAME]` and `[intake]`: what is kept, where events go, and who may post signals.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stillhouse_delivery::Policy;
use stillhouse_delivery::intake::server::{IntakeConfig, Limits, TlsFiles};
use stillhouse_delivery::sender::http::HttpConfig;
use stillhouse_delivery::sender::secret::Secret;
use toml::Spanned;

use crate::config::duration::Duration;
use crate::config::{Refusal, refuse};
use crate::durable;

const MIB: u64 = 1 << 20;

/// `[store]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// The longest that something waits to be committed (20ms).
    commit_delay: Option<Spanned<Duration>>,
    /// A checkpoint is made after so many MiB of the log (64).
    checkpoint_mib: Option<Spanned<u64>>,
    /// What is no longer needed is removed after so long; without it, never.
    keep: Option<Duration>,
    /// How often the newest range of the log is distilled again and compared; without it, never.
    scrub_every: Option<Spanned<Duration>>,
    /// What is no longer needed is removed beyond so many MiB; without it, never.
    keep_mib: Option<u64>,
}

/// `[sink.NAME]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// Events are posted here.
    url: Option<Spanned<String>>,
    /// Events are appended to this file, relative to the configuration.
    file: Option<Spanned<String>>,
    /// Headers of posts: a text, `{ env = ".." }` or `{ file = ".." }`.
    #[serde(default)]
    headers: BTreeMap<String, Header>,
    /// Certificates to trust (PEM), instead of those of the system.
    ca: Option<String>,
    /// Headers may go in the clear to other machines (false).
    #[serde(default)]
    insecure: bool,
    /// Events in one post (1).
    batch: Option<Spanned<usize>>,
    /// Posts at the same time (8).
    in_flight: Option<Spanned<usize>>,
    /// How long a post may take (30s).
    timeout: Option<Spanned<Duration>>,
    /// After so many attempts an event is a dead letter; without it, never.
    attempts: Option<Spanned<u32>>,
    /// The wait after the first failure (1s); doubled each time.
    first_retry: Option<Spanned<Duration>>,
    /// The longest wait (5m).
    retry_max: Option<Spanned<Duration>>,
    /// After so many failures in a row nothing is sent for a while (10).
    breaker_failures: Option<Spanned<u32>>,
    /// For how long (30s).
    breaker_open: Option<Spanned<Duration>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Header {
    Plain(String),
    Environment { env: String },
    File { file: String },
}

/// `[intake]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intake {
    /// An address with its port.
    listen: Spanned<String>,
    /// Certificate and key.
    tls: Option<super::control::Tls>,
    /// It may be reached by others though signals and tokens go in the clear (false).
    #[serde(default)]
    insecure: bool,
    /// Hashes of the tokens that may post, as `stillhouse control token` prints them; none: everybody may.
    #[serde(default)]
    tokens: Vec<Spanned<String>>,
}

/// A checked `[sink.NAME]`.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// Its name.
    pub name: String,
    /// Where events go.
    pub to: SinkTo,
    /// How they are tried.
    pub policy: Policy,
}

/// Where events go.
#[derive(Clone, Debug)]
pub enum SinkTo {
    /// They are posted.
    Http(Box<HttpConfig>),
    /// They are appended to a file.
    File(PathBuf),
}

pub(super) fn store(store: &Store) -> Result<durable::Policy, Refusal> {
    let default = durable::Policy::DEFAULT;
    if let Some(delay) = store.commit_delay.as_ref().filter(|delay| delay.get_ref().0 > 10_000_000) {
        return Err(refuse(delay.span(), "`commit_delay` must be at most 10s: nothing leaves before it is committed"));
    }
    if let Some(mib) = store.checkpoint_mib.as_ref().filter(|mib| !(1..=65_536).contains(mib.get_ref())) {
        return Err(refuse(mib.span(), "`checkpoint_mib` must be from 1 to 65536"));
    }
    if let Some(every) = store.scrub_every.as_ref().filter(|every| every.get_ref().0 < 1_000_000) {
        return Err(refuse(every.span(), "`scrub_every` must be at least 1s"));
    }
    let every = |every: &Spanned<Duration>| std::time::Duration::from_micros(every.get_ref().0 as u64);
    let delay = store.commit_delay.as_ref().map(|delay| std::time::Duration::from_micros(delay.get_ref().0 as u64));
    Ok(durable::Policy {
        commit_delay: delay.unwrap_or(default.commit_delay),
        checkpoint_bytes: store.checkpoint_mib.as_ref().map_or(default.checkpoint_bytes, |mib| mib.get_ref() * MIB),
        scrub_every: store.scrub_every.as_ref().map(every),
        keep_us: store.keep.map(|keep| keep.0),
        keep_bytes: store.keep_mib.map(|mib| mib.saturating_mul(MIB)),
    })
}

pub(super) fn sink(name: Spanned<String>, sink: Sink, base: &Path) -> Result<SinkConfig, Refusal> {
    let span = name.span();
    let name = name.into_inner();
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        return Err(refuse(span, "the name of a sink has letters, digits, `-`, `_` and `.`, at most 64"));
    }
    fn least<T: PartialOrd + From<u8> + Copy>(value: Option<&Spanned<T>>, what: &str) -> Result<(), Refusal> {
        match value.filter(|value| *value.get_ref() < T::from(1)) {
            Some(value) => Err(refuse(value.span(), format!("`{what}` must be at least 1"))),
            None => Ok(()),
        }
    }
    least(sink.batch.as_ref(), "batch")?;
    least(sink.in_flight.as_ref(), "in_flight")?;
    least(sink.attempts.as_ref(), "attempts")?;
    least(sink.breaker_failures.as_ref(), "breaker_failures")?;
    let us =
        |value: &Option<Spanned<Duration>>, default: i64| value.as_ref().map_or(default, |value| value.get_ref().0);
    let default = Policy::default();
    let policy = Policy {
        in_flight_max: sink.in_flight.as_ref().map_or(default.in_flight_max, |max| *max.get_ref()),
        attempts_max: sink.attempts.as_ref().map(|attempts| *attempts.get_ref()),
        first_retry_us: us(&sink.first_retry, default.first_retry_us),
        retry_max_us: us(&sink.retry_max, default.retry_max_us),
        timeout_us: us(&sink.timeout, default.timeout_us),
        breaker_failures: sink
            .breaker_failures
            .as_ref()
            .map_or(default.breaker_failures, |failures| *failures.get_ref()),
        breaker_open_us: us(&sink.breaker_open, default.breaker_open_us),
        ..default
    };
    let to = match (sink.url, sink.file) {
        (Some(url), None) => {
            let header = |header: Header| match header {
                Header::Plain(value) => Secret::Plain(value),
                Header::Environment { env } => Secret::Environment(env),
                Header::File { file } => Secret::File(base.join(file)),
            };
            let mut http = HttpConfig::new(url.get_ref());
            http.headers = sink.headers.into_iter().map(|(name, value)| (name, header(value))).collect();
            http.ca = sink.ca.map(|ca| base.join(ca));
            http.insecure = sink.insecure;
            http.batch_max = sink.batch.map_or(http.batch_max, Spanned::into_inner);
            http.requests_max = policy.in_flight_max;
            SinkTo::Http(Box::new(http))
        }
        (None, Some(file)) => SinkTo::File(base.join(file.into_inner())),
        _ => return Err(refuse(span, format!("`[sink.{name}]` needs either `url` or `file`"))),
    };
    Ok(SinkConfig { name, to, policy })
}

pub(super) fn intake(intake: Intake, base: &Path) -> Result<IntakeConfig, Refusal> {
    let listen: SocketAddr = match intake.listen.get_ref().parse() {
        Ok(address) => address,
        Err(_) => {
            let message = format!("expected an address such as `127.0.0.1:8080`, got `{}`", intake.listen.get_ref());
            return Err(refuse(intake.listen.span(), message));
        }
    };
    let token = |token: &Spanned<String>| token.get_ref().parse().map_err(|error: String| refuse(token.span(), error));
    Ok(IntakeConfig {
        listen,
        tls: intake.tls.map(|tls| TlsFiles { cert: base.join(tls.cert), key: base.join(tls.key) }),
        insecure: intake.insecure,
        tokens: intake.tokens.iter().map(token).collect::<Result<_, _>>()?,
        limits: Limits::default(),
    })
}
