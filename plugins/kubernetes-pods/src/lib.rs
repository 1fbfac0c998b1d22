//! Pods by their phase, as the API server has them: an event of a watch (`kubectl get pods --watch
//! --output-watch-events -o json`) or the pod itself, as a list of all pods has it.
//!
//! `namespace/name` is `running`, `succeeded`, `pending`, `failed` or `unknown`; the reason of the status, such as
//! `Evicted`, tells two problems apart. A pod whose watch says `DELETED` is `deleted`. Every pod is pending for a
//! moment: give this signal a `hold_down`.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Record<'a> {
    /// What a watch says: `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK`, `ERROR`; a pod by itself has none.
    #[field("data.type")]
    event: Option<&'a str>,
    kind: Option<&'a str>,
    #[field("data.metadata.namespace")]
    namespace: Option<&'a str>,
    #[field("data.metadata.name")]
    name: Option<&'a str>,
    #[field("data.status.phase")]
    phase: Option<&'a str>,
    #[field("data.status.reason")]
    reason: Option<&'a str>,
    #[field("data.object.kind")]
    object_kind: Option<&'a str>,
    #[field("data.object.metadata.namespace")]
    object_namespace: Option<&'a str>,
    #[field("data.object.metadata.name")]
    object_name: Option<&'a str>,
    #[field("data.object.status.phase")]
    object_phase: Option<&'a str>,
    #[field("data.object.status.reason")]
    object_reason: Option<&'a str>,
}

#[derive(States, Clone, Copy)]
enum Phase {
    #[healthy]
    Running,
    #[healthy]
    Succeeded,
    #[problem]
    Pending,
    #[problem]
    Failed,
    #[problem]
    Unknown,
    #[gone]
    Deleted,
}

fn map(record: Record<'_>) -> Mapped<'_, Phase> {
    let (kind, namespace, name, phase, reason) = match record.event {
        Some("ADDED" | "MODIFIED" | "DELETED") => {
            (record.object_kind, record.object_namespace, record.object_name, record.object_phase, record.object_reason)
        }
        Some("BOOKMARK") => return dropped("a bookmark of the watch"),
        Some(_) => return rejected("data.type: expected ADDED, MODIFIED, DELETED or BOOKMARK"),
        None => (record.kind, record.namespace, record.name, record.phase, record.reason),
    };
    if kind != Some("Pod") {
        return rejected("not a pod");
    }
    let (Some(namespace), Some(name)) = (namespace, name) else {
        return rejected("a pod without namespace and name");
    };
    let of = |phase| observe(phase, [namespace, name]);
    if record.event == Some("DELETED") {
        return of(Phase::Deleted);
    }
    match phase {
        Some("Running") => of(Phase::Running),
        Some("Succeeded") => of(Phase::Succeeded),
        Some("Pending") => of(Phase::Pending),
        Some("Failed") => of(Phase::Failed).severity(Severity::Error).value(reason.unwrap_or_default()),
        Some("Unknown") => of(Phase::Unknown).severity(Severity::Error).value(reason.unwrap_or_default()),
        Some(_) => rejected("status.phase: expected Pending, Running, Succeeded, Failed or Unknown"),
        None => rejected("a pod without status.phase"),
    }
}

fn cases() -> Vec<Case> {
    let pod = |phase, reason| {
        [
            ("data.kind", "Pod"),
            ("data.metadata.namespace", "shop"),
            ("data.metadata.name", "cart-1"),
            ("data.status.phase", phase),
            ("data.status.reason", reason),
        ]
    };
    let watched = |event, phase| {
        [
            ("data.type", event),
            ("data.object.kind", "Pod"),
            ("data.object.metadata.namespace", "shop"),
            ("data.object.metadata.name", "cart-1"),
            ("data.object.status.phase", phase),
        ]
    };
    vec![
        case("a pod of a list runs", &pod("Running", "")).observes("running", "shop/cart-1"),
        case("a pod of a list is evicted", &pod("Failed", "Evicted"))
            .observes("failed", "shop/cart-1")
            .value("Evicted")
            .severity(Severity::Error),
        case("its node is lost", &pod("Unknown", "NodeLost"))
            .observes("unknown", "shop/cart-1")
            .value("NodeLost")
            .severity(Severity::Error),
        case("it is done", &pod("Succeeded", "")).observes("succeeded", "shop/cart-1"),
        case("a pod comes", &watched("ADDED", "Pending")).observes("pending", "shop/cart-1"),
        case("it runs", &watched("MODIFIED", "Running")).observes("running", "shop/cart-1"),
        case("it fails", &watched("MODIFIED", "Failed")).observes("failed", "shop/cart-1").severity(Severity::Error),
        case("it goes", &watched("DELETED", "Running")).observes("deleted", "shop/cart-1"),
        case("a bookmark", &watched("BOOKMARK", "")).drops("a bookmark of the watch"),
        case("the watch ends", &watched("ERROR", ""))
            .rejects("data.type: expected ADDED, MODIFIED, DELETED or BOOKMARK"),
        case("a phase that is none", &pod("Dancing", ""))
            .rejects("status.phase: expected Pending, Running, Succeeded, Failed or Unknown"),
        case("no phase", &pod("Running", "")[..3]).rejects("a pod without status.phase"),
        case("no name", &pod("Running", "")[..2]).rejects("a pod without namespace and name"),
        case("what is no pod", &[("data.kind", "Node"), ("data.metadata.name", "alder")]).rejects("not a pod"),
    ]
}

mapper! {
    name: "kubernetes-pods",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Phase,
    map: map,
    cases: cases,
}
