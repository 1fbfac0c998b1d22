//! The Unix socket: who is known there, and what becomes of one that was left behind.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use stillhouse_control::access::Role;
use stillhouse_control::server::ServeError;
use tokio::net::UnixStream;

use crate::fake::Fake;
use crate::listening::bind;
use crate::place::{Ask, Place};

#[tokio::test]
async fn the_own_user_is_admin_without_a_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control.sock");
    let place = Place::with(Fake::default(), |config| {
        (config.socket, config.listen) = (Some(path.clone()), None);
    })
    .await;
    let made = std::fs::metadata(&path).expect("it is there");
    assert_eq!(made.permissions().mode() & 0o777, 0o600);
    let send = async |ask: Ask| ask.over(UnixStream::connect(&path).await.expect("it listens")).await;
    assert_eq!(send(Ask::get("/v1/audit")).await.status, 200);
    // A token that comes counts instead, and a wrong one is not made good.
    assert_eq!(send(Ask::get("/v1/audit").token(&place.token(Role::Viewer))).await.status, 403);
    assert_eq!(send(Ask::get("/v1/audit").token("stillhouse_00")).await.status, 401);
    let hold = Ask::order("/v1/slots/net.link/mapper/hold", &serde_json::json!({ "why": "a test" }));
    assert_eq!(send(hold).await.status, 200);
    let who = format!("uid {}", made.uid());
    assert_eq!(place.fake.changes()[0].by, who);
    assert_eq!(place.records().last().map(|entry| entry.record.who.clone()), Some(who));
    place.stop().await;
    assert!(!path.exists(), "the socket goes with the server");
}

#[tokio::test]
async fn a_socket_is_replaced_only_if_nobody_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control.sock");
    let at = || bind(|config| (config.socket, config.listen) = (Some(path.clone()), None));
    // A crash leaves the file.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("free"));
    assert!(path.exists());
    let first = at().await.expect("nobody answers");
    assert!(matches!(at().await, Err(ServeError::SocketInUse(_))));
    assert!(path.exists());
    drop(first);
    assert!(!path.exists());
    std::fs::write(&path, "something of value").expect("written");
    assert!(matches!(at().await, Err(ServeError::NoSocket(_))));
    assert_eq!(std::fs::read_to_string(&path).expect("as it was"), "something of value");
    std::fs::remove_file(&path).expect("removed");
    std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).expect("linked");
    assert!(matches!(at().await, Err(ServeError::NoSocket(_))));
}

#[tokio::test]
async fn a_socket_of_another_host_is_not_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control.sock");
    let first = bind(|config| (config.socket, config.listen) = (Some(path.clone()), None)).await.expect("free");
    std::fs::remove_file(&path).expect("removed");
    let _second = std::os::unix::net::UnixListener::bind(&path).expect("free");
    drop(first);
    assert!(path.exists());
}
