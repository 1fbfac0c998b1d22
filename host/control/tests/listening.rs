//! Where the server listens, and where not.

use std::sync::Arc;

use stillhouse_control::audit::Audit;
use stillhouse_control::server::{Limits, ServeError, Server, ServerConfig};

use crate::fake::Fake;

/// Tries to listen on a free port, or where `change` says.
pub async fn bind(change: impl FnOnce(&mut ServerConfig)) -> Result<Server, ServeError> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = ServerConfig {
        socket: None,
        listen: Some(([127, 0, 0, 1], 0).into()),
        tls: None,
        insecure: false,
        tokens: Vec::new(),
        limits: Limits::default(),
        clock: Arc::new(|| jiff::Timestamp::UNIX_EPOCH),
    };
    change(&mut config);
    let (audit, _) = Audit::open(&folder.path().join("audit"), jiff::Timestamp::UNIX_EPOCH).expect("a new file");
    Server::bind(config, Arc::new(Fake::default()), Arc::new(audit)).await
}

#[tokio::test]
async fn tokens_go_in_the_clear_only_where_it_is_said() {
    let at = |address: [u8; 4], insecure| {
        bind(move |config| (config.listen, config.insecure) = (Some((address, 0).into()), insecure))
    };
    assert!(at([127, 0, 0, 1], false).await.is_ok());
    let refused = at([0, 0, 0, 0], false).await.err().expect("refused").to_string();
    assert!(refused.contains("0.0.0.0:0 can be reached by others") && refused.contains("insecure = true"), "{refused}");
    assert!(at([0, 0, 0, 0], true).await.is_ok());
}

#[tokio::test]
async fn somewhere_it_must_listen() {
    let error = bind(|config| config.listen = None).await.err().expect("refused");
    assert!(matches!(error, ServeError::Nowhere));
    let first = bind(|_| {}).await.expect("free");
    let address = first.address().expect("an address");
    let told = bind(|config| config.listen = Some(address)).await.err().expect("in use").to_string();
    assert!(told.starts_with(&format!("{address}: cannot listen: ")), "{told}");
}
