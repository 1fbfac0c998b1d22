//! Who leads an etcd cluster, from the logs of its members.
//!
//! Every member says what it sees: `elected leader`, `lost leader`, `changed leader`. All of them
//! speak of one entity, the cluster (setting `cluster`, default `etcd`), so that three members that
//! see one change are one event. A member that starts names the leader it finds, which changes
//! nothing. Members lose sight for some milliseconds at each election: a hold-down of a second
//! leaves those out. The other side: one member that is cut off and says so makes the cluster look
//! leaderless until any member speaks again.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct RaftLine<'a> {
    /// `elected`, `changed` or `lost`.
    event: &'a str,
    /// The leader that is elected, changed to, or lost.
    leader: Option<&'a str>,
}

#[derive(States, Clone, Copy)]
enum Leadership {
    #[healthy]
    Led,
    #[problem]
    Leaderless,
}

/// The record key.
pub struct Cluster(String);

impl Settings for Cluster {
    fn read(settings: &[(String, String)]) -> Result<Self, String> {
        let mut cluster = "etcd".to_owned();
        for (name, value) in settings {
            match name.as_str() {
                "cluster" if value.is_empty() => {
                    return Err("setting `cluster`: expected a name, got nothing".to_owned());
                }
                "cluster" => cluster.clone_from(value),
                _ => return Err(format!("unknown setting `{name}`: this rule has `cluster`")),
            }
        }
        Ok(Cluster(cluster))
    }
}

fn map<'a>(line: RaftLine<'a>, cluster: &Cluster) -> Mapped<'a, Leadership> {
    match (line.event, line.leader) {
        ("elected" | "changed", Some(leader)) if !leader.is_empty() => {
            observe(Leadership::Led, cluster.0.clone()).value(leader)
        }
        ("elected" | "changed", _) => rejected("an election without data.leader"),
        ("lost", _) => observe(Leadership::Leaderless, cluster.0.clone()).severity(Severity::Error),
        _ => dropped("says nothing about the leader"),
    }
}

fn cases() -> Vec<Case> {
    let of = |event| [("data.event", event), ("data.leader", "a1b2c3d4e5f60718")];
    vec![
        case("a leader is elected", &of("elected")).observes("led", "etcd").value("a1b2c3d4e5f60718"),
        case("the leader changes", &of("changed")).observes("led", "etcd").value("a1b2c3d4e5f60718"),
        case("the leader is lost", &of("lost")).observes("leaderless", "etcd").severity(Severity::Error),
        case("an election without a leader", &[("data.event", "elected")]).rejects("an election without data.leader"),
        case("another line of raft", &of("campaigned")).drops("says nothing about the leader"),
        case("no event", &[("data.leader", "a1b2c3d4e5f60718")]).rejects("missing data.event"),
    ]
}

mapper! {
    name: "etcd-leader",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Leadership,
    settings: Cluster,
    map: map,
    cases: cases,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_can_be_named() {
        let read = |name: &str, value: &str| Cluster::read(&[(name.into(), value.into())]);
        assert_eq!(read("cluster", "etcd-west").ok().map(|cluster| cluster.0).as_deref(), Some("etcd-west"));
        assert_eq!(read("cluster", "").err().as_deref(), Some("setting `cluster`: expected a name, got nothing"));
        assert_eq!(read("name", "x").err().as_deref(), Some("unknown setting `name`: this rule has `cluster`"));
    }
}
