//! An ensemble of ZooKeeper servers, from their logs: who serves, and trouble between the peers.
//!
//! - What a server says of itself: `ensemble/server` is `leading`, `following`, `observing`, or
//!   `looking` for a leader, when it serves nobody. A server whose election goes on
//!   (`Notification time out`) is still looking.
//! - What it says of its connections to the others: `ensemble/peers` has `peer-trouble`. Each end of
//!   a broken connection writes up to four lines and none when it is whole again: bind these to a
//!   window, or to `mode = "occurrence"` with `dedupe`.
//!
//! Setting `ensemble` (default `zookeeper`) names it.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Line<'a> {
    /// The number of the server that writes (`myid`).
    server: Option<&'a str>,
    /// What it writes.
    message: &'a str,
}

#[derive(States, Clone, Copy)]
enum Quorum {
    #[healthy]
    Leading,
    #[healthy]
    Following,
    #[healthy]
    Observing,
    #[problem]
    Looking,
    #[problem]
    PeerTrouble,
}

/// The first part of the record key.
pub struct Ensemble(String);

impl Settings for Ensemble {
    fn read(settings: &[(String, String)]) -> Result<Self, String> {
        let mut ensemble = "zookeeper".to_owned();
        for (name, value) in settings {
            match name.as_str() {
                "ensemble" if value.is_empty() => {
                    return Err("setting `ensemble`: expected a name, got nothing".to_owned());
                }
                "ensemble" => ensemble.clone_from(value),
                _ => return Err(format!("unknown setting `{name}`: this rule has `ensemble`")),
            }
        }
        Ok(Ensemble(ensemble))
    }
}

/// How each line about a broken connection between two peers begins.
const PEER_TROUBLE: [&str; 5] = [
    "Cannot open channel to ",
    "Connection broken for id ",
    "Interrupted while waiting for message on queue",
    "Interrupting SendWorker",
    "Send worker leaving thread",
];

fn map<'a>(line: Line<'a>, ensemble: &Ensemble) -> Mapped<'a, Quorum> {
    if PEER_TROUBLE.iter().any(|start| line.message.starts_with(start)) {
        return observe(Quorum::PeerTrouble, format!("{}/peers", ensemble.0));
    }
    let state = match line.message.split([' ', ':']).next() {
        Some("LEADING") => Quorum::Leading,
        Some("FOLLOWING") => Quorum::Following,
        Some("OBSERVING") => Quorum::Observing,
        Some("LOOKING") => Quorum::Looking,
        _ if line.message.starts_with("Notification time out") => Quorum::Looking,
        _ if line.message.starts_with("New election") => Quorum::Looking,
        _ => return dropped("says nothing about the quorum"),
    };
    let Some(server) = line.server.filter(|server| !server.is_empty()) else {
        return rejected("a state of a server without data.server");
    };
    let observed = observe(state, format!("{}/{server}", ensemble.0));
    match state {
        Quorum::Looking => observed.severity(Severity::Error),
        _ => observed,
    }
}

fn cases() -> Vec<Case> {
    let of = |message| [("data.server", "2"), ("data.message", message)];
    let says = |message: &'static str| case(message, &of(message));
    let looking = |message| says(message).observes("looking", "zookeeper/2").severity(Severity::Error);
    let trouble = |message| says(message).observes("peer-trouble", "zookeeper/peers");
    let nothing = "says nothing about the quorum";
    vec![
        says("LEADING").observes("leading", "zookeeper/2"),
        says("LEADING - LEADER ELECTION TOOK - 25 MS").observes("leading", "zookeeper/2"),
        says("FOLLOWING").observes("following", "zookeeper/2"),
        says("FOLLOWING - LEADER ELECTION TOOK - 238").observes("following", "zookeeper/2"),
        says("OBSERVING").observes("observing", "zookeeper/2"),
        looking("LOOKING"),
        looking("New election. My id =  2, proposed zxid=0x700000000"),
        looking("Notification time out: 6400"),
        trouble("Cannot open channel to 3 at election address /192.0.2.13:3888"),
        trouble("Connection broken for id 3, my id = 2, error = "),
        trouble("Interrupted while waiting for message on queue"),
        trouble("Interrupting SendWorker"),
        trouble("Send worker leaving thread"),
        // What the senders think of themselves; they say so in their own logs.
        says("Notification: 3 (n.leader), LOOKING (n.state), 1 (n.sid), FOLLOWING (my state)").drops(nothing),
        says("Snapshotting: 0x700000000 to /var/lib/zookeeper/version-2/snapshot.700000000").drops(nothing),
        says("FOLLOWINGS").drops(nothing),
        case("nobody knows who looks", &[("data.message", "LOOKING")])
            .rejects("a state of a server without data.server"),
        case("no message", &[("data.server", "2")]).rejects("missing data.message"),
    ]
}

mapper! {
    name: "zookeeper",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Quorum,
    settings: Ensemble,
    map: map,
    cases: cases,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ensemble_can_be_named() {
        let read = |name: &str, value: &str| Ensemble::read(&[(name.into(), value.into())]);
        assert_eq!(read("ensemble", "zk-west").ok().map(|ensemble| ensemble.0).as_deref(), Some("zk-west"));
        assert_eq!(read("ensemble", "").err().as_deref(), Some("setting `ensemble`: expected a name, got nothing"));
        assert_eq!(read("name", "x").err().as_deref(), Some("unknown setting `name`: this rule has `ensemble`"));
    }
}
