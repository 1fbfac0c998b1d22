//! Elections: three members of each group say who leads, and each learns of a change in its own
//! time. Elections that come to nothing, a storm of them, a lasting change, and a lost quorum.

use std::sync::Arc;

use super::chance::Chance;
use super::day::{BEGIN_US, Day, END_US, Known, LAST_US, MINUTE_US, SECOND_US, Said, Topic, at};
use crate::summary::grouped;

const GROUPS: [&str; 8] = [
    "etcd/main",
    "billing/scheduler",
    "orders/queue",
    "kafka/controller",
    "vault/core",
    "jobs/cron",
    "lock/service",
    "index/writer",
];
const MEMBERS: usize = 3;
const EVERY_US: i64 = 20 * SECOND_US;
/// How much later than another a member learns of a change.
const LAG_MAX_US: i64 = 2 * SECOND_US;
/// `hold_down` and `hold_open` of the configuration.
const HOLD_US: i64 = 10 * SECOND_US;

/// Who leads from a time on: the number of a member, or nobody.
type Reign = (i64, Option<usize>);

pub(super) fn make(day: &mut Day, chance: &mut Chance) {
    let [handed, stormy, headless] = chance.different(3, GROUPS.len())[..] else { return };
    let (mut elections, mut minutes) = (0, 0);
    for (index, group) in GROUPS.iter().enumerate() {
        let key: Arc<str> = (*group).into();
        let first = chance.below(MEMBERS);
        let mut reigns: Vec<Reign> = vec![(BEGIN_US - MINUTE_US, Some(first))];
        let known = |state, leader: usize, from_us| (state, worker(leader), from_us);
        let mut told = Vec::new();
        let story = if index == handed {
            let next = (first + 1) % MEMBERS;
            let from_us = at(9, 0) + chance.between(0, 30) * MINUTE_US;
            let end_us = storm(chance, &mut reigns, from_us, 45);
            reigns.push((end_us, Some(next)));
            told.push(known("led", next, end_us));
            "a leader for good after many elections"
        } else if index == stormy {
            let from_us = at(10, 0) + chance.between(0, 30) * MINUTE_US;
            let end_us = storm(chance, &mut reigns, from_us, 120);
            reigns.push((end_us, Some(first)));
            ""
        } else if index == headless {
            let from_us = at(11, 0) + chance.between(0, 20) * MINUTE_US;
            let to_us = from_us + chance.between(120, 300) * SECOND_US;
            minutes = (to_us - from_us) / MINUTE_US;
            reigns.extend([(from_us, None), (to_us, Some(first))]);
            told.extend([known("leaderless", first, from_us), known("led", first, to_us)]);
            "a lost quorum"
        } else {
            ""
        };
        for (state, leader, from_us) in told {
            day.truth(Known {
                story,
                topic: Topic::Leader,
                key: &key,
                state,
                value: (state == "led").then_some(&*leader),
                from_us,
                shown_us: LAG_MAX_US,
                hold_us: HOLD_US,
            });
        }
        hiccups(chance, &mut reigns);
        elections += reigns.len() as u64 - 1;
        report(day, chance, &key, &reigns);
    }
    let story = format!(
        "{} elections; {} moves; {} has no leader for {minutes} min",
        grouped(elections),
        GROUPS[handed],
        GROUPS[headless]
    );
    day.stories.insert(Topic::Leader, story);
}

fn worker(number: usize) -> String {
    format!("worker-{}", number + 1)
}

/// Nobody leads for long, and at last nobody does; when it ends.
fn storm(chance: &mut Chance, reigns: &mut Vec<Reign>, from_us: i64, seconds: i64) -> i64 {
    let mut time_us = from_us;
    // Each differs from the one before: `MEMBERS` stands for nobody.
    let mut leader = MEMBERS;
    while time_us < from_us + seconds * SECOND_US {
        leader = (leader + 1 + chance.below(MEMBERS)) % (MEMBERS + 1);
        reigns.push((time_us, (leader < MEMBERS).then_some(leader)));
        time_us += chance.between(800, 3000) * 1000;
    }
    reigns.push((time_us, None));
    time_us + SECOND_US
}

/// Short losses of the leader, away from what is told.
fn hiccups(chance: &mut Chance, reigns: &mut Vec<Reign>) {
    let known = reigns.clone();
    let mut time_us = BEGIN_US + 2 * MINUTE_US;
    loop {
        time_us += chance.between(30, 400) * SECOND_US;
        if time_us > LAST_US {
            break;
        }
        let near = known.iter().any(|(changed_us, _)| (changed_us - time_us).abs() < MINUTE_US);
        let leads = known.iter().rev().find(|(from_us, _)| *from_us <= time_us).and_then(|(_, leader)| *leader);
        if let Some(leader) = leads.filter(|_| !near) {
            reigns.extend([(time_us, None), (time_us + chance.between(500, 2000) * 1000, Some(leader))]);
        }
    }
    reigns.sort_unstable_by_key(|(from_us, _)| *from_us);
}

/// Each member tells every change when it learns of it, and from time to time how things stand.
fn report(day: &mut Day, chance: &mut Chance, key: &Arc<str>, reigns: &[Reign]) {
    for member in 0..MEMBERS {
        let source: Arc<str> = format!("/raft/{}", worker(member)).into();
        let mut view: Vec<Reign> = Vec::new();
        for (from_us, leader) in reigns {
            let learns_us = from_us + chance.between(0, LAG_MAX_US / 1000) * 1000;
            let last_us = view.last().map_or(i64::MIN, |(before_us, _)| *before_us);
            view.push((learns_us.max(last_us), *leader));
        }
        for (time_us, leader) in view.iter().skip(1) {
            say(day, &source, key, *time_us, *leader);
        }
        let mut time_us = BEGIN_US + chance.between(0, 19_999) * 1000;
        while time_us < END_US {
            let stands = view.iter().rev().find(|(from_us, _)| *from_us <= time_us).and_then(|(_, leader)| *leader);
            say(day, &source, key, time_us, stands);
            time_us += EVERY_US;
        }
    }
}

fn say(day: &mut Day, source: &Arc<str>, key: &Arc<str>, time_us: i64, leader: Option<usize>) {
    let (state, level) = (leader.map_or(0, |leader| leader as u32 + 1), if leader.is_some() { 0.0 } else { 1.0 });
    match leader {
        Some(leader) => {
            let data = format_args!(r#"{{"event":"elected","leader":"worker-{}"}}"#, leader + 1);
            day.say(Topic::Leader, source, key, time_us, &Said { state, level, data });
        }
        None => {
            let data = format_args!(r#"{{"event":"lost"}}"#);
            day.say(Topic::Leader, source, key, time_us, &Said { state, level, data });
        }
    }
}
