//! A score as text.

use std::fmt::Write;

use super::{Report, Row};
use crate::demo::report::Paint;
use crate::summary::grouped;

/// How many misses or false events are listed.
const LISTED_MAX: usize = 8;

/// The report as text.
pub fn text(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out, report, paint);
    out
}

fn write(out: &mut String, report: &Report, paint: Paint) -> std::fmt::Result {
    let by_subject = report.rows.iter().any(|row| row.subject.is_some());
    let what = if by_subject { "subject" } else { "signal type" };
    let width = report.rows.iter().map(|row| name(row).chars().count()).max().unwrap_or(0).clamp(11, 48);
    let head = format!(
        "{what:<width$} {:>7} {:>5} {:>6} {:>5} {:>8} {:>9} {:>6}   delay: half     90 %     most",
        "windows", "hit", "missed", "false", "per day", "precision", "recall"
    );
    writeln!(out, "{}", paint.bold(&head))?;
    for row in &report.rows {
        line(out, row, width, paint)?;
    }
    if report.rows.len() > 1 {
        line(out, &report.total, width, paint)?;
    }
    let total = &report.total;
    writeln!(
        out,
        "\n{} events: {} hit, {} in windows that were hit before, {} false, {} not compared (recoveries and the like)",
        grouped(report.events),
        grouped(total.hit),
        grouped(total.repeated),
        grouped(total.wrong),
        grouped(total.unscored)
    )?;
    let known = if report.signals_told { "" } else { " that the events count (--signals tells how many there were)" };
    let quieter = report.suppression.map_or(String::new(), |part| format!("; {} less to look at", percent(Some(part))));
    writeln!(out, "{} signals{known}{quieter}", grouped(report.signals))?;
    writeln!(out, "{}", paint.dim(&format!("from {} to {}", report.from, report.to)))?;
    list(out, "missed", &report.missed, paint)?;
    list(out, "false", &report.wrong, paint)
}

fn line(out: &mut String, row: &Row, width: usize, paint: Paint) -> std::fmt::Result {
    let missed = paint.judged(row.missed == 0, &format!("{:>6}", grouped(row.missed)));
    let wrong = paint.judged(row.wrong == 0, &format!("{:>5}", grouped(row.wrong)));
    let per_day = row.false_per_day.map_or("-".into(), |per_day| format!("{per_day:.3}"));
    let delay = |us: Option<i64>| us.map_or("-".into(), human);
    writeln!(
        out,
        "{:<width$} {:>7} {:>5} {missed} {wrong} {per_day:>8} {:>9} {:>6}   {:>11} {:>8} {:>8}",
        cut(&name(row), width),
        grouped(row.windows),
        grouped(row.hit),
        percent(row.precision),
        percent(row.recall),
        delay(row.delay.map(|delay| delay.median_us)),
        delay(row.delay.map(|delay| delay.p90_us)),
        delay(row.delay.map(|delay| delay.max_us)),
    )
}

fn list(out: &mut String, what: &str, lines: &[String], paint: Paint) -> std::fmt::Result {
    for line in lines.iter().take(LISTED_MAX) {
        writeln!(out, "{} {line}", paint.judged(false, &format!("{what}:")))?;
    }
    match lines.len().saturating_sub(LISTED_MAX) {
        0 => Ok(()),
        more => writeln!(out, "{what}: and {more} more (--json lists all)"),
    }
}

fn name(row: &Row) -> String {
    row.subject.as_deref().unwrap_or(&row.signal).to_owned()
}

/// The beginning of a text that is too long.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(2)).chain("..".chars()).collect()
}

fn percent(part: Option<f64>) -> String {
    part.map_or("-".into(), |part| format!("{:.1} %", part * 100.0))
}

/// A span of time in its two largest units.
pub fn human(us: i64) -> String {
    const UNITS: [(&str, i64); 5] =
        [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000)];
    if us < 0 {
        return format!("-{}", human(us.saturating_neg()));
    }
    match UNITS.iter().position(|(_, unit_us)| us >= *unit_us) {
        None if us == 0 => "0s".into(),
        None => format!("{us}us"),
        Some(at) => {
            let (unit, unit_us) = UNITS[at];
            let rest = UNITS.get(at + 1).map(|(unit, unit_us2)| (us % unit_us / unit_us2, unit));
            match rest.filter(|(rest, _)| *rest > 0) {
                Some((rest, small)) => format!("{}{unit}{rest}{small}", us / unit_us),
                None => format!("{}{unit}", us / unit_us),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        for (us, text) in [
            (0, "0s"),
            (10, "10us"),
            (999, "999us"),
            (1500, "1ms"),
            (90_000_000, "1m30s"),
            (86_400_000_000, "1d"),
            (-5_000_000, "-5s"),
        ] {
            assert_eq!(human(us), text);
        }
        assert_eq!(cut("a long name", 6), "a lo..");
    }
}
