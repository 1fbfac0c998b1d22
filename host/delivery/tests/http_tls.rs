//! TLS, with certificates that are made for the test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use stillhouse_delivery::Outcome;
use stillhouse_delivery::sender::Sender;
use stillhouse_delivery::sender::http::{HttpConfig, HttpSender};
use tokio_rustls::TlsAcceptor;

use crate::fake_outbox::event;
use crate::fake_sink::{FakeSink, PATIENCE, ok};

/// A certificate for `localhost`, and a server that shows it.
fn certificate(folder: &Path, name: &str) -> (PathBuf, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let path = folder.join(name);
    std::fs::write(&path, made.cert.pem()).expect("written");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key));
    (path, TlsAcceptor::from(Arc::new(config.expect("a configuration"))))
}

#[tokio::test]
async fn only_a_sink_that_is_trusted_gets_events() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, acceptor) = certificate(folder.path(), "own.pem");
    let (other, _) = certificate(folder.path(), "other.pem");
    let sink = FakeSink::start(|_| ok(), Some(acceptor)).await;
    let send = async |scheme: &str, host: &str, ca: Option<&Path>| {
        let url = format!("{scheme}://{host}:{}/", sink.address.port());
        let config = HttpConfig { ca: ca.map(Path::to_owned), ..HttpConfig::new(&url) };
        let sender = HttpSender::new(&config).expect("a sender");
        let sent = tokio::time::timeout(PATIENCE, sender.send(vec![Arc::new(event(1, "a"))])).await;
        sent.expect("it answers").expect("it goes on").outcomes.remove(0)
    };
    for (scheme, host, ca, named) in [
        ("https", "localhost", Some(&*other), "certificate"),
        ("https", "localhost", None, "certificate"),
        ("https", "127.0.0.1", Some(&*own), "certificate"),
        ("http", "localhost", None, "http://localhost"),
    ] {
        let outcome = send(scheme, host, ca).await;
        assert!(matches!(&outcome, Outcome::Failed(reason) if reason.contains(named)), "{named}: {outcome:?}");
    }
    assert!(sink.requests().is_empty());
    assert_eq!(send("https", "localhost", Some(&own)).await, Outcome::Accepted);
    // And a sink that does not know TLS.
    let clear = FakeSink::new(|_| ok()).await;
    let config =
        HttpConfig { ca: Some(own), ..HttpConfig::new(&format!("https://localhost:{}/", clear.address.port())) };
    let sender = HttpSender::new(&config).expect("a sender");
    let sent = sender.send(vec![Arc::new(event(1, "a"))]);
    // The server reads what it takes for a head until the client has had enough.
    let sent = tokio::time::timeout(std::time::Duration::from_millis(300), sent).await;
    assert!(sent.is_err() || matches!(sent, Ok(Ok(sent)) if matches!(sent.outcomes[0], Outcome::Failed(_))));
    assert!(clear.requests().is_empty());
}
