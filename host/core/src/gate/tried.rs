//! Two versions of a suppressor side by side: who counts for which candidate, and what becomes of what
//! the tried one did when it is withdrawn.

use std::collections::{BTreeMap, BTreeSet};

use super::context::{self, Answer, Row};
use super::correct::{Fate, Revision, Why};
use super::{Answers, Cause, Exit, Gate, Held, Slot, is_problem, slot_of};
use crate::columns::{Blobs, Verdicts, verdict};
use crate::entity::{Because, Candidate, Kind};
use crate::plan::TypePlan;
use crate::rule::{Carry, Compared, Condition, RuleId, Turn};
use serde::{Deserialize, Serialize};

/// What the tried versions have in hand.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Trials {
    /// Problems that are open under the tried version.
    open: BTreeSet<Slot>,
    /// What last left its slot because the tried version let it, while the version in force would have
    /// held it back: with what that said.
    let_go: BTreeMap<Slot, (Candidate, Answer)>,
    /// Differences that could not be undone when their version was withdrawn.
    not_taken_back: u64,
}

impl Trials {
    fn counts(&self, slot: &Slot, candidate: &Candidate, in_cohort: bool, plan: &TypePlan) -> bool {
        if self.open.contains(slot) {
            return true;
        }
        let was_problem = candidate.from.as_ref().is_some_and(|from| plan.condition(from.state) == Condition::Problem);
        let opened = was_problem && candidate.kind == Kind::StateChanged || candidate.kind == Kind::FlappingStopped;
        in_cohort && !opened
    }
}

impl Gate {
    /// Asks the suppressor about one candidate, and the tried version of it too; what counts is the
    /// answer of the version that has opened what is open, and else of the one whose key it is. Also
    /// says whether that is the tried one.
    pub(super) fn ask_both(&mut self, row: Row<'_>, answers: Answers, exit: &mut Exit<'_>) -> (Answer, bool) {
        let candidate = row.candidate;
        let signal_type = candidate.signal_type;
        let [stable, tried] = answers;
        let cohort = exit.judge.tried(signal_type).map(|(cohort, _)| cohort);
        // It takes over the memo as it was before this candidate, so it is asked first.
        let tried = match tried {
            Some(tried) => tried.alone(),
            None if cohort.is_some() => self.ask_one(&row, signal_type, true, exit),
            None => Verdicts::default(),
        };
        let stable = match (stable, cohort) {
            (Some(stable), None) => return (stable, false),
            (Some(stable), Some(_)) => stable.alone(),
            (None, _) => self.ask_one(&row, signal_type, false, exit),
        };
        let Some(cohort) = cohort else {
            return (Answer::of(&stable, 0), false);
        };
        let plan = &exit.plan.types[usize::from(signal_type)];
        let slot = slot_of(candidate);
        let in_cohort = cohort.contains(candidate.key.as_bytes());
        let counts = self.trials.counts(&slot, candidate, in_cohort, plan);
        let what = (super::leave::kind_name(candidate.kind), plan.state_name(candidate.to.state));
        let (key, time_us) = (&*candidate.key, candidate.time_us);
        let both = Compared { key, time_us, what, in_share: counts, stable: &stable, tried: &tried };
        exit.judge.compared(signal_type, &both);
        let (stable, tried) = (Answer::of(&stable, 0), Answer::of(&tried, 0));
        // Where the tried version fails, the one in force answers.
        let counts = counts && tried.verdict != verdict::FAILED;
        match counts && is_problem(candidate, plan) {
            true => self.trials.open.insert(slot.clone()),
            false => self.trials.open.remove(&slot),
        };
        let holds = |answer: &Answer| matches!(answer.verdict, verdict::SUPPRESS | verdict::DELAY);
        if counts && holds(&stable) && !holds(&tried) {
            self.trials.let_go.insert(slot, (candidate.clone(), stable.clone()));
        } else {
            self.trials.let_go.remove(&slot);
        }
        (if counts { tried } else { stable }, counts)
    }

    /// One version's verdict on one candidate; its memo is taken back.
    fn ask_one(&mut self, row: &Row<'_>, signal_type: u16, tried: bool, exit: &mut Exit<'_>) -> Verdicts {
        let memo = match tried {
            false => exit.judge.memo(signal_type),
            true => exit.judge.tried(signal_type).and_then(|(_, judge)| judge.memo(signal_type)),
        };
        let mut memos = Blobs::default();
        let key = &row.candidate.key;
        if let Some(memo) = memo {
            memos.push(match tried {
                false => self.memos.get(signal_type, key, memo),
                true => self.memos.get_tried(signal_type, key, memo),
            });
        }
        let mut verdicts = context::ask(&[*row], signal_type, memos, tried, exit);
        let Some(memo) = memo else { return verdicts };
        if verdicts.verdict.first() == Some(&verdict::FAILED) || verdicts.memo.offsets.is_empty() {
            return verdicts;
        }
        let is_gone = exit.plan.types[usize::from(signal_type)].condition(row.candidate.to.state) == Condition::Gone;
        let bytes = if is_gone && row.candidate.kind == Kind::StateChanged { &[] } else { verdicts.memo.get(0) };
        let set = match tried {
            false => self.memos.set(signal_type, key, bytes, memo),
            true => self.memos.set_tried(signal_type, key, bytes, memo),
        };
        if let Err(reason) = set {
            verdicts = Verdicts::failed(&reason);
        }
        verdicts
    }

    /// The versions of a suppressor have changed; the judge knows of it already.
    pub fn turned(&mut self, signal_type: u16, turn: &Turn, now_us: i64, exit: &mut Exit<'_>) {
        match turn {
            Turn::Try(..) | Turn::Share(_) => {}
            Turn::Swap(_) => self.rekey(signal_type, now_us, exit),
            Turn::Promote => {
                self.rekey(signal_type, now_us, exit);
                self.memos.promote(signal_type, exit.judge.memo(signal_type));
                self.trials.forget(signal_type);
            }
            Turn::Withdraw { rule, retroactive } => {
                self.memos.withdraw(signal_type);
                let let_go = self.trials.forget(signal_type);
                if *retroactive {
                    self.hold_again(let_go, rule, now_us, exit);
                    self.judge_again(signal_type, now_us, exit);
                }
            }
        }
    }

    /// Where the version in force names entities anew, what is held back of them ends; that their memos
    /// are forgotten, the memos see to.
    fn rekey(&mut self, signal_type: u16, now_us: i64, exit: &mut Exit<'_>) {
        let Some(plan) = exit.judge.memo(signal_type).filter(|plan| plan.carry == Carry::Rekey) else { return };
        if self.memos.version(signal_type).is_none_or(|version| version == plan.version) {
            return;
        }
        let held: Vec<Slot> = self.held.keys().filter(|slot| slot.0 == signal_type).cloned().collect();
        for slot in held {
            if let Some(held) = self.take(&slot) {
                self.end(held, now_us, exit);
            }
        }
    }

    /// What only the tried version let go, and still stands, is taken back and held.
    fn hold_again(&mut self, let_go: Vec<(Candidate, Answer)>, rule: &RuleId, now_us: i64, exit: &mut Exit<'_>) {
        let by = Because::Withdrawn(Box::new(rule.clone()));
        let why = Why { by: &by, now_us };
        for (mut candidate, answer) in let_go {
            let plan = &exit.plan.types[usize::from(candidate.signal_type)];
            let bound_us = candidate.time_us.saturating_add(plan.suppress_max_us);
            let deadline_us = if answer.until_us == 0 { bound_us } else { answer.until_us.min(bound_us) };
            let slot = slot_of(&candidate);
            let Some(Fate::Left(told)) = self.told.take(&candidate) else { continue };
            if deadline_us <= now_us || self.held.contains_key(&slot) || self.held.len() >= super::HELD_MAX {
                self.trials.not_taken_back += 1;
                continue;
            }
            candidate.tried_judge = false;
            exit.ledger.settle(|ledger| &mut ledger.emitted, candidate.signals.wrapping_neg());
            self.say(&candidate, None, told, &why, exit);
            let cause = if answer.verdict == verdict::DELAY { Cause::Delayed } else { Cause::Suppressed };
            let (reason, parked, resumed_us) = (answer.reason, false, None);
            let held = Held { candidate, cause, reason, deadline_us, judged: 0, told: false, parked, resumed_us };
            self.hold(slot, held, now_us, exit);
        }
    }

    /// What only the tried version holds back is judged by the one in force.
    fn judge_again(&mut self, signal_type: u16, now_us: i64, exit: &mut Exit<'_>) {
        let by_tried = |held: &Held| held.candidate.tried_judge && !held.parked;
        let of_type = |slot: &Slot| slot.0 == signal_type;
        let slots: Vec<Slot> = self
            .held
            .iter()
            .filter(|(slot, held)| of_type(slot) && by_tried(held))
            .map(|(slot, _)| slot.clone())
            .collect();
        for slot in slots {
            if let Some(held) = self.take(&slot) {
                self.retry(slot, held, now_us, exit);
            }
        }
    }

    /// Differences that could not be undone when their version was withdrawn.
    pub fn not_taken_back(&self) -> u64 {
        self.trials.not_taken_back
    }

    /// Notes what left in the hands of a tried version, so that it can be taken back.
    pub(super) fn note_tried(&mut self, candidate: &Candidate, id: &str) {
        if self.trials.let_go.contains_key(&slot_of(candidate)) {
            self.told.note_on_trial(candidate, Fate::Left(Revision { id: Some(id.to_owned()), number: 1 }));
        }
    }
}

impl Trials {
    /// Forgets what is known of a type, and tells what only its tried version let go.
    fn forget(&mut self, signal_type: u16) -> Vec<(Candidate, Answer)> {
        self.open.retain(|slot| slot.0 != signal_type);
        let of_type: Vec<Slot> = self.let_go.keys().filter(|slot| slot.0 == signal_type).cloned().collect();
        of_type.iter().filter_map(|slot| self.let_go.remove(slot)).collect()
    }
}
