//! One event of one slot, and what comes of it.

use std::collections::BTreeMap;

use crate::analysis::{self, Verdict};
use crate::event::{Command, Decision, Event, NotNow};
use crate::evidence::Evidence;
use crate::policy::{Policy, Strategy};
use crate::slot::{
    At, BARRED_MAX, Barred, HISTORY_MAX, Held, HeldBy, REFUSALS_MAX, Record, Refusal, Slot, SlotId, Stage, Trial,
    Version, What, push_bounded,
};
use crate::words;

pub(crate) struct Turn<'a> {
    id: &'a SlotId,
    policy: &'a Policy,
    slot: &'a mut Slot,
    at: At,
    decisions: Vec<Decision>,
}

/// Who wants something and why; `None`: the host by itself.
#[derive(Clone, Copy)]
struct Cause<'a> {
    by: Option<&'a str>,
    why: &'a str,
}

fn by_itself(why: &str) -> Cause<'_> {
    Cause { by: None, why }
}

impl<'a> Turn<'a> {
    pub(crate) fn new(id: &'a SlotId, policy: &'a Policy, slot: &'a mut Slot, at: At) -> Self {
        Self { id, policy, slot, at, decisions: Vec::new() }
    }

    pub(crate) fn take(mut self, event: &Event) -> Result<Vec<Decision>, NotNow> {
        match event {
            Event::Known { version, .. } => self.known(version),
            Event::Offered { version, salt, replay, by, .. } => self.offered(version, *salt, replay, by.as_deref()),
            Event::Refused { version, stage, why, .. } => self.refused(version.as_ref(), *stage, why),
            Event::Seen { evidence, .. } => self.seen(evidence),
            Event::Drained { .. } => self.drained(),
            Event::Command { command, by, why, .. } => self.command(*command, Cause { by: Some(by), why })?,
        }
        Ok(self.decisions)
    }

    fn known(&mut self, version: &Version) {
        if self.is_stable(version) {
            return;
        }
        if self.slot.trial.is_some() {
            self.give_up("another version is in force since the host started", None, by_itself(""));
        }
        self.put_in_force(version.clone());
        self.note(What::Known, Some(version), by_itself("in force when the host started"));
    }

    fn offered(&mut self, version: &Version, salt: u64, replay: &Evidence, by: Option<&str>) {
        let is_tried = self.slot.trial.as_ref().is_some_and(|trial| trial.version.digest == version.digest);
        if self.is_stable(version) || is_tried {
            return;
        }
        if let Some(barred) = self.slot.barred(&version.digest).filter(|_| by.is_none()) {
            let why = format!(
                "it was rolled back: {}; to try it again, stage it: `stillhouse rules stage FILE --signal {} --kind {} \
                 --why TEXT`",
                barred.why,
                self.id.signal,
                self.id.kind.name()
            );
            return self.refuse(version, Stage::Validation, why);
        }
        let verdict = analysis::weigh_replay(replay, self.policy);
        if let Some(Verdict::RollBack(breach)) = &verdict {
            return self.refuse(version, Stage::Replay, format!("replay of the newest signals: {}", breach.why));
        }
        self.slot.barred.retain(|barred| barred.digest != version.digest);
        if self.slot.trial.is_some() {
            self.give_up(&format!("{version} was offered meanwhile and takes its place"), None, Cause { by, why: "" });
        }
        let why = if by.is_some() { "staged" } else { "found in the rules folder" };
        let cause = Cause { by, why };
        if self.policy.strategy == Strategy::Swap || self.slot.stable.is_none() {
            return self.swap(version, cause);
        }
        let held = match verdict {
            Some(Verdict::Hold(breach)) => Some(format!("replay of the newest signals: {}", breach.why)),
            _ => None,
        };
        self.begin(version, salt, replay, held.is_some(), cause);
        if let Some(why) = held {
            self.hold(HeldBy::Analysis, &why, by_itself(""));
        }
    }

    fn begin(&mut self, version: &Version, salt: u64, replay: &Evidence, in_shadow: bool, cause: Cause<'_>) {
        let shadow = in_shadow || self.policy.shadow.is_some();
        let (stage, share_ppm) = if shadow { (Stage::Shadow, 0) } else { (Stage::Canary, self.policy.share_ppm(0)) };
        self.slot.trial = Some(Trial {
            version: version.clone(),
            salt,
            stage,
            step: 0,
            share_ppm,
            begun: self.at,
            since: self.at,
            replay: *replay,
            evidence: Evidence::default(),
            total: Evidence::default(),
            held: None,
            accepted: BTreeMap::new(),
            drained: false,
        });
        self.note(What::Begun, Some(version), cause);
        let (slot, version) = (self.id.clone(), version.clone());
        self.decisions.push(Decision::Begin { slot, version, salt, share_ppm });
    }

    fn refused(&mut self, version: Option<&Version>, stage: Stage, why: &str) {
        let refusal = Refusal { version: version.cloned(), stage, why: why.to_owned(), at: self.at };
        push_bounded(&mut self.slot.refusals, REFUSALS_MAX, refusal);
        self.note(What::Refused, version, by_itself(&format!("{stage}: {why}")));
    }

    fn refuse(&mut self, version: &Version, stage: Stage, why: String) {
        self.refused(Some(version), stage, &why);
        self.decisions.push(Decision::Refuse { slot: self.id.clone(), version: version.clone(), stage, why });
    }

    fn seen(&mut self, evidence: &Evidence) {
        let Some(trial) = &mut self.slot.trial else { return };
        if trial.since.time_us == i64::MIN {
            trial.since.time_us = self.at.time_us;
        }
        trial.evidence.add(evidence);
        trial.total.add(evidence);
        match analysis::weigh(trial, self.policy, self.at) {
            Verdict::RollBack(breach) => self.roll_back(&breach.why, None, by_itself("")),
            // What waits for a person has still to keep its budgets.
            Verdict::Hold(breach) if trial.held.as_ref().is_none_or(|held| held.by == HeldBy::Policy) => {
                self.hold(HeldBy::Analysis, &breach.why, by_itself(""))
            }
            _ if trial.held.is_some() => {}
            Verdict::Advance if trial.stage != Stage::Draining => self.go_on(by_itself("time and samples are there")),
            _ => self.finish(),
        }
    }

    fn drained(&mut self) {
        if let Some(trial) = self.slot.trial.as_mut().filter(|trial| trial.share_ppm == crate::slot::WHOLE_PPM) {
            trial.drained = true;
            self.finish();
        }
    }

    /// From this stage or step to the next.
    fn go_on(&mut self, cause: Cause<'_>) {
        let Some(trial) = &mut self.slot.trial else { return };
        let next = if trial.stage == Stage::Shadow { 0 } else { trial.step + 1 };
        trial.since = self.at;
        if trial.stage == Stage::Canary && self.policy.is_last(trial.step) {
            trial.stage = Stage::Draining;
            let version = trial.version.clone();
            self.note(What::Draining, Some(&version), cause);
            return self.finish();
        }
        trial.stage = Stage::Canary;
        trial.step = next;
        trial.share_ppm = self.policy.share_ppm(next);
        trial.evidence = Evidence::default();
        let (share_ppm, version) = (trial.share_ppm, trial.version.clone());
        self.note(What::Share(share_ppm), Some(&version), cause);
        self.decisions.push(Decision::Share { slot: self.id.clone(), share_ppm });
    }

    /// Ends a draining, if it is over.
    fn finish(&mut self) {
        let Some(trial) = self.slot.trial.as_ref().filter(|trial| trial.stage == Stage::Draining) else { return };
        if trial.held.is_some() {
            return;
        }
        if !self.policy.promote_automatically {
            let why = "all steps are done; `promote` puts it in force";
            return self.hold(HeldBy::Policy, why, by_itself(""));
        }
        let max_us = self.policy.drain_max_us;
        if trial.drained {
            self.promote(by_itself("all steps are done, and nothing is open under the version before"));
        } else if max_us <= 0 || self.at.after_us(trial.since).is_some_and(|passed_us| passed_us >= max_us) {
            let why = format!("all steps are done, and what is open was waited for {}", words::time(max_us));
            self.promote(by_itself(&why));
        }
    }

    fn promote(&mut self, cause: Cause<'_>) {
        let Some(trial) = self.slot.trial.take() else { return };
        self.put_in_force(trial.version.clone());
        self.note(What::Promoted, Some(&trial.version), cause);
        self.decisions.push(Decision::Promote { slot: self.id.clone() });
    }

    fn swap(&mut self, version: &Version, cause: Cause<'_>) {
        self.put_in_force(version.clone());
        self.note(What::Swapped, Some(version), cause);
        self.decisions.push(Decision::Swap { slot: self.id.clone(), version: version.clone() });
    }

    fn put_in_force(&mut self, version: Version) {
        if let Some(before) = self.slot.stable.replace(version) {
            self.slot.last_good = Some(before);
        }
    }

    fn hold(&mut self, by: HeldBy, why: &str, cause: Cause<'_>) {
        let Some(trial) = &mut self.slot.trial else { return };
        trial.held = Some(Held { by, why: why.to_owned(), at: self.at });
        let version = trial.version.clone();
        self.note(What::Held, Some(&version), Cause { why, ..cause });
        self.decisions.push(Decision::Hold { slot: self.id.clone(), why: why.to_owned() });
    }

    /// Ends the trial because the version is bad: it is not tried again by itself.
    fn roll_back(&mut self, why: &str, retroactive: Option<bool>, cause: Cause<'_>) {
        if let Some(trial) = &self.slot.trial {
            let digest = trial.version.digest.clone();
            self.bar(digest, why);
        }
        self.give_up(why, retroactive, cause);
    }

    fn bar(&mut self, digest: String, why: &str) {
        self.slot.barred.retain(|barred| barred.digest != digest);
        push_bounded(&mut self.slot.barred, BARRED_MAX, Barred { digest, why: why.to_owned() });
    }

    /// Ends the trial without a word on the version.
    fn give_up(&mut self, why: &str, retroactive: Option<bool>, cause: Cause<'_>) {
        let Some(trial) = self.slot.trial.take() else { return };
        // In shadow it touched nothing.
        let retroactive = trial.share_ppm > 0 && retroactive.unwrap_or(self.policy.retroactive);
        self.note(What::RolledBack, Some(&trial.version), Cause { why, ..cause });
        self.decisions.push(Decision::RollBack { slot: self.id.clone(), why: why.to_owned(), retroactive });
    }

    fn command(&mut self, command: Command, cause: Cause<'_>) -> Result<(), NotNow> {
        match command {
            Command::Advance => self.advance(cause),
            Command::Hold => self.hold_by_hand(cause),
            Command::Promote { force } => self.promote_by_hand(force, cause),
            Command::Rollback { retroactive } => self.roll_back_by_hand(retroactive, cause),
        }
    }

    fn trial(&mut self, to: &str) -> Result<&mut Trial, NotNow> {
        let id = self.id;
        let none = || NotNow(format!("`{id}` has no candidate: there is nothing to {to}"));
        self.slot.trial.as_mut().ok_or_else(none)
    }

    fn advance(&mut self, cause: Cause<'_>) -> Result<(), NotNow> {
        let (id, policy) = (self.id, self.policy);
        let trial = self.trial("advance")?;
        let at_the_end = trial.stage == Stage::Draining || trial.stage == Stage::Canary && policy.is_last(trial.step);
        match &trial.held {
            Some(Held { by: HeldBy::Policy, .. }) => {
                return Err(NotNow(format!("all steps of `{id}` are done: `promote` puts it in force")));
            }
            None if at_the_end => {
                let message = format!(
                    "`{id}` is at its last step, {}: it comes into force by itself, or at once by `promote --force`",
                    words::share(trial.share_ppm)
                );
                return Err(NotNow(message));
            }
            Some(held) => {
                // Who lifts the hold of somebody else has not seen what is broken besides.
                if held.by == HeldBy::Analysis {
                    for (budget, measured) in analysis::all_broken(trial, policy) {
                        let accepted = trial.accepted.entry(budget).or_insert(0.0);
                        *accepted = accepted.max(2.0 * measured);
                    }
                }
                trial.held = None;
                let version = trial.version.clone();
                self.note(What::Resumed, Some(&version), cause);
                self.decisions.push(Decision::Resume { slot: id.clone() });
            }
            None => {}
        }
        if at_the_end {
            self.finish();
        } else {
            self.go_on(cause);
        }
        Ok(())
    }

    fn hold_by_hand(&mut self, cause: Cause<'_>) -> Result<(), NotNow> {
        let id = self.id;
        let trial = self.trial("hold")?;
        if let Some(held) = &trial.held {
            return Err(NotNow(format!("`{id}` is held already: {}", held.why)));
        }
        self.hold(HeldBy::Person(cause.by.unwrap_or_default().to_owned()), cause.why, cause);
        Ok(())
    }

    fn promote_by_hand(&mut self, force: bool, cause: Cause<'_>) -> Result<(), NotNow> {
        let id = self.id;
        let trial = self.trial("promote")?;
        let held = trial.held.as_ref().filter(|held| held.by != HeldBy::Policy);
        let not_now = match held {
            _ if force => None,
            Some(held) => Some(format!("`{id}` is held: {}; `advance` accepts that", held.why)),
            None if trial.stage != Stage::Draining => Some(format!(
                "`{id}` is in {} at {}: not all steps are done",
                trial.stage,
                words::share(trial.share_ppm)
            )),
            None => None,
        };
        if let Some(why) = not_now {
            return Err(NotNow(format!("{why}; `promote --force` puts it in force all the same")));
        }
        self.promote(cause);
        Ok(())
    }

    fn roll_back_by_hand(&mut self, retroactive: Option<bool>, cause: Cause<'_>) -> Result<(), NotNow> {
        if self.slot.trial.is_some() {
            self.roll_back(cause.why, retroactive, cause);
            return Ok(());
        }
        let id = self.id;
        let (Some(stable), Some(last_good)) = (&self.slot.stable, &self.slot.last_good) else {
            return Err(NotNow(format!(
                "`{id}` has no candidate and no version before: there is nothing to go back to"
            )));
        };
        if stable.digest == last_good.digest {
            return Err(NotNow(format!("`{id}` has no candidate, and {stable} is the last good version already")));
        }
        if retroactive == Some(true) {
            let message = format!(
                "`{id}` has no candidate: {last_good} comes back for what is new only; leave `--retroactive` out"
            );
            return Err(NotNow(message));
        }
        let (bad, good) = (stable.clone(), last_good.clone());
        self.bar(bad.digest.clone(), cause.why);
        self.note(What::RolledBack, Some(&bad), cause);
        self.slot.stable = Some(good.clone());
        self.slot.barred.retain(|barred| barred.digest != good.digest);
        self.note(What::Swapped, Some(&good), cause);
        self.decisions.push(Decision::Swap { slot: id.clone(), version: good });
        Ok(())
    }

    fn is_stable(&self, version: &Version) -> bool {
        self.slot.stable.as_ref().is_some_and(|stable| stable.digest == version.digest)
    }

    fn note(&mut self, what: What, version: Option<&Version>, cause: Cause<'_>) {
        let record = Record {
            what,
            version: version.cloned(),
            by: cause.by.map(str::to_owned),
            why: cause.why.to_owned(),
            at: self.at,
        };
        push_bounded(&mut self.slot.history, HISTORY_MAX, record);
    }
}
