//! The cases of this rule.

use stillhouse_sdk::prelude::*;

const REASON: &str = "data.reason";
const LEVEL: &str = "data.type";
const MESSAGE: &str = "data.message";
const NAMESPACE: &str = "data.involvedObject.namespace";
const KIND: &str = "data.involvedObject.kind";
const NAME: &str = "data.involvedObject.name";

pub(crate) fn cases() -> Vec<Case> {
    [warnings(), elections(), nodes(), operators(), others()].concat()
}

fn warnings() -> Vec<Case> {
    let pod = |level, reason| [(LEVEL, level), (REASON, reason), (NAMESPACE, "shop"), (KIND, "Pod"), (NAME, "cart-1")];
    vec![
        case("a probe fails", &pod("Warning", "Unhealthy")).observes("failing", "shop/Pod/cart-1").value("Unhealthy"),
        case("the same by another name", &pod("Warning", "ProbeError"))
            .observes("failing", "shop/Pod/cart-1")
            .value("Unhealthy"),
        case("a container cannot start", &pod("Warning", "BackOff"))
            .observes("failing", "shop/Pod/cart-1")
            .value("BackOff")
            .severity(Severity::Error),
        case("no node for the pod", &pod("Warning", "FailedScheduling"))
            .observes("failing", "shop/Pod/cart-1")
            .value("FailedScheduling"),
        case("a node for the pod", &pod("Normal", "Scheduled")).observes("working", "shop/Pod/cart-1"),
        case("a harmless warning", &pod("Warning", "FastControllerResync")).drops("a warning that the settings ignore"),
        case("all in order", &pod("Normal", "Pulled")).drops("not a warning"),
        case(
            "an event of events.k8s.io",
            &[
                (LEVEL, "Warning"),
                (REASON, "FailedMount"),
                ("data.note", "no such volume"),
                ("data.regarding.namespace", "shop"),
                ("data.regarding.kind", "Pod"),
                ("data.regarding.name", "cart-1"),
            ],
        )
        .observes("failing", "shop/Pod/cart-1")
        .value("FailedMount")
        .severity(Severity::Error),
        case(
            "an object without a namespace",
            &[(LEVEL, "Warning"), (REASON, "Lost"), (KIND, "Volume"), (NAME, "pv-3")],
        )
        .observes("failing", "Volume/pv-3")
        .value("Lost"),
        case("an object with a name only", &[(LEVEL, "Warning"), (REASON, "Lost"), (NAME, "pv-3")])
            .observes("failing", "pv-3")
            .value("Lost"),
        case("no object", &[(LEVEL, "Warning"), (REASON, "Lost"), (NAMESPACE, "shop")])
            .rejects("the event names no object"),
    ]
}

fn elections() -> Vec<Case> {
    let lock = |message| {
        [
            (REASON, "LeaderElection"),
            (LEVEL, "Normal"),
            (MESSAGE, message),
            (NAMESPACE, "billing"),
            (KIND, "Lease"),
            (NAME, "invoicer"),
        ]
    };
    vec![
        case("a leader is elected", &lock("worker-2_77aa became leader"))
            .observes("led", "leader/billing/invoicer")
            .value("worker-2_77aa"),
        case("a leader steps down", &lock("worker-2_77aa stopped leading"))
            .observes("leaderless", "leader/billing/invoicer")
            .severity(Severity::Error),
        case("an election without a result", &lock("worker-2_77aa is campaigning"))
            .drops("an election that names no leader"),
        case(
            "a lock without a namespace",
            &[(REASON, "LeaderElection"), (MESSAGE, "w-1 became leader"), (NAME, "main")],
        )
        .observes("led", "leader/main")
        .value("w-1"),
        case("a lock without a name", &[(REASON, "LeaderElection"), (MESSAGE, "w-1 stopped leading")])
            .drops("an election without the name of its lock"),
    ]
}

fn nodes() -> Vec<Case> {
    let node = |reason| [(REASON, reason), (LEVEL, "Normal"), (KIND, "Node"), (NAME, "alder")];
    vec![
        case("a node is ready", &node("NodeReady")).observes("ready", "Node/alder/Ready"),
        case("a node is not ready", &node("NodeNotReady"))
            .observes("not-ready", "Node/alder/Ready")
            .severity(Severity::Error),
        case(
            "another object is ready",
            &[(REASON, "Ready"), (NAMESPACE, "shop"), (KIND, "Certificate"), (NAME, "tls")],
        )
        .observes("ready", "shop/Certificate/tls/Ready"),
    ]
}

/// A case of an operator's message.
fn said(name: &str, message: &str) -> Case {
    case(name, &[(REASON, "OperatorStatusChanged"), (LEVEL, "Normal"), (MESSAGE, message)])
}

fn oven(name: &str, list: &str) -> Case {
    said(name, &format!("Status for clusteroperator/oven changed: {list}"))
}

fn operators() -> Vec<Case> {
    let (available, degraded) = ("clusteroperator/oven/Available", "clusteroperator/oven/Degraded");
    let none = "no flip of Available or Degraded";
    vec![
        oven("degraded", r#"Degraded changed from False to True ("too hot")"#).observes("degraded", degraded),
        oven("no longer degraded", r#"Degraded changed from True to False ("")"#).observes("working", degraded),
        oven("the first word on it", r#"Degraded set to False ("fine"),Available set to Unknown ("")"#)
            .observes("working", degraded),
        oven(
            "not available goes before not degraded",
            r#"Degraded changed from Unknown to False (""),Available changed from True to False ("no gas")"#,
        )
        .observes("degraded", available)
        .severity(Severity::Error),
        oven("available", r#"Available changed from False to True ("")"#).observes("working", available),
        oven("a text that quotes a flip", r#"Degraded message changed from "Degraded set to True (x)" to "fine""#)
            .drops(none),
        oven("another condition", r#"Progressing changed from True to False ("")"#).drops(none),
        oven("nobody knows", r#"Available changed from True to Unknown ("")"#).drops(none),
        said("a message of another form", "all is well").drops("a status of no cluster operator"),
    ]
}

fn others() -> Vec<Case> {
    vec![case("no reason", &[(MESSAGE, "the bakery is open"), (NAMESPACE, "shop")]).drops("no reason")]
}
