//! Who gets in: roles, bounds, and what is written of those who do not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use jiff::Timestamp;

use crate::access::{Caller, Peer, Role, Unknown, identify};
use crate::audit::{Outcome, Record};
use crate::operation::Operation;
use crate::problem::Problem;
use crate::routes::Shared;

/// How many refused attempts are written one by one in an hour. More are counted, and one record
/// says how many: a flood of them writes 31 records an hour.
const REFUSALS_PER_HOUR: u32 = 30;

/// So many in each window of time.
#[derive(Debug)]
struct Quota {
    window: Duration,
    max: u32,
    since: Option<Timestamp>,
    used: u32,
    beyond: u64,
}

impl Quota {
    fn new(window: Duration, max: u32) -> Self {
        Self { window, max, since: None, used: 0, beyond: 0 }
    }

    /// Takes one, if there is one left. With the first of a window also says how many were beyond
    /// the last.
    fn take(&mut self, now: Timestamp) -> Option<u64> {
        let window = jiff::SignedDuration::try_from(self.window).unwrap_or(jiff::SignedDuration::MAX);
        // A clock that was set back begins a window too: else nothing would be written for long.
        let fresh =
            self.since.is_none_or(|since| !(jiff::SignedDuration::ZERO..window).contains(&now.duration_since(since)));
        if fresh {
            self.since = Some(now);
            self.used = 1;
            return Some(std::mem::take(&mut self.beyond));
        }
        if self.used == self.max {
            self.beyond += 1;
            return None;
        }
        self.used += 1;
        Some(0)
    }
}

/// What is left of the quotas.
#[derive(Debug)]
pub(crate) struct Quotas {
    refusals: Mutex<Quota>,
    /// By caller, of whom there are as many as tokens, and two on the socket.
    changes: Mutex<BTreeMap<String, Quota>>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            refusals: Mutex::new(Quota::new(Duration::from_secs(3600), REFUSALS_PER_HOUR)),
            changes: Mutex::default(),
        }
    }
}

impl Quotas {
    /// Takes one of the changes that `caller` may try in a minute, if there is one left.
    fn may_change(&self, caller: &str, now: Timestamp, per_minute: u32) -> bool {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let quota = changes.entry(caller.to_owned()).or_insert_with(|| Quota::new(Duration::from_secs(60), per_minute));
        quota.take(now).is_some()
    }

    /// How many refusals are not written yet.
    pub fn unwritten(&self) -> u64 {
        std::mem::take(&mut self.refusals.lock().unwrap_or_else(PoisonError::into_inner).beyond)
    }
}

/// Lets a request through to `operation`, or answers it.
pub(crate) async fn guard(
    State((shared, operation)): State<(Arc<Shared>, Operation)>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let response = match admit(&shared, operation, request).await {
        Ok((request, _place)) => {
            // A change has its own times, and is not cut off half-way.
            if operation.is_change() {
                next.run(request).await
            } else {
                tokio::time::timeout(shared.limits.answer_timeout, next.run(request))
                    .await
                    .unwrap_or_else(|_| Problem::busy("the answer took too long").into_response())
            }
        }
        Err(problem) => problem.into_response(),
    };
    shared.metrics.answered(Some(operation), response.status().as_u16());
    response
}

async fn admit(
    shared: &Arc<Shared>,
    operation: Operation,
    request: Request,
) -> Result<(Request, tokio::sync::OwnedSemaphorePermit), Problem> {
    let (mut parts, body) = request.into_parts();
    if let Some(needed) = operation.role() {
        let caller = authorise(shared, operation.name(), needed, &parts).await?;
        let per_minute = shared.limits.changes_per_minute;
        if operation.is_change() && !shared.quotas.may_change(&caller.name, (shared.clock)(), per_minute) {
            let detail = format!("{} has tried {per_minute} changes in this minute", caller.name);
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many changes", detail, "wait a minute");
            return Err(problem.with(header::RETRY_AFTER, "60"));
        }
        parts.extensions.insert(caller);
    }
    let place = shared.in_flight.clone().try_acquire_owned();
    let request = Request::from_parts(parts, body);
    Ok((request, place.map_err(|_| Problem::busy("too many requests at once"))?))
}

/// Says who asks, if they may. A refused attempt is written.
async fn authorise(shared: &Arc<Shared>, what: &str, needed: Role, request: &Parts) -> Result<Caller, Problem> {
    let authorization = request.headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let peer = request.extensions.get::<Peer>().unwrap_or(&Peer::Unix(None));
    let (caller, problem) = match identify(authorization, peer, &shared.tokens, shared.own_uid) {
        Ok(caller) if caller.role >= needed => return Ok(caller),
        Ok(caller) => {
            let problem = forbidden(&caller, needed, what);
            (Some(caller), problem)
        }
        Err(unknown) => (None, unauthorised(unknown)),
    };
    shared.refused_attempt(caller.as_ref(), peer, what, request.uri.path(), &problem.detail).await;
    Err(problem)
}

fn unauthorised(unknown: Unknown) -> Problem {
    let (detail, help) = match unknown {
        Unknown::NoToken => {
            ("no token came", "send `Authorization: Bearer TOKEN`; `stillhouse control token` makes one")
        }
        Unknown::WrongToken => ("the token is not known here", "look at `[[control.token]]` of the configuration"),
    };
    Problem::new(StatusCode::UNAUTHORIZED, "who are you?", detail, help).with(header::WWW_AUTHENTICATE, "Bearer")
}

/// The caller is known, and may not.
pub(crate) fn forbidden(caller: &Caller, needed: Role, what: &str) -> Problem {
    let detail = format!("{} is {}; {what} takes {needed}", caller.name, caller.role);
    Problem::new(StatusCode::FORBIDDEN, "not allowed", detail, "ask somebody who has the role, or for a token with it")
}

impl Shared {
    /// Writes that somebody was not let in, within the quota.
    pub async fn refused_attempt(
        self: &Arc<Self>,
        caller: Option<&Caller>,
        peer: &Peer,
        what: &str,
        path: &str,
        told: &str,
    ) {
        tracing::warn!(who = caller.map(|caller| caller.name.as_str()), from = %peer, what, told, "refused");
        let now = (self.clock)();
        let taken = self.quotas.refusals.lock().unwrap_or_else(PoisonError::into_inner).take(now);
        let Some(beyond) = taken else { return };
        if beyond > 0 {
            self.write(unwritten(now, beyond)).await.ok();
        }
        let record = Record {
            who: caller.map_or("unknown".into(), |caller| caller.name.clone()),
            role: caller.map(|caller| caller.role),
            from: Some(peer.to_string()),
            outcome: Outcome::Refused,
            told: Some(told.to_owned()),
            ..Record::of_host(now, what, "")
        };
        let (signal, kind) = crate::routes::slot_of(path).unzip();
        self.write(Record { signal, kind, ..record }).await.ok();
    }
}

/// Says how many attempts were refused that no record tells of.
pub(crate) fn unwritten(now: Timestamp, beyond: u64) -> Record {
    let why = format!("{beyond} more attempts were refused since; {REFUSALS_PER_HOUR} an hour are written one by one");
    Record::of_host(now, "count refused attempts", &why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_tells_what_was_beyond_it() {
        let mut quota = Quota::new(Duration::from_secs(60), 2);
        let at = |second: i64| Timestamp::from_second(second).expect("in range");
        assert_eq!(quota.take(at(0)), Some(0));
        assert_eq!(quota.take(at(59)), Some(0));
        assert_eq!(quota.take(at(59)), None);
        assert_eq!(quota.take(at(59)), None);
        assert_eq!(quota.take(at(60)), Some(2));
        assert_eq!(quota.take(at(61)), Some(0));
        assert_eq!(quota.take(at(61)), None);
        // A clock that is set back.
        assert_eq!(quota.take(at(1)), Some(1));
    }
}
