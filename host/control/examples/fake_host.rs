//! The control API with a host that only remembers what it is told: to try the API, and to let tools
//! such as schemathesis loose on it.
//!
//! `cargo run --release -p stillhouse-control --example fake_host -- 127.0.0.1:9444 audit.jsonl`
//! prints a token for each role.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/fake.rs"]
mod fake;

use std::path::Path;
use std::sync::Arc;

use stillhouse_control::access::{Role, Secret, Token};
use stillhouse_control::audit::Audit;
use stillhouse_control::server::{Limits, Server, ServerConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(audit)) = (arguments.next(), arguments.next()) else {
        return Err("expected an address and the path of an audit file".into());
    };
    let mut tokens = Vec::new();
    for role in Role::ALL {
        let secret = Secret::generate()?;
        println!("{role} {}", secret.reveal());
        tokens.push(Token::new(role.name(), role, &secret.hash())?);
    }
    let config = ServerConfig {
        socket: arguments.next().map(Into::into),
        listen: Some(address.parse()?),
        tls: None,
        insecure: false,
        tokens,
        limits: Limits { changes_per_minute: u32::MAX, ..Limits::default() },
        clock: Arc::new(jiff::Timestamp::now),
    };
    let (audit, _) = Audit::open(Path::new(&audit), jiff::Timestamp::now())?;
    let server = Server::bind(config, Arc::new(fake::Fake::default()), Arc::new(audit)).await?;
    println!("address {}", server.address().expect("it listens"));
    server.run(async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}
