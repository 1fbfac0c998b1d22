//! Trials of a suppressor in the gate: both are asked, a cohort of keys counts, what is open stays, and
//! what a withdrawn version did is taken back as far as it still stands.

use std::sync::Arc;

use stillhouse_core::columns::{Batch, Blobs, Verdicts, verdict};
use stillhouse_core::rule::{Carry, Compared, Field, Judge, MemoPlan, RuleId, Turn};
use stillhouse_core::trial::{Cohort, WHOLE_PPM};
use stillhouse_core::{Change, Core, Entry, Event, Ledger, Plan};

use crate::chance::Chance;
use crate::gate_fake::{Fake, Row, Said, emit, suppress};
use crate::generate::{any_plan, orderly_stream};
use crate::plans::{DOWN, UP, plan, type_plan};
use crate::properties::{for_seeds, hold};
use crate::stream::{Division, Stream, WHOLE, bytes, run_with, signal, told};

const DIVISIONS: [Division; 3] = [
    Division { shards: 1, block_rows: 1, entries: 1 },
    Division { shards: 3, block_rows: 2, entries: 3 },
    Division { shards: 2, block_rows: 7, entries: 1 << 20 },
];

const PATHS: [&str; 6] = ["key", "kind", "to", "time", "judged", "from"];

/// Two judges, of which the second is tried from its turn on.
struct Both<A, B> {
    stable: Fake<A>,
    tried: Fake<B>,
    cohort: Option<Cohort>,
    promoted: bool,
    compared: Vec<(String, u8, u8, bool)>,
    /// The times that both have answered.
    counts: Vec<(i64, i64)>,
}

impl<A: FnMut(&Row) -> Said, B: FnMut(&Row) -> Said> Both<A, B> {
    fn new(stable: A, tried: B) -> Self {
        let (stable, tried) = (Fake::new(&PATHS, stable), Fake::new(&PATHS, tried));
        Self { stable, tried, cohort: None, promoted: false, compared: Vec::new(), counts: Vec::new() }
    }
}

impl<A: FnMut(&Row) -> Said, B: FnMut(&Row) -> Said> Judge for Both<A, B> {
    fn fields(&self, signal_type: u16) -> Option<&[Field]> {
        if self.promoted { self.tried.fields(signal_type) } else { self.stable.fields(signal_type) }
    }

    fn judge(&mut self, signal_type: u16, candidates: Batch, memos: Blobs) -> Verdicts {
        match self.promoted {
            true => self.tried.judge(signal_type, candidates, memos),
            false => self.stable.judge(signal_type, candidates, memos),
        }
    }

    fn memo(&self, signal_type: u16) -> Option<MemoPlan> {
        if self.promoted { self.tried.memo(signal_type) } else { self.stable.memo(signal_type) }
    }

    fn rule(&self, signal_type: u16) -> Option<&RuleId> {
        if self.promoted { self.tried.rule(signal_type) } else { self.stable.rule(signal_type) }
    }

    fn tried(&self, _: u16) -> Option<(Cohort, &dyn Judge)> {
        self.cohort.map(|cohort| (cohort, &self.tried as &dyn Judge))
    }

    fn tried_mut(&mut self, _: u16) -> Option<&mut dyn Judge> {
        self.cohort.is_some().then_some(&mut self.tried as &mut dyn Judge)
    }

    fn turn(&mut self, _: u16, turn: &Turn) {
        match turn {
            Turn::Try(_, cohort) => self.cohort = Some(*cohort),
            Turn::Withdraw { .. } => self.cohort = None,
            Turn::Share(share_ppm) => self.cohort = self.cohort.map(|it| Cohort { share_ppm: *share_ppm, ..it }),
            Turn::Promote => (self.cohort, self.promoted) = (None, true),
            Turn::Swap(_) => panic!("not in these tests"),
        }
    }

    fn compared(&mut self, _: u16, both: &Compared<'_>) {
        self.compared.push((both.key.to_owned(), both.stable.verdict[0], both.tried.verdict[0], both.in_share));
        self.counts.push((both.stable.until_us[0], both.tried.until_us[0]));
    }
}

fn tried_rule() -> RuleId {
    RuleId { name: "calm".into(), version: "3.0.0".into(), digest: "tried".into() }
}

/// The entries of a stream with turns before some of its items.
pub fn entries(plan: &Plan, stream: &Stream, turns: &[(usize, Turn)], block_rows: usize) -> Vec<Entry> {
    let mut entries: Vec<Entry> = stream.sources.iter().map(|name| Entry::Source(name.as_str().into())).collect();
    let mut from = 0;
    let mut position = 0;
    for (at, turn) in turns.iter().map(|(at, turn)| (*at, Some(turn))).chain([(stream.items.len(), None)]) {
        let part = Stream { items: stream.items[from..at].to_vec(), ended: false, ..stream.clone() };
        for mut entry in part.entries(block_rows).into_iter().skip(stream.sources.len()) {
            if let Entry::Signals(block) = &mut entry {
                let block = Arc::make_mut(block);
                block.position = position;
                position += block.rows.len() as u64;
            }
            entries.push(entry);
        }
        from = at;
        let types = 0..plan.types.len() as u16;
        entries.extend(turn.into_iter().flat_map(|turn| {
            types.clone().map(|signal_type| Entry::Rules(Change::Suppressor { signal_type, turn: turn.clone() }))
        }));
    }
    entries.extend(stream.ended.then_some(Entry::End));
    entries
}

pub fn run(
    plan: &Arc<Plan>,
    stream: &Stream,
    turns: &[(usize, Turn)],
    division: Division,
    judge: &mut dyn Judge,
) -> (Vec<Event>, Ledger) {
    let mut core = Core::new(Arc::clone(plan), division.shards);
    let mut events = Vec::new();
    for entries in entries(plan, stream, turns, division.block_rows).chunks(division.entries) {
        core.step(entries.iter().cloned(), judge, &mut events);
        let ledger = core.ledger();
        assert!(ledger.balances(), "the books do not balance: {ledger:?}, placed {}", ledger.placed());
        assert_eq!(core.count_open(), ledger.open, "open signals, counted and in the books: {ledger:?}");
    }
    crate::event_schema::check_lines(bytes(&events).as_bytes());
    (events, core.ledger())
}

fn whole(share_ppm: u32) -> Turn {
    Turn::Try(tried_rule(), Cohort { salt: 1, share_ppm })
}

fn withdraw() -> Turn {
    Turn::Withdraw { rule: tried_rule(), retroactive: true }
}

/// `key` goes down and up again.
fn episode(key: &str, from_us: i64, to_us: i64) -> [crate::stream::Signal; 2] {
    [signal(from_us, &format!("{key}{from_us}"), key, DOWN, ""), signal(to_us, &format!("{key}{to_us}"), key, UP, "")]
}

fn problem(row: &Row) -> bool {
    row.fields[2] == "down"
}

#[test]
fn what_is_open_stays_with_the_version_that_let_it_go() {
    let plan = Arc::new(plan(vec![type_plan("net")]));
    let items = [
        signal(0, "a", "old", UP, ""),
        signal(1, "b", "old", DOWN, ""),
        signal(5, "z", "else", UP, ""),
        // From here on the other is tried, for all keys: it lets nothing go.
        signal(10, "c", "old", UP, ""),
        signal(11, "d", "old", DOWN, ""),
        signal(20, "e", "old", UP, ""),
    ];
    let mut both = Both::new(|_: &Row| emit(), |_: &Row| suppress(0));
    let (events, ledger) = run(&plan, &Stream::of(items), &[(3, whole(WHOLE_PPM))], WHOLE, &mut both);
    assert_eq!(
        told(&events),
        [
            "1 state.changed old up>down since 1 inputs 1",
            // It was opened before the trial, and its end is judged as its beginning was.
            "10 state.changed old down>up since 10 inputs 1",
            "11 suppressed old held deadline 1000000011: up>down since 11 inputs 1",
            "20 suppressed old ended after 9 deadline 1000000011: up>down since 11 inputs 1",
        ]
    );
    assert_eq!(ledger.suppressed, 2);
}

#[test]
fn what_only_the_tried_version_holds_back_leaves_when_it_is_withdrawn() {
    let plan = Arc::new(plan(vec![type_plan("net")]));
    let stream = Stream::of([
        signal(0, "a", "k", UP, ""),
        signal(1, "b", "k", DOWN, ""),
        signal(5, "c", "l", UP, ""),
        signal(9, "d", "k", UP, ""),
    ]);
    let judge = || Both::new(|_: &Row| emit(), |row: &Row| if problem(row) { suppress(0) } else { emit() });
    let turns = [(0, whole(WHOLE_PPM)), (3, withdraw())];
    let (events, _) = run(&plan, &stream, &turns, WHOLE, &mut judge());
    assert_eq!(
        told(&events),
        [
            "1 suppressed k held deadline 1000000001: up>down since 1 inputs 1",
            "5 state.changed k up>down since 1 inputs 1 released after 4",
            "9 state.changed k down>up since 9 inputs 1",
        ]
    );
    for division in DIVISIONS {
        assert_eq!(bytes(&run(&plan, &stream, &turns, division, &mut judge()).0), bytes(&events), "{division:?}");
    }
}

#[test]
fn what_only_the_tried_version_let_go_is_taken_back_and_held() {
    let plan = Arc::new(plan(vec![type_plan("net")]));
    let stream = Stream::of([
        signal(0, "a", "k", UP, ""),
        signal(1, "b", "k", DOWN, ""),
        signal(5, "c", "l", UP, ""),
        signal(9, "d", "k", UP, ""),
    ]);
    let mut both = Both::new(|row: &Row| if problem(row) { suppress(0) } else { emit() }, |_: &Row| emit());
    let (events, ledger) = run(&plan, &stream, &[(0, whole(WHOLE_PPM)), (3, withdraw())], WHOLE, &mut both);
    assert_eq!(
        told(&events),
        [
            "1 state.changed k up>down since 1 inputs 1",
            "5 correction k revision 2 of state.changed: nothing",
            "5 suppressed k held deadline 1000000001: up>down since 1 inputs 1",
            "9 suppressed k ended after 8 deadline 1000000001: up>down since 1 inputs 1",
        ]
    );
    assert_eq!((ledger.emitted, ledger.suppressed), (0, 2));
}

#[test]
fn a_failing_version_counts_for_nobody() {
    let plan = Arc::new(plan(vec![type_plan("net")]));
    let stream = Stream::of(episode("k", 1, 5));
    let mut both = Both::new(|_: &Row| suppress(0), |_: &Row| Said(verdict::FAILED, 0, 0, Vec::new()));
    let (events, _) = run(&plan, &stream, &[(0, whole(WHOLE_PPM))], WHOLE, &mut both);
    assert!(told(&events)[0].starts_with("1 suppressed k held"), "{:?}", told(&events));
    assert_eq!(both.compared[0], ("k".into(), verdict::SUPPRESS, verdict::FAILED, true));
}

#[test]
fn a_tried_version_takes_memos_over_and_leaves_them_alone() {
    let plan = Arc::new(plan(vec![type_plan("net")]));
    // Both count the candidates of a key; the tried one by ten, and it says how far it has come.
    let counting = |by: u8| {
        move |row: &Row| {
            let seen = row.memo.first().copied().unwrap_or(0) + by;
            Said(verdict::ESCALATE, i64::from(seen), 0, vec![seen])
        }
    };
    let carried = [(Carry::Keep, 2, 11), (Carry::Reset, 2, 10), (Carry::Rekey, 2, 10), (Carry::Reset, 1, 11)];
    for (carry, version, first) in carried {
        let stream = Stream::of([
            signal(1, "a", "k", DOWN, ""),
            signal(5, "b", "l", UP, ""),
            signal(6, "c", "k", UP, ""),
            signal(7, "d", "k", DOWN, ""),
            signal(9, "e", "l", UP, ""),
            signal(10, "f", "k", UP, ""),
            signal(11, "g", "l", UP, ""),
        ]);
        let mut both = Both::new(counting(1), counting(10));
        both.stable.memo = Some(MemoPlan { version: 1, carry: Carry::Keep, bytes_max: 4 });
        both.tried.memo = Some(MemoPlan { version, carry, bytes_max: 4 });
        run(&plan, &stream, &[(2, whole(0)), (5, withdraw())], WHOLE, &mut both);
        let seen: Vec<(i64, i64)> = both.counts;
        assert_eq!(seen, [(2, first), (3, first + 10)], "{carry:?} {version}");
    }
}

#[test]
fn what_is_held_back_ends_where_entities_are_named_anew() {
    let plan = Arc::new(plan(vec![type_plan("net")]));
    let stream = Stream::of([
        signal(0, "a", "k", UP, ""),
        signal(1, "b", "k", DOWN, ""),
        signal(5, "c", "l", UP, ""),
        signal(9, "d", "l", UP, ""),
    ]);
    let answer = |row: &Row| Said(if problem(row) { verdict::SUPPRESS } else { verdict::EMIT }, 0, 0, vec![1]);
    let held = "1 suppressed k held deadline 1000000001: up>down since 1 inputs 1";
    let ended = "5 suppressed k ended after 4 deadline 1000000001: up>down since 1 inputs 1";
    for (carry, version, expected) in [
        (Carry::Rekey, 2, vec![held, ended]),
        (Carry::Rekey, 1, vec![held]),
        (Carry::Reset, 2, vec![held]),
        (Carry::Keep, 2, vec![held]),
    ] {
        let mut both = Both::new(answer, answer);
        both.stable.memo = Some(MemoPlan { version: 1, carry: Carry::Keep, bytes_max: 4 });
        both.tried.memo = Some(MemoPlan { version, carry, bytes_max: 4 });
        let (events, _) = run(&plan, &stream, &[(1, whole(0)), (3, Turn::Promote)], WHOLE, &mut both);
        assert_eq!(told(&events), expected, "{carry:?} {version}");
    }
}

/// Answers anything, but always the same for the same candidate.
fn erratic(seed: u64) -> impl Fn(&Row) -> Said {
    move |row| {
        let text = format!("{:?}", row.fields);
        let hash = text.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let mut chance = Chance::new(hash);
        let verdicts = [verdict::EMIT, verdict::EMIT, verdict::SUPPRESS, verdict::DELAY, verdict::ESCALATE];
        let until_us = row.fields[3].parse::<i64>().expect("a time") + chance.between(-5, 80);
        Said(chance.pick(&verdicts), chance.pick(&[0, until_us]), chance.between(0, 3) as u8, Vec::new())
    }
}

#[test]
fn a_shadow_of_a_suppressor_changes_nothing() {
    for_seeds("a_shadow_of_a_suppressor", |chance| {
        let plan = any_plan(chance);
        let stream = orderly_stream(chance, &plan);
        let (one, other) = (chance.below(1 << 30) as u64, chance.below(1 << 30) as u64);
        let from = chance.below(stream.items.len() + 1);
        let to = from + chance.below(stream.items.len() + 1 - from);
        hold(plan, stream, &|plan, stream| {
            let turns = [(from.min(stream.items.len()), whole(0)), (to.min(stream.items.len()), withdraw())];
            let (with, ledger) = run(plan, stream, &turns, WHOLE, &mut Both::new(erratic(one), erratic(other)));
            let without = run_with(plan, stream, WHOLE, &mut Fake::new(&PATHS, erratic(one)));
            let same = bytes(&with) == without.bytes && ledger == without.ledger;
            (!same).then(|| format!("{}\nwithout:\n{}", bytes(&with), without.bytes))
        });
    });
}

/// Two judges that say anything.
pub fn both(one: u64, other: u64) -> impl Judge {
    Both::new(erratic(one), erratic(other))
}

/// A version that is tried for a while, and withdrawn or in force in the end.
pub fn any_turns(chance: &mut Chance, stream: &Stream) -> [(usize, Turn); 2] {
    let from = chance.below(stream.items.len() + 1);
    let to = from + chance.below(stream.items.len() + 1 - from);
    let end = if chance.percent(70) { withdraw() } else { Turn::Promote };
    [(from, whole(chance.pick(&[300_000, WHOLE_PPM]))), (to, end)]
}

/// The turns of a stream that may have become shorter.
pub fn within(turns: &[(usize, Turn)], stream: &Stream) -> Vec<(usize, Turn)> {
    turns.iter().map(|(at, turn)| ((*at).min(stream.items.len()), turn.clone())).collect()
}

#[test]
fn a_trial_of_a_suppressor_is_the_same_for_any_division() {
    for_seeds("a_trial_of_a_suppressor", |chance| {
        let plan = any_plan(chance);
        let stream = orderly_stream(chance, &plan);
        let (one, other) = (chance.below(1 << 30) as u64, chance.below(1 << 30) as u64);
        let from = chance.below(stream.items.len() + 1);
        let to = from + chance.below(stream.items.len() + 1 - from);
        let share = chance.pick(&[300_000, WHOLE_PPM]);
        hold(plan, stream, &|plan, stream| {
            let turns = [(from.min(stream.items.len()), whole(share)), (to.min(stream.items.len()), withdraw())];
            let of = |division| run(plan, stream, &turns, division, &mut Both::new(erratic(one), erratic(other)));
            let (whole, ledger) = of(WHOLE);
            let differs = |division: &&Division| {
                let (divided, books) = of(**division);
                bytes(&divided) != bytes(&whole) || books != ledger
            };
            DIVISIONS.iter().find(differs).map(|division| format!("{division:?} differs from\n{}", bytes(&whole)))
        });
    });
}
