//! What another configuration, or another version of a rule, would have said of the recorded log.
//!
//! Both distillations run at once and are laid side by side as they come, so that only what is other is kept.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context, Result};
use serde::{Serialize, Serializer};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use crate::config::Config;
use crate::durable::Recorded;
use crate::replay::{Range, replay};
use crate::run::{Options, Unwatched, Watch};

/// Events that have no like on the other side yet are kept up to so many bytes. At the bound the one that waits for
/// longest is taken to have none, which is counted.
const OPEN_BYTES_MAX: usize = 256 << 20;

/// So many differences are kept whole; more are only counted.
const KEPT_MAX: usize = 100_000;

/// So many rounds of what left wait for what would leave; whoever is ahead waits.
const ROUNDS_AHEAD: usize = 16;

/// How an event is other than it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It would not leave.
    NoLonger,
    /// It would leave and did not.
    New,
    /// It would leave earlier.
    Earlier,
    /// It would leave later.
    Later,
    /// It would say something else at the same time.
    Changed,
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// How.
    pub how: How,
    /// The type of the event.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// When what left did, or else what would leave, in microseconds of event time.
    #[serde(skip)]
    pub time_us: i64,
    /// By how much it is earlier or later, in microseconds of event time.
    pub by_us: i64,
    /// What left.
    #[serde(serialize_with = "parsed")]
    pub was: Option<Box<str>>,
    /// What would leave.
    #[serde(serialize_with = "parsed")]
    pub is: Option<Box<str>>,
}

fn parsed<S: Serializer>(line: &Option<Box<str>>, to: S) -> Result<S::Ok, S::Error> {
    line.as_deref().map(value).serialize(to)
}

/// A line that was read before.
fn value(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_default()
}

impl Difference {
    /// What would leave, or else what left.
    pub fn event(&self) -> Value {
        self.is.as_deref().or(self.was.as_deref()).map(value).unwrap_or_default()
    }
}

/// A hash that is the same for events that are the same thing, if at another time: of type, subject, signal type,
/// state, and since when.
fn mark(event: &Value) -> u128 {
    let data = &event["data"];
    let text = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
    let about = if data["candidate"].is_object() { &data["candidate"] } else { data };
    let state = text(&about["to"]) + &text(&data["outcome"]) + &text(&about["window"]) + &text(&about["id"]);
    let of = [text(&event["type"]), text(&event["subject"]), text(&data["signal"]), state, text(&about["since"])];
    xxh3_128(of.join("\0").as_bytes())
}

/// What an event says, without who said it.
fn said(event: &Value) -> Value {
    let mut said = event.clone();
    forget(&mut said);
    if let Some(event) = said.as_object_mut() {
        event.remove("id");
    }
    said
}

fn forget(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // Which versions answered is no difference in what was said.
            for name in ["mapper", "suppressor", "rule", "config", "supersedes"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(forget);
        }
        Value::Array(values) => values.iter_mut().for_each(forget),
        _ => {}
    }
}

fn time_us(event: &Value) -> i64 {
    let time = event["time"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    time.map_or(0, jiff::Timestamp::as_microsecond)
}

/// From which side an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Was,
    Is,
}

/// An event that has no like yet.
#[derive(Debug)]
struct Open {
    side: Side,
    mark: u128,
    line: Box<str>,
}

/// Two distillations of one log, laid side by side.
#[derive(Debug)]
pub struct Diff {
    /// Events that are the same but for the names of rules and configuration.
    pub same: u64,
    /// What is other, in order of time: [`KEPT_MAX`] of them at most.
    pub differences: Vec<Difference>,
    /// How many there are of each type and kind.
    pub counts: BTreeMap<(String, How), u64>,
    /// Events that were taken to have no like because too many waited for theirs.
    pub given_up: u64,
    open: BTreeMap<u64, Open>,
    /// Those of a mark, which are all of one side, by their numbers. Looked up only.
    by_mark: HashMap<u128, VecDeque<u64>>,
    next: u64,
    open_bytes: usize,
    open_bytes_max: usize,
    kept_max: usize,
}

impl Default for Diff {
    fn default() -> Self {
        Self {
            same: 0,
            differences: Vec::new(),
            counts: BTreeMap::new(),
            given_up: 0,
            open: BTreeMap::new(),
            by_mark: HashMap::new(),
            next: 0,
            open_bytes: 0,
            open_bytes_max: OPEN_BYTES_MAX,
            kept_max: KEPT_MAX,
        }
    }
}

impl Diff {
    /// All differences, of which some may not be kept.
    pub fn differing(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Takes in the next event of one side. The first of a mark on one side is the like of the first on the other, and
    /// so on.
    fn take(&mut self, side: Side, line: &[u8]) -> Result<()> {
        let line = str::from_utf8(line).context("an event is not UTF-8")?.trim_ascii_end();
        let event: Value = serde_json::from_str(line).context("an event is not JSON")?;
        let mark = mark(&event);
        let waiting = self.by_mark.entry(mark).or_default();
        match waiting.front().filter(|number| self.open[*number].side != side) {
            Some(&number) => {
                waiting.pop_front();
                let like = self.close(number);
                match side {
                    Side::Is => self.pair((value(&like.line), like.line), (event, line.into())),
                    Side::Was => self.pair((event, line.into()), (value(&like.line), like.line)),
                }
            }
            None => {
                waiting.push_back(self.next);
                self.open_bytes += line.len();
                self.open.insert(self.next, Open { side, mark, line: line.into() });
                self.next += 1;
                while self.open_bytes > self.open_bytes_max && self.open.len() > 1 {
                    self.given_up += 1;
                    self.give_up_oldest();
                }
            }
        }
        Ok(())
    }

    fn close(&mut self, number: u64) -> Open {
        let open = self.open.remove(&number).expect("what is waited for is open");
        if self.by_mark.get(&open.mark).is_some_and(VecDeque::is_empty) {
            self.by_mark.remove(&open.mark);
        }
        self.open_bytes -= open.line.len();
        open
    }

    fn pair(&mut self, (then, was): (Value, Box<str>), (now, is): (Value, Box<str>)) {
        let by_us = time_us(&now) - time_us(&then);
        let how = match by_us {
            0 if said(&then) == said(&now) => return self.same += 1,
            0 => How::Changed,
            ..0 => How::Earlier,
            _ => How::Later,
        };
        self.note(how, &now, time_us(&then), by_us, [Some(was), Some(is)]);
    }

    /// The event that waits for longest has no like.
    fn give_up_oldest(&mut self) {
        let Some((&number, oldest)) = self.open.first_key_value() else { return };
        if let Some(waiting) = self.by_mark.get_mut(&oldest.mark) {
            waiting.pop_front();
        }
        let Open { side, line, .. } = self.close(number);
        let event = value(&line);
        let (how, lines) = match side {
            Side::Was => (How::NoLonger, [Some(line), None]),
            Side::Is => (How::New, [None, Some(line)]),
        };
        self.note(how, &event, time_us(&event), 0, lines);
    }

    fn note(&mut self, how: How, event: &Value, time_us: i64, by_us: i64, [was, is]: [Option<Box<str>>; 2]) {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let (kind, subject) = (text("type"), text("subject"));
        *self.counts.entry((kind.clone(), how)).or_default() += 1;
        if self.differences.len() < self.kept_max {
            self.differences.push(Difference { how, kind, subject, time_us, by_us, was, is });
        }
    }

    /// Nothing more comes: what is open has no like.
    fn end(&mut self) {
        while !self.open.is_empty() {
            self.give_up_oldest();
        }
        let at = |it: &Difference| (it.time_us, it.subject.clone(), it.kind.clone(), it.how);
        self.differences.sort_by_cached_key(at);
    }
}

/// Lays what `config` would have said of a log beside what was said.
///
/// # Errors
/// As [`replay`].
pub fn diff(config: &Config, recorded: &Recorded, options: &Options, watch: &mut dyn Watch) -> Result<Diff> {
    let half = Options { threads: options.threads.div_ceil(2), ..options.clone() };
    let (to, from) = sync_channel(ROUNDS_AHEAD);
    std::thread::scope(|scope| {
        let then = scope.spawn(|| replay(None, recorded, Range::default(), &mut Handed(to), &half, &mut Unwatched));
        let mut beside = Beside { diff: Diff::default(), was: Lines { from, lines: Vec::new(), at: 0 } };
        let now = replay(Some(config), recorded, Range::default(), &mut beside, &half, watch);
        // Who hands lines over ends when nobody takes them any more.
        let diff = now.and_then(|_| beside.end());
        let then = then.join().map_err(|_| anyhow::anyhow!("the log could not be distilled as it was"))?;
        let diff = diff?;
        then.map(|_| diff)
    })
}

/// Hands lines to another thread.
struct Handed(SyncSender<Vec<u8>>);

impl Write for Handed {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.send(lines.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines as another thread hands them over.
struct Lines {
    from: Receiver<Vec<u8>>,
    lines: Vec<u8>,
    at: usize,
}

impl Lines {
    fn next(&mut self) -> Option<&[u8]> {
        while self.at == self.lines.len() {
            self.lines = self.from.recv().ok()?;
            self.at = 0;
        }
        let rest = &self.lines[self.at..];
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        self.at += length;
        Some(&rest[..length])
    }
}

/// Takes in what would leave, and for each event one that left.
struct Beside {
    diff: Diff,
    was: Lines,
}

impl Beside {
    fn end(mut self) -> Result<Diff> {
        while let Some(was) = self.was.next() {
            self.diff.take(Side::Was, was)?;
        }
        self.diff.end();
        Ok(self.diff)
    }
}

impl Write for Beside {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            if let Some(was) = self.was.next() {
                self.diff.take(Side::Was, was).map_err(io::Error::other)?;
            }
            self.diff.take(Side::Is, line).map_err(io::Error::other)?;
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(second: u32, subject: &str, state: &str, since: u32, config: &str) -> String {
        format!(
            r#"{{"id":"{second}{subject}","type":"t","subject":"{subject}","time":"2026-01-01T00:00:{second:02}Z","data":{{"to":{{"state":"{state}"}},"since":"{since}","provenance":{{"config":"{config}"}}}}}}"#
        )
    }

    /// Both sides: so many that were, then one that is, and so on.
    fn laid(mut diff: Diff, was: &[String], is: &[String], turns: usize) -> Diff {
        let (mut was, mut is) = (was.iter().peekable(), is.iter().peekable());
        while was.peek().is_some() || is.peek().is_some() {
            was.by_ref().take(turns).for_each(|line| diff.take(Side::Was, line.as_bytes()).unwrap());
            is.by_ref().take(1).for_each(|line| diff.take(Side::Is, line.as_bytes()).unwrap());
        }
        diff.end();
        diff
    }

    fn told(diff: &Diff) -> Vec<(How, &str, i64)> {
        diff.differences.iter().map(|it| (it.how, it.subject.as_str(), it.by_us)).collect()
    }

    fn both() -> [Vec<String>; 2] {
        let was = [(1, "a", 0), (2, "b", 1), (3, "c", 2), (6, "e", 3), (7, "e", 3)];
        let is = [(1, "a", 0), (4, "d", 3), (5, "b", 1), (6, "e", 3), (6, "e", 3)];
        let of = |of: [(u32, &str, u32); 5], config| {
            of.map(|(second, subject, since)| event(second, subject, "down", since, config)).to_vec()
        };
        [of(was, "x"), of(is, "y")]
    }

    #[test]
    fn what_is_other_is_told_by_how_whoever_comes_first() {
        let [was, is] = both();
        let expected = [
            (How::Later, "b", 3_000_000),
            (How::NoLonger, "c", 0),
            (How::New, "d", 0),
            (How::Earlier, "e", -1_000_000),
        ];
        let mut is_first = Diff::default();
        is.iter().for_each(|line| is_first.take(Side::Is, line.as_bytes()).unwrap());
        let mut orders = vec![laid(is_first, &was, &[], 1)];
        orders.extend([1, 2, 9].map(|turns| laid(Diff::default(), &was, &is, turns)));
        for diff in orders {
            assert_eq!((told(&diff), diff.same, diff.differing()), (expected.to_vec(), 2, 4));
            assert!(diff.open.is_empty() && diff.by_mark.is_empty() && diff.open_bytes == 0);
        }
    }

    #[test]
    fn at_the_bounds_what_waits_is_given_up_and_what_is_other_is_counted() {
        let [was, is] = both();
        let length = was[0].len();
        let diff = Diff { open_bytes_max: 2 * length, kept_max: 3, ..Diff::default() };
        let mut diff = laid(diff, &was, &[], 9);
        assert_eq!((diff.given_up, diff.differing(), diff.differences.len()), (3, 5, 3));
        for line in &is {
            diff.take(Side::Is, line.as_bytes()).unwrap();
            assert!(diff.open_bytes <= 2 * length);
        }
        diff.end();
        assert_eq!((diff.given_up, diff.differing(), diff.same), (6, 10, 0));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for line in [b"{".as_slice(), b"\xff"] {
            assert!(Diff::default().take(Side::Was, line).is_err());
        }
    }
}
