//! The host as the control API sees it: the board is read, and what is wanted goes to the driver.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use stillhouse_control::audit::{Audit, Outcome, Record};
use stillhouse_control::host::{Action, Change, Changing, Done, Host, Refused};
use stillhouse_control::slots::{
    Candidate, Counts, Difference, Evidence, Kind, Past, Refusal, Slot, Stage, Status, Version,
};
use stillhouse_rollout as rollout;
use stillhouse_rollout::{At, Command, Decision, Policy, SlotId, SlotKind, What};
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use crate::input::Piece;
use crate::metric;
use crate::rollouts::{Ask, Board, Reply, Told, words};

/// Steers a run.
pub struct Steer {
    board: Arc<Board>,
    policies: BTreeMap<SlotId, Policy>,
    to: Sender<Piece>,
}

impl Steer {
    /// Steers the run whose board this is and which takes pieces from `to`.
    pub fn new(board: Arc<Board>, policies: BTreeMap<SlotId, Policy>, to: Sender<Piece>) -> Self {
        Self { board, policies, to }
    }

    fn policy(&self, slot: &SlotId) -> Policy {
        self.policies.get(slot).cloned().unwrap_or_default()
    }

    fn slot(&self, signal: &str, kind: Kind) -> Option<(SlotId, rollout::Slot)> {
        let id = SlotId { signal: signal.to_owned(), kind: slot_kind(kind) };
        let slot = self.board.slots().remove(&id)?;
        Some((id, slot))
    }

    async fn carry_out(&self, change: Change) -> Result<Done, Refused> {
        let Change { signal, kind, action, candidate, by, why } = change;
        let Some((slot, known)) = self.slot(&signal, kind) else {
            let known: Vec<String> = self.board.slots().keys().map(|slot| format!("`{slot}`")).collect();
            return Err(Refused::NoSuchSlot(format!(
                "there is no slot `{signal}/{kind}`; there is {}",
                known.join(", ")
            )));
        };
        let tried = known.trial.as_ref().map(|trial| &trial.version);
        if let Some(meant) = &candidate {
            match tried {
                Some(tried) if tried.digest.starts_with(meant) => {}
                Some(tried) => {
                    let tried = version(tried);
                    return Err(Refused::NotNow(format!("the candidate is {tried}, and {meant} was meant")));
                }
                None => return Err(Refused::NoCandidate(format!("`{slot}` has no candidate, and {meant} was meant"))),
            }
        }
        if tried.is_none() && matches!(action, Action::Advance | Action::Hold | Action::Promote { .. }) {
            return Err(Refused::NoCandidate(format!("`{slot}` has no candidate: stage one")));
        }
        let (told, answer) = oneshot::channel();
        let reply = Reply(Some(Box::new(move |result| drop(told.send(result)))));
        let staged = matches!(action, Action::Stage { .. });
        let command = match action {
            Action::Stage { file, signature } => {
                let ask = Ask::Stage { slot: slot.clone(), bytes: file.into(), signature, by, why, reply };
                return self.ask(ask, answer, &slot, staged).await;
            }
            Action::Advance => Command::Advance,
            Action::Hold => Command::Hold,
            Action::Promote { force } => Command::Promote { force },
            Action::Rollback { retroactive } => Command::Rollback { retroactive },
        };
        let ask = Ask::Command { slot: slot.clone(), command, by, why, reply };
        self.ask(ask, answer, &slot, staged).await
    }

    async fn ask(
        &self,
        ask: Ask,
        answer: oneshot::Receiver<Result<String, String>>,
        slot: &SlotId,
        staged: bool,
    ) -> Result<Done, Refused> {
        let stopped = || Refused::Failed("the host is stopping".into());
        self.to.send(Piece::Rules(Box::new(ask))).await.map_err(|_| stopped())?;
        match answer.await.map_err(|_| stopped())? {
            Ok(told) => {
                let known = self.board.slots().remove(slot);
                let concerned = known.as_ref().and_then(|slot| {
                    slot.trial.as_ref().map(|trial| &trial.version).or(slot.stable.as_ref()).map(version)
                });
                let position = self.board.at().map_or(0, |at| at.position);
                Ok(Done { position, version: concerned, told })
            }
            Err(why) if staged => Err(Refused::Bad(why)),
            Err(why) => Err(Refused::NotNow(why)),
        }
    }
}

impl Host for Steer {
    fn status(&self) -> Status {
        let at = self.board.at();
        let slots = self.board.slots();
        Status {
            program: format!("stillhouse {}", env!("CARGO_PKG_VERSION")),
            position: self.board.position(),
            event_time: at.and_then(|at| time(at.time_us)),
            slots: slots.iter().filter_map(|(id, slot)| shown(id, slot, &self.policy(id))).collect(),
        }
    }

    fn differences(&self, signal: &str, kind: Kind) -> Option<Vec<Difference>> {
        let (id, _) = self.slot(signal, kind)?;
        let of = |differs: crate::rollouts::Differs| Difference {
            kind: differs.difference.name().to_owned(),
            position: differs.position,
            time: time(differs.time_us),
            key: differs.key,
            signal: differs.signal,
            old: differs.old,
            new: differs.new,
        };
        Some(self.board.differs(&id).into_iter().map(of).collect())
    }

    fn history(&self, signal: &str, kind: Kind) -> Option<Vec<Past>> {
        let (_, slot) = self.slot(signal, kind)?;
        let of = |record: &rollout::Record| Past {
            position: record.at.position,
            time: time(record.at.time_us),
            what: what(record.what),
            version: record.version.as_ref().map(version),
            by: record.by.clone().unwrap_or_else(|| "stillhouse".into()),
            why: record.why.clone(),
        };
        Some(slot.history.iter().map(of).collect())
    }

    fn change(&self, change: Change) -> Changing<'_> {
        Box::pin(self.carry_out(change))
    }

    fn metrics(&self) -> String {
        metrics(&self.board) + &self.board.measured()
    }
}

fn slot_kind(kind: Kind) -> SlotKind {
    match kind {
        Kind::Mapper => SlotKind::Mapper,
        Kind::Suppressor => SlotKind::Suppressor,
    }
}

fn kind_of(slot: &SlotId) -> Kind {
    match slot.kind {
        SlotKind::Mapper => Kind::Mapper,
        SlotKind::Suppressor => Kind::Suppressor,
    }
}

fn version(version: &rollout::Version) -> Version {
    let rollout::Version { name, version, digest } = version.clone();
    Version { name, version, digest }
}

/// Event time as RFC 3339; none where there is none.
fn time(time_us: i64) -> Option<String> {
    (time_us != i64::MIN).then(|| Timestamp::from_microsecond(time_us).ok()).flatten().map(|time| time.to_string())
}

fn percent(share_ppm: u32) -> f64 {
    f64::from(share_ppm) / 10_000.0
}

fn shown(id: &SlotId, slot: &rollout::Slot, policy: &Policy) -> Option<Slot> {
    let refusal = |refusal: &rollout::Refusal| Refusal {
        version: refusal.version.as_ref().map(version),
        stage: format!("{:?}", refusal.stage).to_lowercase(),
        why: refusal.why.clone(),
        position: refusal.at.position,
    };
    Some(Slot {
        signal: id.signal.clone(),
        kind: kind_of(id),
        stable: slot.stable.as_ref().map(version)?,
        last_good: slot.last_good.as_ref().map(version),
        candidate: slot.trial.as_ref().map(|trial| candidate(trial, policy)),
        last_refusal: slot.refusals.back().map(refusal),
    })
}

fn candidate(trial: &rollout::Trial, policy: &Policy) -> Candidate {
    let in_shadow = trial.stage == rollout::Stage::Shadow;
    let least = if in_shadow { policy.shadow.unwrap_or(policy.step) } else { policy.step };
    Candidate {
        version: version(&trial.version),
        stage: if in_shadow { Stage::Shadow } else { Stage::Canary },
        share_percent: percent(trial.share_ppm),
        steps: policy.steps_ppm.iter().copied().map(percent).collect(),
        held: trial.held.as_ref().map(|held| held.why.clone()),
        since_position: trial.since.position,
        since: time(trial.since.time_us),
        samples: trial.evidence.rows,
        samples_needed: least.samples,
        evidence: evidence(&trial.total),
    }
}

fn evidence(seen: &rollout::Evidence) -> Evidence {
    let counts = |counts: &rollout::Counts| Counts {
        rows: counts.rows,
        failed: counts.failed,
        rejected: counts.rejected,
        dropped: counts.dropped,
        held_back: counts.held_back,
        fuel_per_row: counts.fuel as f64 / counts.rows.max(1) as f64,
        ns_per_row: counts.time_ns as f64 / counts.rows.max(1) as f64,
    };
    let differing = rollout::Difference::ALL.into_iter().map(|kind| (kind.name().to_owned(), seen.differing(kind)));
    Evidence {
        rows: seen.rows,
        in_share: seen.in_share,
        differing: differing.filter(|(_, count)| *count > 0).collect(),
        stable: counts(&seen.stable),
        candidate: counts(&seen.candidate),
    }
}

fn what(what: What) -> String {
    match what {
        What::Known => "in force at the start".into(),
        What::Begun => "tried".into(),
        What::Share(share_ppm) => format!("counts for {} %", percent(share_ppm)),
        What::Held => "held".into(),
        What::Resumed => "resumed".into(),
        What::Draining => "counts for all but what is open".into(),
        What::Promoted => "promoted".into(),
        What::RolledBack => "rolled back".into(),
        What::Swapped => "put in force at once".into(),
        What::Refused => "refused".into(),
    }
}

fn metrics(board: &Board) -> String {
    let mut text = String::new();
    let mut family =
        |name: &str, help: &str, kind: &str, lines: Vec<String>| text += &metric::family(name, help, kind, lines);
    let ledger = board.ledger();
    let places = [
        ("emitted", ledger.emitted),
        ("merged_id", ledger.merged_id),
        ("merged_fingerprint", ledger.merged_fingerprint),
        ("merged_repeated", ledger.merged_repeated),
        ("merged_blip", ledger.merged_blip),
        ("suppressed", ledger.suppressed),
        ("dropped", ledger.dropped),
        ("late", ledger.late),
        ("dead_lettered", ledger.dead_lettered),
        ("open", ledger.open),
    ];
    family("signals_received_total", "Signals that came.", "counter", vec![format!(" {}", ledger.received)]);
    family(
        "signals_echoed",
        "Observations of signals beside their place.",
        "gauge",
        vec![format!(" {}", ledger.echoed)],
    );
    let placed = places.iter().map(|(place, count)| format!("{{place=\"{place}\"}} {count}")).collect();
    family("signals", "Where the signals are; the sum is received and echoed.", "gauge", placed);
    let slots = board.slots();
    let label = |id: &SlotId| format!("signal={:?},kind=\"{}\"", id.signal, kind_of(id));
    let stable = slots.iter().filter_map(|(id, slot)| Some((id, slot.stable.as_ref()?)));
    let stable = stable.map(|(id, it)| {
        format!("{{{},name={:?},version={:?},digest={:?}}} 1", label(id), it.name, it.version, it.digest)
    });
    family("rule_info", "The version in force.", "gauge", stable.collect());
    let tried = || slots.iter().filter_map(|(id, slot)| Some((id, slot.trial.as_ref()?)));
    let lines = tried().map(|(id, it)| format!("{{{}}} {}", label(id), f64::from(it.share_ppm) / 1e6));
    family(
        "rule_candidate_share",
        "The share of record keys that the candidate answers for.",
        "gauge",
        lines.collect(),
    );
    let lines = tried().map(|(id, it)| format!("{{{}}} {}", label(id), u8::from(it.held.is_some())));
    family("rule_candidate_held", "Whether the candidate waits for a person.", "gauge", lines.collect());
    let lines = tried().map(|(id, it)| format!("{{{}}} {}", label(id), it.total.rows));
    family("rule_candidate_rows", "Rows on which both versions were asked.", "gauge", lines.collect());
    let lines = tried().map(|(id, it)| format!("{{{}}} {}", label(id), it.total.differing.iter().sum::<u64>()));
    family("rule_candidate_differing", "Rows that they answered differently.", "gauge", lines.collect());
    let decided = board.decisions();
    let lines = decided.iter().map(|((id, what), count)| format!("{{{},decision=\"{what}\"}} {count}", label(id)));
    family("rule_decisions_total", "What was decided about versions.", "counter", lines.collect());
    text
}

/// An audit record of what was decided.
pub fn record(told: &Told, now: Timestamp) -> Record {
    let (slot, digest) = (told.decision.slot(), digest_of(&told.decision));
    let why = match (&told.decision, &told.by) {
        (Decision::Hold { why, .. } | Decision::RollBack { why, .. } | Decision::Refuse { why, .. }, None) => {
            why.clone()
        }
        (_, Some((by, why))) => format!("asked by {by}: {why}"),
        _ => "as it is configured".into(),
    };
    let At { position, .. } = told.at;
    Record {
        time: now,
        who: "stillhouse".into(),
        role: None,
        from: None,
        what: words(&told.decision).into(),
        signal: Some(slot.signal.clone()),
        kind: Some(kind_of(slot)),
        digest,
        why,
        outcome: Outcome::Done,
        of: None,
        told: Some(format!("at log position {position}")),
    }
}

fn digest_of(decision: &Decision) -> Option<String> {
    match decision {
        Decision::Begin { version, .. } | Decision::Swap { version, .. } | Decision::Refuse { version, .. } => {
            Some(version.digest.clone())
        }
        _ => None,
    }
}

/// Every decision is in the audit trail from now on.
pub fn audit_decisions(board: &Board, audit: Arc<Audit>) {
    board.listen(Box::new(move |told| {
        if let Err(error) = audit.append(record(told, super::now())) {
            tracing::error!(%error, "a decision is not in the audit trail");
        }
    }));
}
