//! A host without rules or signals: it does what it is told, and remembers it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use stillhouse_control::host::{Action, Change, Changing, Done, Host, Refused};
use stillhouse_control::sha256_hex;
use stillhouse_control::slots::{
    Candidate, Counts, Difference, Evidence, Kind, Past, Refusal, Slot, Stage, Status, Version,
};
use tokio::sync::Semaphore;

/// The shares of its rollouts.
const STEPS: [f64; 5] = [1.0, 5.0, 25.0, 50.0, 100.0];

/// A host for tests.
pub struct Fake {
    state: Mutex<State>,
    /// A change waits for a permit of this, where there is one.
    pub gate: Option<Semaphore>,
}

struct State {
    position: u64,
    slots: Vec<Slot>,
    history: BTreeMap<(String, Kind), Vec<Past>>,
    changes: Vec<Change>,
}

pub fn version(name: &str, version: &str) -> Version {
    Version { name: name.into(), version: version.into(), digest: sha256_hex(format!("{name} {version}").as_bytes()) }
}

fn candidate(version: Version) -> Candidate {
    let counts = Counts {
        rows: 18_231,
        failed: 0,
        rejected: 3,
        dropped: 120,
        held_back: 0,
        fuel_per_row: 1184.5,
        ns_per_row: 131.0,
    };
    Candidate {
        version,
        stage: Stage::Canary,
        share_percent: STEPS[0],
        steps: STEPS.to_vec(),
        held: None,
        since_position: 1_200_000,
        since: Some("2026-03-02T10:00:00Z".into()),
        samples: 182,
        samples_needed: 500,
        evidence: Evidence {
            rows: 18_231,
            in_share: 182,
            differing: BTreeMap::from([("severity".into(), 3), ("state".into(), 14)]),
            stable: counts,
            candidate: Counts { fuel_per_row: 1201.0, ns_per_row: 133.5, ..counts },
        },
    }
}

impl Default for Fake {
    fn default() -> Self {
        let slot = |signal: &str, kind, stable: Version| Slot {
            signal: signal.into(),
            kind,
            stable,
            last_good: None,
            candidate: None,
            last_refusal: None,
        };
        let mut mapper = slot("net.link", Kind::Mapper, version("router-syslog", "1.2.0"));
        mapper.last_good = Some(version("router-syslog", "1.1.0"));
        mapper.candidate = Some(candidate(version("router-syslog", "1.3.0")));
        let mut suppressor = slot("net.link", Kind::Suppressor, version("maintenance", "0.4.0"));
        suppressor.last_refusal = Some(Refusal {
            version: Some(version("maintenance", "0.5.0")),
            stage: "cases".into(),
            why: "case `night` expected suppress, got emit".into(),
            position: 990_000,
        });
        let odd = slot("com.example/ünit test", Kind::Mapper, version("status", "2.0.0"));
        let state = State {
            position: 1_234_567,
            slots: vec![odd, mapper, suppressor],
            history: BTreeMap::new(),
            changes: Vec::new(),
        };
        Self { state: Mutex::new(state), gate: None }
    }
}

impl Fake {
    /// One whose changes wait.
    pub fn gated() -> Self {
        Self { gate: Some(Semaphore::new(0)), ..Self::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with the state")
    }

    /// All changes that reached it, refused ones too.
    pub fn changes(&self) -> Vec<Change> {
        self.state().changes.clone()
    }
}

impl State {
    fn change(&mut self, change: Change) -> Result<Done, Refused> {
        self.changes.push(change.clone());
        let key = (change.signal.clone(), change.kind);
        let slot = self.slots.iter_mut().find(|slot| slot.signal == key.0 && slot.kind == key.1);
        let slot = slot.ok_or_else(|| Refused::NoSuchSlot(format!("there is no {} slot for `{}`", key.1, key.0)))?;
        let (what, version, told) = apply(slot, &change)?;
        self.position += 1;
        let position = self.position;
        let past = Past {
            position,
            time: None,
            what: what.into(),
            version: Some(version.clone()),
            by: change.by,
            why: change.why,
        };
        self.history.entry(key).or_default().push(past);
        Ok(Done { position, version: Some(version), told })
    }
}

fn apply(slot: &mut Slot, change: &Change) -> Result<(&'static str, Version, String), Refused> {
    let none = || Refused::NoCandidate(format!("the {} slot of `{}` has no candidate", slot.kind, slot.signal));
    if let (Some(meant), Some(candidate)) = (&change.candidate, &slot.candidate)
        && !candidate.version.digest.starts_with(meant.as_str())
    {
        return Err(Refused::NotNow(format!("the candidate is {}, not {meant}", candidate.version)));
    }
    match &change.action {
        Action::Stage { file, .. } if file.starts_with(b"bad") => {
            Err(Refused::Bad("the file is no WebAssembly component".into()))
        }
        Action::Stage { file, .. } => {
            let staged = Version { name: "staged".into(), version: "0.1.0".into(), digest: sha256_hex(file) };
            slot.candidate =
                Some(Candidate { stage: Stage::Checking, share_percent: 0.0, ..candidate(staged.clone()) });
            Ok(("staged", staged, "it is checked now".into()))
        }
        Action::Advance => {
            let candidate = slot.candidate.as_mut().ok_or_else(none)?;
            let next = STEPS.iter().find(|step| **step > candidate.share_percent);
            let next = next.ok_or_else(|| Refused::NotNow("it is at 100 % already; promote it".into()))?;
            (candidate.share_percent, candidate.stage) = (*next, Stage::Canary);
            Ok(("advanced", candidate.version.clone(), format!("in force for {next} %")))
        }
        Action::Hold => {
            let candidate = slot.candidate.as_mut().ok_or_else(none)?;
            candidate.held = Some(format!("{}: {}", change.by, change.why));
            Ok(("held", candidate.version.clone(), "it stays at its step".into()))
        }
        Action::Promote { force } => {
            let candidate = slot.candidate.take().ok_or_else(none)?;
            if !force && candidate.share_percent < 100.0 {
                let told = format!("it is at {} %, not 100; an admin can promote by force", candidate.share_percent);
                slot.candidate = Some(candidate);
                return Err(Refused::NotNow(told));
            }
            slot.last_good = Some(std::mem::replace(&mut slot.stable, candidate.version.clone()));
            Ok(("promoted", candidate.version, "it is the stable version".into()))
        }
        Action::Rollback { .. } => match slot.candidate.take() {
            Some(candidate) => Ok(("rolled back", candidate.version, format!("{} is in force for all", slot.stable))),
            None => {
                slot.stable =
                    slot.last_good.take().ok_or_else(|| Refused::NotNow("there is no last good version".into()))?;
                Ok(("rolled back", slot.stable.clone(), "the last good version is in force".into()))
            }
        },
    }
}

impl Host for Fake {
    fn status(&self) -> Status {
        let state = self.state();
        Status {
            program: "stillhouse 0.1.0".into(),
            position: state.position,
            event_time: Some("2026-03-02T12:00:00Z".into()),
            slots: state.slots.clone(),
        }
    }

    fn differences(&self, signal: &str, kind: Kind) -> Option<Vec<Difference>> {
        let status = self.status();
        let slot = status.slots.iter().find(|slot| slot.signal == signal && slot.kind == kind)?;
        let difference = Difference {
            kind: "state".into(),
            position: 1_230_001,
            time: Some("2026-03-02T11:58:03Z".into()),
            key: "leaf1/eth3".into(),
            signal: "leaf1 eth3: \u{1b}[31mLINK-3-UPDOWN\u{1b}[0m".into(),
            old: "down, error".into(),
            new: "degraded, warning".into(),
        };
        Some(slot.candidate.iter().map(|_| difference.clone()).collect())
    }

    fn history(&self, signal: &str, kind: Kind) -> Option<Vec<Past>> {
        let state = self.state();
        state.slots.iter().find(|slot| slot.signal == signal && slot.kind == kind)?;
        Some(state.history.get(&(signal.to_owned(), kind)).cloned().unwrap_or_default())
    }

    fn change(&self, change: Change) -> Changing<'_> {
        Box::pin(async move {
            if let Some(gate) = &self.gate {
                gate.acquire().await.expect("the gate stays").forget();
            }
            self.state().change(change)
        })
    }

    fn metrics(&self) -> String {
        "# HELP stillhouse_signals_total Signals so far.\n# TYPE stillhouse_signals_total counter\n\
         stillhouse_signals_total 1234567\n"
            .into()
    }
}
