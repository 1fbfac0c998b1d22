//! A mapper for tests that looks things up: an entity is a service of the table `nodes`, by the node
//! that a signal names; the rack tells its problems apart.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Report<'a> {
    status: &'a str,
    #[field("table.nodes[data.node].service")]
    service: Option<&'a str>,
    #[field("table.nodes[data.node].rack")]
    rack: Option<&'a str>,
    /// Of another table, by another field.
    #[field("table.owners[subject].team")]
    team: Option<&'a str>,
}

#[derive(States, Clone, Copy)]
enum Status {
    #[healthy]
    Up,
    #[problem]
    Down,
}

fn map(report: Report<'_>) -> Mapped<'_, Status> {
    let Some(service) = report.service else { return rejected("the node is in no service") };
    let key = [service, report.team.unwrap_or("nobody")];
    match report.status {
        "up" => observe(Status::Up, key),
        _ => observe(Status::Down, key).value(report.rack.unwrap_or_default()),
    }
}

fn cases() -> Vec<Case> {
    let service = ("table.nodes[data.node].service", "cart");
    let down = ("data.status", "down");
    vec![
        case("a service", &[("data.status", "up"), service]).observes("up", "cart/nobody"),
        case("a rack", &[down, service, ("table.nodes[data.node].rack", "7"), ("table.owners[subject].team", "a")])
            .observes("down", "cart/a")
            .value("7"),
        case("no service", &[down]).rejects("the node is in no service"),
    ]
}

mapper! {
    name: "enriched",
    version: env!("CARGO_PKG_VERSION"),
    schema: 2,
    states: Status,
    map: map,
    cases: cases,
}
