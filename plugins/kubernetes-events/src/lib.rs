//! What a Kubernetes cluster says of its objects: events of `v1` and of `events.k8s.io`.
//!
//! Who is meant is named by kind, and by namespace where it has one:
//!
//! - Any `Warning`: `namespace/kind/name` is `failing`; the reason is the fingerprint. Nothing says
//!   when that is over, except `Scheduled` for a pod: give this signal a `clear_after`.
//! - `LeaderElection`: `leader/namespace/name` of the lock is `led`, with the leader as the
//!   fingerprint, or `leaderless`. A lock that is kept both as ConfigMap and as Lease is one.
//! - `NodeReady`, `NodeNotReady`: `Node/name/Ready` is `ready` or `not-ready`.
//! - `OperatorStatusChanged` (OpenShift): `clusteroperator/name/Available` and `.../Degraded` are
//!   `working` or `degraded`. One message can tell of several conditions, and a signal becomes one
//!   observation: a turn for the worse goes before one for the better, `Available` before
//!   `Degraded`. Conditions have keys of their own, so that one that recovers does not hide another
//!   that has not.
//!
//! Setting `ignore`: reasons of warnings that are known to be harmless, separated by commas
//! (default `FastControllerResync`); a list that is given replaces the default.

mod operator;

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Event<'a> {
    reason: Option<&'a str>,
    #[field("data.type")]
    level: Option<&'a str>,
    message: Option<&'a str>,
    /// The message of an `events.k8s.io` event.
    note: Option<&'a str>,
    #[field("data.involvedObject.namespace")]
    namespace: Option<&'a str>,
    #[field("data.involvedObject.kind")]
    kind: Option<&'a str>,
    #[field("data.involvedObject.name")]
    name: Option<&'a str>,
    /// The object of an `events.k8s.io` event.
    #[field("data.regarding.namespace")]
    regarding_namespace: Option<&'a str>,
    #[field("data.regarding.kind")]
    regarding_kind: Option<&'a str>,
    #[field("data.regarding.name")]
    regarding_name: Option<&'a str>,
}

#[derive(States, Clone, Copy)]
enum Condition {
    #[healthy]
    Working,
    #[problem]
    Failing,
    #[healthy]
    Led,
    #[problem]
    Leaderless,
    #[healthy]
    Ready,
    #[problem]
    NotReady,
    #[problem]
    Degraded,
}

/// Reasons of warnings that are left out.
pub struct Ignored(Vec<String>);

impl Settings for Ignored {
    fn read(settings: &[(String, String)]) -> Result<Self, String> {
        let mut reasons = "FastControllerResync";
        for (name, value) in settings {
            match name.as_str() {
                "ignore" => reasons = value,
                _ => return Err(format!("unknown setting `{name}`: this rule has `ignore`")),
            }
        }
        let words = reasons.split(',').map(str::trim).filter(|word| !word.is_empty());
        Ok(Ignored(words.map(str::to_owned).collect()))
    }
}

static BECAME_LEADER: Searcher = Searcher::new(" became leader");
static STOPPED_LEADING: Searcher = Searcher::new(" stopped leading");

fn map<'a>(event: Event<'a>, ignored: &Ignored) -> Mapped<'a, Condition> {
    let Some(reason) = event.reason.filter(|reason| !reason.is_empty()) else {
        return dropped("no reason");
    };
    let message = event.message.or(event.note).unwrap_or_default();
    let object = Object {
        namespace: event.namespace.or(event.regarding_namespace).unwrap_or_default(),
        kind: event.kind.or(event.regarding_kind).unwrap_or_default(),
        name: event.name.or(event.regarding_name).unwrap_or_default(),
    };
    match reason {
        "LeaderElection" => election(object, message),
        "OperatorStatusChanged" => operator::observe_flip(message),
        "NodeReady" | "Ready" => object.observe(Condition::Ready, "Ready"),
        "NodeNotReady" | "NotReady" => object.observe(Condition::NotReady, "Ready").severity(Severity::Error),
        "Scheduled" => object.observe(Condition::Working, ""),
        _ if event.level != Some("Warning") => dropped("not a warning"),
        _ if ignored.0.iter().any(|word| word == reason) => dropped("a warning that the settings ignore"),
        _ => object.observe(Condition::Failing, "").severity(severity_of(reason)).value(canonical(reason)),
    }
}

/// The object that an event is about; what is absent is empty.
struct Object<'a> {
    namespace: &'a str,
    kind: &'a str,
    name: &'a str,
}

impl<'a> Object<'a> {
    /// Observes the object, or the `aspect` of it, under the parts of its name that there are.
    fn observe(self, state: Condition, aspect: &'a str) -> Mapped<'a, Condition> {
        if self.name.is_empty() {
            return rejected("the event names no object");
        }
        let mut parts = [""; 4];
        let mut count = 0;
        for part in [self.namespace, self.kind, self.name, aspect].into_iter().filter(|part| !part.is_empty()) {
            parts[count] = part;
            count += 1;
        }
        match count {
            1 => observe(state, parts[0]),
            2 => observe(state, [parts[0], parts[1]]),
            3 => observe(state, [parts[0], parts[1], parts[2]]),
            _ => observe(state, parts),
        }
    }
}

fn election<'a>(lock: Object<'a>, message: &'a str) -> Mapped<'a, Condition> {
    if lock.name.is_empty() {
        // Old schedulers say so of themselves when they shut down.
        return dropped("an election without the name of its lock");
    }
    let key = [lock.namespace, lock.name];
    let of = |state| match key {
        ["", name] => observe(state, ["leader", name]),
        [namespace, name] => observe(state, ["leader", namespace, name]),
    };
    if let Some((leader, _)) = BECAME_LEADER.split(message) {
        of(Condition::Led).value(leader)
    } else if STOPPED_LEADING.is_in(message) {
        of(Condition::Leaderless).severity(Severity::Error)
    } else {
        dropped("an election that names no leader")
    }
}

/// Two words for one thing would be two problems that take turns.
fn canonical(reason: &str) -> &str {
    match reason {
        "ProbeError" => "Unhealthy",
        other => other,
    }
}

/// What keeps a workload from running is an error; the rest is a warning.
fn severity_of(reason: &str) -> Severity {
    match reason {
        "BackOff"
        | "CrashLoopBackOff"
        | "ErrImagePull"
        | "Evicted"
        | "Failed"
        | "FailedCreate"
        | "FailedCreatePodSandBox"
        | "FailedMount"
        | "FailedAttachVolume"
        | "OOMKilling"
        | "SystemOOM"
        | "Rebooted" => Severity::Error,
        _ => Severity::Warning,
    }
}

mod cases;
use cases::cases;

mapper! {
    name: "kubernetes-events",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Condition,
    settings: Ignored,
    map: map,
    cases: cases,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_to_ignore_can_be_replaced() {
        let read = |value: &str| Ignored::read(&[("ignore".into(), value.into())]).expect("a list").0;
        assert_eq!(read("Unhealthy, BackOff"), ["Unhealthy", "BackOff"]);
        assert!(read("").is_empty());
        let refused = Ignored::read(&[("skip".into(), "x".into())]).err();
        assert_eq!(refused.as_deref(), Some("unknown setting `skip`: this rule has `ignore`"));
    }
}
