//! What the demo shows: raw beside distilled, and both beside the truth.

use std::fmt::Write;

use serde_json::Value;

use super::Files;
use super::day::{Day, Raw, Topic};
use super::truth::{Row, Score};
use super::{event_view, picture};
use crate::summary::{Summary, grouped};

/// How many misses or false events are listed.
const LISTED_MAX: usize = 8;

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Paint(
    /// Whether the output is a terminal that wants colour.
    pub bool,
);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Bold.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// Dim.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// Green if it is as it should be, else red.
    pub fn judged(self, good: bool, text: &str) -> String {
        self.with(if good { "32" } else { "1;31" }, text)
    }
}

/// All that a report is about.
#[derive(Debug)]
pub struct Report<'a> {
    /// The seed.
    pub seed: u64,
    /// The day.
    pub day: &'a Day,
    /// What came out.
    pub events: &'a [Value],
    /// How well it tells the truth.
    pub score: &'a Score,
    /// What the run came to.
    pub summary: &'a Summary,
    /// Where its files lie.
    pub files: &'a Files,
    /// Whether files of an earlier demo were overwritten.
    pub overwritten: bool,
}

impl Report<'_> {
    /// The report as text, at most 80 columns wide.
    pub fn text(&self, paint: Paint) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out, paint);
        out
    }

    fn write(&self, out: &mut String, paint: Paint) -> std::fmt::Result {
        let title = format!("A made-up day of trouble (2026-03-02, 08:00 to 12:00, seed {})", self.seed);
        writeln!(out, "{}", paint.bold(&title))?;
        self.table(out, paint)?;
        self.totals(out, paint)?;
        writeln!(out, "\n{}", paint.bold("Raw beside distilled"))?;
        for scene in &self.day.scenes {
            let [caption, raw, distilled, times] = picture::lines(scene, self.day, self.events);
            writeln!(out, "{caption}\n{raw}\n{distilled}\n{}", paint.dim(&times))?;
        }
        if let Some(event) = self.event() {
            writeln!(out, "\n{}", paint.bold("One distilled event (digests are cut here)"))?;
            for line in event_view::lines(event) {
                match line.split_once(" # ") {
                    Some((json, remark)) => writeln!(out, "{json} {}", paint.dim(&format!("# {remark}")))?,
                    None => writeln!(out, "{line}")?,
                }
            }
        }
        self.way_on(out, paint)
    }

    fn table(&self, out: &mut String, paint: Paint) -> std::fmt::Result {
        let head = format!(
            "{:<14} {:>9} {:>9} {:>10} {:>8} {:>7} {:>7} {:>6}",
            "signal type", "signals", "changes", "distilled", "quieter", "found", "missed", "false"
        );
        writeln!(out, "{}", paint.bold(&head))?;
        let raw = self.day.raw();
        let mut sum = Raw::default();
        for topic in Topic::ALL {
            let of_topic = raw.get(&topic).copied().unwrap_or_default();
            sum = Raw { signals: sum.signals + of_topic.signals, changes: sum.changes + of_topic.changes };
            row(out, paint, topic.name(), of_topic, self.score.row(topic))?;
            let story = self.day.stories.get(&topic).map_or("", |story| story);
            writeln!(out, "{}", paint.dim(&format!("  {story}")))?;
        }
        row(out, paint, "all", sum, self.score.total())?;
        let note = "  changes: what an alert on each change of the raw state would have sent";
        writeln!(out, "{}", paint.dim(note))
    }

    fn totals(&self, out: &mut String, paint: Paint) -> std::fmt::Result {
        let ledger = &self.summary.ledger;
        let seconds = self.summary.took.as_secs_f64();
        let rate = grouped((ledger.received as f64 / seconds.max(1e-6)) as u64);
        let balance = match ledger.balances() {
            true => "every one is accounted for".to_owned(),
            false => paint.judged(false, "SIGNALS ARE UNACCOUNTED FOR: please report this"),
        };
        writeln!(out, "\n{} signals in {seconds:.2} s ({rate} a second); {balance}", grouped(ledger.received))?;
        let score = self.score;
        writeln!(
            out,
            "{} sent twice, {} too late, {} unreadable; {} held back by maintenance",
            ledger.merged_id, score.late, score.dead, score.held
        )?;
        let listed = |out: &mut String, what: &str, list: &[String]| {
            list.iter()
                .take(LISTED_MAX)
                .try_for_each(|line| writeln!(out, "{} {line}", paint.judged(false, &format!("{what}:"))))
        };
        listed(out, "missed", &score.missed)?;
        listed(out, "false", &score.wrong)
    }

    /// The event that is shown in full: the first that tells of a problem in the first scene.
    fn event(&self) -> Option<&Value> {
        let scene = self.day.scenes.first()?;
        self.events.iter().find(|event| event["subject"] == *scene.key && event["data"]["to"]["state"] == "failing")
    }

    fn way_on(&self, out: &mut String, paint: Paint) -> std::fmt::Result {
        let overwritten = if self.overwritten { " (over those of an earlier demo)" } else { "" };
        let files = self.files;
        let folder = files.configuration.parent().unwrap_or("".as_ref());
        writeln!(out, "\n{} {}{overwritten}", paint.bold("Files in"), folder.display())?;
        writeln!(out, "  stillhouse.toml, signals.jsonl, truth.jsonl (what must come out), events.jsonl")?;
        let (configuration, signals) = (files.configuration.display(), files.signals.display());
        writeln!(out, "{}", paint.bold("Next: change a hold_down in the configuration, then"))?;
        writeln!(out, "  stillhouse run -c {configuration} \\\n    --input {signals}")
    }
}

fn row(out: &mut String, paint: Paint, name: &str, raw: Raw, row: Row) -> std::fmt::Result {
    let quieter = 100.0 * (1.0 - row.distilled as f64 / raw.changes.max(1) as f64);
    writeln!(
        out,
        "{} {:>9} {:>9} {:>10} {:>8} {} {} {}",
        paint.bold(&format!("{name:<14}")),
        grouped(raw.signals),
        grouped(raw.changes),
        grouped(row.distilled),
        format!("{quieter:.1} %"),
        paint.judged(row.missed == 0, &format!("{:>7}", row.found)),
        paint.judged(row.missed == 0, &format!("{:>7}", row.missed)),
        paint.judged(row.wrong == 0, &format!("{:>6}", row.wrong)),
    )
}
