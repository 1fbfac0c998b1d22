//! Links and BGP sessions, from the syslog of Cisco IOS-XR routers.
//!
//! Reads `PKT_INFRA-LINK-3-UPDOWN` and `PKT_INFRA-LINK-5-CHANGED` (interfaces) and
//! `ROUTING-BGP-5-ADJCHANGE` (neighbours). What somebody took down on purpose is `admin-down`,
//! which is as it should be; the other end of it still sees `down`. A link that is switched on
//! again says `Down` for a moment before `Up`: give links a hold-down of some seconds.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Change<'a> {
    /// The router that says so.
    device: &'a str,
    /// Which of its interfaces; absent for a session.
    interface: Option<&'a str>,
    /// The address of the other end of a session; absent for an interface.
    neighbor: Option<&'a str>,
    /// The routing table of a session, `default` where there is one only.
    vrf: Option<&'a str>,
    /// `Up`, `Down` or `Administratively Down`.
    state: &'a str,
    /// Why a session went down.
    cause: Option<&'a str>,
}

#[derive(States, Clone, Copy)]
enum Connection {
    #[healthy]
    Up,
    #[problem]
    Down,
    #[healthy]
    AdminDown,
}

fn map(change: Change<'_>) -> Mapped<'_, Connection> {
    let state = match change.state {
        "Up" => Connection::Up,
        // Said by the end that is shut down itself, not by its peer.
        "Down" if change.cause.is_some_and(|cause| cause.starts_with("Admin. shutdown")) => Connection::AdminDown,
        "Down" => Connection::Down,
        "Administratively Down" => Connection::AdminDown,
        _ => return rejected("data.state is neither Up nor Down nor Administratively Down"),
    };
    let observed = match (change.interface, change.neighbor, change.vrf) {
        (Some(interface), _, _) => observe(state, [change.device, interface]),
        (None, Some(neighbor), None | Some("" | "default")) => observe(state, [change.device, neighbor]),
        (None, Some(neighbor), Some(vrf)) => observe(state, [change.device, vrf, neighbor]),
        (None, None, _) => return rejected("neither data.interface nor data.neighbor"),
    };
    match state {
        Connection::Down => observed.severity(Severity::Error),
        Connection::Up | Connection::AdminDown => observed,
    }
}

fn cases() -> Vec<Case> {
    let link = |state| [("data.device", "edge-1"), ("data.interface", "HundredGigE0/0/0/4"), ("data.state", state)];
    let session = |vrf, state, cause| {
        [
            ("data.device", "edge-1"),
            ("data.neighbor", "192.0.2.9"),
            ("data.vrf", vrf),
            ("data.state", state),
            ("data.cause", cause),
        ]
    };
    let (port, peer) = ("edge-1/HundredGigE0/0/0/4", "edge-1/192.0.2.9");
    vec![
        case("a link comes up", &link("Up")).observes("up", port),
        case("a link goes down", &link("Down")).observes("down", port).severity(Severity::Error),
        case("a link is switched off", &link("Administratively Down")).observes("admin-down", port),
        case("a state that is none", &link("Sideways"))
            .rejects("data.state is neither Up nor Down nor Administratively Down"),
        case("a session comes up", &session("default", "Up", "")).observes("up", peer),
        case("a session goes down", &session("default", "Down", "BGP Notification sent, hold time expired"))
            .observes("down", peer)
            .severity(Severity::Error),
        case(
            "a session is reset on purpose: it is down until it is back",
            &session("", "Down", "User clear requested"),
        )
        .observes("down", peer)
        .severity(Severity::Error),
        case("a session is shut here", &session("default", "Down", "Admin. shutdown (CEASE notification sent)"))
            .observes("admin-down", peer),
        case(
            "a session is shut at the other end",
            &session("default", "Down", "BGP Notification received, administrative shutdown"),
        )
        .observes("down", peer)
        .severity(Severity::Error),
        case("a session of another routing table", &session("blue", "Up", "")).observes("up", "edge-1/blue/192.0.2.9"),
        case("neither a link nor a session", &[("data.device", "edge-1"), ("data.state", "Up")])
            .rejects("neither data.interface nor data.neighbor"),
        case("no device", &[("data.interface", "MgmtEth0/RP1/CPU0/0"), ("data.state", "Up")])
            .rejects("missing data.device"),
        case("no state", &[("data.device", "edge-1"), ("data.interface", "MgmtEth0/RP1/CPU0/0")])
            .rejects("missing data.state"),
    ]
}

mapper! {
    name: "router-syslog",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Connection,
    map: map,
    cases: cases,
}
