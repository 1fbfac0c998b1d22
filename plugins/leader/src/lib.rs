//! Who leads a group: any election that can be told as CloudEvents.
//!
//! The subject is the group; `data.event` says `elected` (or `changed`) or `lost`, `data.leader`
//! who. A new leader differs from the last by its fingerprint; no leader is a problem.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Election<'a> {
    /// The group that is led.
    #[field("subject")]
    group: &'a str,
    /// What happened.
    event: &'a str,
    /// Who leads from now on.
    leader: Option<&'a str>,
}

#[derive(States, Clone, Copy)]
enum Leadership {
    #[healthy]
    Led,
    #[problem]
    Leaderless,
}

fn map(election: Election<'_>) -> Mapped<'_, Leadership> {
    match (election.event, election.leader) {
        ("elected" | "changed", Some(leader)) if !leader.is_empty() => {
            observe(Leadership::Led, election.group).value(leader)
        }
        ("elected" | "changed", _) => rejected("an election without data.leader"),
        ("lost", _) => observe(Leadership::Leaderless, election.group).severity(Severity::Error),
        _ => rejected("data.event is neither elected nor changed nor lost"),
    }
}

fn cases() -> Vec<Case> {
    let of = |event| [("subject", "billing/scheduler"), ("data.event", event), ("data.leader", "worker-2")];
    vec![
        case("a leader is elected", &of("elected")).observes("led", "billing/scheduler").value("worker-2"),
        case("the leader changes", &of("changed")).observes("led", "billing/scheduler").value("worker-2"),
        case("the leader is lost", &of("lost")).observes("leaderless", "billing/scheduler").severity(Severity::Error),
        case("an election without a leader", &[("subject", "billing/scheduler"), ("data.event", "elected")])
            .rejects("an election without data.leader"),
        case("an event that is none", &of("slept")).rejects("data.event is neither elected nor changed nor lost"),
        case("no event", &[("subject", "billing/scheduler")]).rejects("missing data.event"),
        case("no group", &[("data.event", "lost")]).rejects("missing subject"),
    ]
}

mapper! {
    name: "leader",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Leadership,
    map: map,
    cases: cases,
}
