//! Pods that are ready and pods that are not, from the kubelet's own log.
//!
//! The kubelet writes a line for every change of a probe's result: `SyncLoop (probe)` with the
//! probe and its status, where the empty status is the failing one. A pod that is deleted says no
//! more: its spell ends with `SyncLoop REMOVE`. `SyncLoop DELETE` is only the wish; the pod still
//! runs. A static pod (one from a file; its mirror at the API server is named after its node)
//! shows both for its mirror while it runs on, so neither ends anything.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Line<'a> {
    /// Namespace and name, as the kubelet writes them: `shop/cart-1`.
    pod: &'a str,
    /// The node that wrote the line, with or without its domain.
    node: Option<&'a str>,
    /// Which probe changed its result; absent in a line about the pod itself.
    probe: Option<&'a str>,
    /// The new result of the probe.
    status: Option<&'a str>,
    /// What happens to the pod: `ADD`, `UPDATE`, `DELETE`, `REMOVE`, ...
    #[field("data.loop")]
    action: Option<&'a str>,
    /// Who wants it: `api` or `file`.
    source: Option<&'a str>,
}

#[derive(States, Clone, Copy)]
enum Readiness {
    #[healthy]
    Ready,
    #[problem]
    NotReady,
    #[gone]
    Removed,
}

fn map(line: Line<'_>) -> Mapped<'_, Readiness> {
    match (line.probe, line.action) {
        (Some("readiness"), _) => match line.status {
            Some("ready") => observe(Readiness::Ready, line.pod),
            Some("" | "not ready" | "unready") => observe(Readiness::NotReady, line.pod),
            Some(_) => rejected("data.status is neither ready nor empty"),
            None => rejected("missing data.status"),
        },
        (Some(_), _) => dropped("a probe that says nothing about readiness"),
        (None, Some("REMOVE")) if is_static(&line) => dropped("the mirror of a static pod"),
        (None, Some("REMOVE")) => observe(Readiness::Removed, line.pod),
        (None, Some("DELETE")) => dropped("asked to go, still running"),
        (None, Some(_)) => dropped("a change of the pod that is no removal"),
        (None, None) => rejected("neither data.probe nor data.loop"),
    }
}

/// Whether the pod comes from a file, or its name ends in its node's name, which may have lost its
/// domain in the log.
fn is_static(line: &Line<'_>) -> bool {
    let named_after = |node: &str| {
        line.pod.rfind(node).is_some_and(|at| {
            let (before, after) = (&line.pod[..at], &line.pod[at + node.len()..]);
            before.ends_with('-') && (after.is_empty() || after.starts_with('.'))
        })
    };
    line.source == Some("file") || line.node.is_some_and(|node| !node.is_empty() && named_after(node))
}

fn cases() -> Vec<Case> {
    let probe = |probe, status| [("data.pod", "shop/cart-1"), ("data.probe", probe), ("data.status", status)];
    let action =
        |action| [("data.pod", "shop/cart-1"), ("data.node", "alder"), ("data.loop", action), ("data.source", "api")];
    let removed =
        |pod, source| [("data.pod", pod), ("data.node", "alder"), ("data.loop", "REMOVE"), ("data.source", source)];
    let mirror = "the mirror of a static pod";
    vec![
        case("a pod becomes ready", &probe("readiness", "ready")).observes("ready", "shop/cart-1"),
        case("a pod is no longer ready", &probe("readiness", "")).observes("not-ready", "shop/cart-1"),
        case("a newer kubelet spells it out", &probe("readiness", "not ready")).observes("not-ready", "shop/cart-1"),
        case("a status that is none", &probe("readiness", "maybe")).rejects("data.status is neither ready nor empty"),
        case("no status", &[("data.pod", "shop/cart-1"), ("data.probe", "readiness")]).rejects("missing data.status"),
        case("a liveness probe", &probe("liveness", "unhealthy")).drops("a probe that says nothing about readiness"),
        case("a startup probe", &probe("startup", "started")).drops("a probe that says nothing about readiness"),
        case("a pod is asked to go", &action("DELETE")).drops("asked to go, still running"),
        case("a pod is gone", &action("REMOVE")).observes("removed", "shop/cart-1"),
        case("a pod comes", &action("ADD")).drops("a change of the pod that is no removal"),
        case("a static pod's mirror", &removed("core/registry-alder", "api")).drops(mirror),
        case("a static pod's mirror, with the domain", &removed("core/registry-alder.example.org", "api"))
            .drops(mirror),
        case("a static pod's file", &removed("core/registry", "file")).drops(mirror),
        case("a pod whose name only begins as the node's", &removed("shop/cart-alderman", "api"))
            .observes("removed", "shop/cart-alderman"),
        case("a line that says nothing", &[("data.pod", "shop/cart-1")]).rejects("neither data.probe nor data.loop"),
        case("no pod", &[("data.probe", "readiness"), ("data.status", "")]).rejects("missing data.pod"),
    ]
}

mapper! {
    name: "kubelet-readiness",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Readiness,
    map: map,
    cases: cases,
}
