//! TLS, with a certificate that is made for the test.

use std::path::{Path, PathBuf};

use stillhouse_control::access::Role;
use stillhouse_control::client::{Call, ClientError, Target, call};
use stillhouse_control::server::{ServeError, TlsFiles};

use crate::fake::Fake;
use crate::place::{Ask, Place};

fn certificate(folder: &Path, name: &str) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let files = TlsFiles { cert: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
    std::fs::write(&files.cert, made.cert.pem()).expect("written");
    std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("written");
    files
}

fn target(place: &Place, host: &str, ca: Option<PathBuf>) -> Target {
    let url = format!("https://{host}:{}", place.address.port()).parse().expect("a URL");
    Target::Url { url, token: Some(place.token(Role::Viewer)), ca }
}

#[tokio::test]
async fn a_client_that_trusts_the_certificate_is_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, other) = (certificate(folder.path(), "own"), certificate(folder.path(), "other"));
    let place = Place::with(Fake::default(), |config| config.tls = Some(own.clone())).await;
    let status = call(&target(&place, "localhost", Some(own.cert.clone())), Call::get("/v1/status")).await;
    assert!(status.expect("answered").starts_with(b"{\"program\":\"stillhouse"));
    for refused in [
        target(&place, "localhost", Some(other.cert.clone())),
        target(&place, "localhost", None),
        target(&place, "127.0.0.1", Some(own.cert.clone())),
    ] {
        let error = call(&refused, Call::get("/healthz")).await.expect_err("not trusted");
        assert!(matches!(&error, ClientError::Unusable(message) if message.contains("no TLS")), "{error}");
    }
    // In the clear nothing is answered.
    let mut stream = tokio::net::TcpStream::connect(place.address).await.expect("it listens");
    let mut bytes = Vec::new();
    tokio::io::AsyncWriteExt::write_all(&mut stream, &Ask::get("/healthz").bytes()).await.expect("it reads");
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut bytes).await.ok();
    assert!(!bytes.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&bytes));
    // A connection that does not shake hands does not keep the server from stopping.
    let _silent = tokio::net::TcpStream::connect(place.address).await.expect("it listens");
    place.stop().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, other) = (certificate(folder.path(), "own"), certificate(folder.path(), "other"));
    let none = folder.path().join("none.pem");
    for (cert, key, named, message) in [
        (&none, &own.key, "none.pem", "certificates in PEM"),
        (&own.key, &own.key, "own.key", "expected a certificate in PEM; there is none"),
        (&own.cert, &own.cert, "own.pem", "private key in PEM"),
        (&own.cert, &other.key, "own.pem", "cannot be used"),
    ] {
        let files = TlsFiles { cert: cert.clone(), key: key.clone() };
        let error = crate::listening::bind(|config| config.tls = Some(files)).await.err().expect("refused");
        assert!(matches!(error, ServeError::Tls { .. }));
        let told = error.to_string();
        assert!(told.contains(&format!("{named}: ")) && told.contains(message), "{told}");
    }
}
