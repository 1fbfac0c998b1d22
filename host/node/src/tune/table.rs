//! What a grid came to, as text, and as configuration to paste.

use std::fmt::Write;

use super::Measured;
use super::grid::{Flapping, Point};
use crate::demo::report::Paint;
use crate::score::table::human;
use crate::summary::grouped;

/// What the columns mean.
pub const LEGEND: &str = concat!(
    "  problems: those told, of those that are told when nothing is held; blips: states that did not last\n",
    "  raise, clear: how long the median problem and recovery had lasted when they were told\n",
    "  listed are the points that no other beats in delay (both holds) and noise, and what is configured\n",
);

/// The points of one signal type that are worth a look.
#[derive(Debug)]
pub struct Choice<'a> {
    /// The signal type.
    pub name: &'a str,
    /// All points.
    pub measured: &'a [Measured],
    /// The Pareto front.
    pub front: &'a [usize],
    /// What is suggested.
    pub knee: Option<usize>,
    /// What is configured.
    pub configured: Point,
}

impl Choice<'_> {
    /// The front, and what is configured.
    pub fn table(&self, paint: Paint) -> String {
        let truth = self.measured.iter().any(|measured| measured.against.is_some());
        let against = if truth { "   hit  missed  false     F1" } else { "" };
        let mut out = format!(
            "{}: {} points, {} of them on the front\n",
            paint.bold(self.name),
            self.measured.len(),
            self.front.len()
        );
        let head = format!(
            "  {:>9} {:>9} {:>10} {:>9} {:>10} {:>9} {:>6} {:>8} {:>7} {:>7}{against}",
            "hold_down", "hold_open", "flapping", "events", "a day", "problems", "flaps", "blips", "raise", "clear"
        );
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}", paint.bold(&head));
        for at in self.shown() {
            let row = format!("{}  {}", line(&self.measured[at]), self.marks(at));
            let row = row.trim_end();
            let _ = writeln!(out, "{}", if self.knee == Some(at) { paint.bold(row) } else { row.to_owned() });
        }
        out
    }

    /// The place of what is configured.
    pub fn configured_at(&self) -> Option<usize> {
        self.measured.iter().position(|measured| measured.point == self.configured)
    }

    fn shown(&self) -> Vec<usize> {
        let mut shown = self.front.to_vec();
        shown.extend(self.configured_at());
        shown.sort_by_key(|&at| (self.measured[at].delay_us(), at));
        shown.dedup();
        shown
    }

    fn marks(&self, at: usize) -> String {
        let mut marks = Vec::new();
        marks.extend((self.knee == Some(at)).then_some("suggested"));
        marks.extend((self.configured_at() == Some(at)).then_some("configured"));
        marks.extend((!self.front.contains(&at)).then_some("another is no worse"));
        marks.join(", ")
    }

    /// The suggestion as configuration. Keys that are there already are to be replaced.
    pub fn snippet(&self) -> Option<String> {
        let point = &self.measured[self.knee?].point;
        let name = toml::Value::String(self.name.to_owned());
        let (down, open) = (exact(point.hold_down_us), exact(point.hold_open_us));
        let holds = format!("[signal.{name}]\nhold_down = \"{down}\"\nhold_open = \"{open}\"\n");
        Some(match point.flapping {
            Flapping::Configured | Flapping::Off => holds,
            Flapping::Thresholds(high, low) => {
                format!("{holds}\n[signal.{name}.flapping]\nhigh = {high}\nlow = {low}\n")
            }
        })
    }
}

fn line(measured: &Measured) -> String {
    let Measured { point, against, .. } = measured;
    let told = measured.told.map_or("-".into(), |told| format!("{:.1} %", told * 100.0));
    let against = against.map_or(String::new(), |against| {
        format!(" {:>5} {:>7} {:>6} {:>6.3}", against.hit, against.missed, against.wrong, against.f1())
    });
    format!(
        "  {:>9} {:>9} {:>10} {:>9} {:>10.2} {told:>9} {:>6} {:>8} {:>7} {:>7}{against}",
        human(point.hold_down_us),
        human(point.hold_open_us),
        flapping(point.flapping),
        grouped(measured.events),
        measured.per_day,
        grouped(measured.flaps),
        grouped(measured.blips),
        human(measured.raise_us),
        human(measured.clear_us),
    )
}

fn flapping(flapping: Flapping) -> String {
    match flapping {
        Flapping::Configured => "as it is".into(),
        Flapping::Off => "off".into(),
        Flapping::Thresholds(high, low) => format!("{high}/{low}"),
    }
}

/// A duration as configurations write it: exact.
fn exact(us: i64) -> String {
    const UNITS: [(&str, i64); 6] =
        [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000), ("us", 1)];
    let unit = UNITS.iter().find(|(_, unit_us)| us != 0 && us % unit_us == 0);
    unit.map_or("0s".into(), |(unit, unit_us)| format!("{}{unit}", us / unit_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact() {
        for (us, text) in [(0, "0s"), (10, "10us"), (90_000_000, "90s"), (7_200_000_000, "2h"), (1500, "1500us")] {
            assert_eq!(exact(us), text);
            assert_eq!(text.parse(), Ok(crate::config::duration::Duration(us)));
        }
    }
}
