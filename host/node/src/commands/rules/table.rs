//! What a host answers, as text.

use std::fmt::Write;

use stillhouse::demo::report::Paint;
use stillhouse::summary::grouped;
use stillhouse_control::server::{DoneAnswer, StatusAnswer};
use stillhouse_control::slots::{Candidate, Difference, Kind, Past, Slot, Stage, Version};

/// A text without characters that a terminal would act on: what a signal or a person wrote is shown,
/// not obeyed.
pub fn plain(text: &str) -> String {
    let shown = |letter: char| {
        let hidden = matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        letter.is_control() || hidden
    };
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if shown(letter) { out.extend(letter.escape_default()) } else { out.push(letter) }
    }
    out
}

/// Rows of cells, each column as wide as its widest; nothing follows the last one of a row.
pub fn columns(head: &[&str], rows: &[Vec<String>], paint: Paint) -> String {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.chain([head[at].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut out = format!("{}\n", paint.bold(&line(&mut head.iter().copied())));
    for row in rows {
        out.push_str(&line(&mut row.iter().map(String::as_str)));
        out.push('\n');
    }
    out
}

/// All slots, and where the host is.
pub fn status(answer: &StatusAnswer, paint: Paint) -> String {
    let status = &answer.status;
    let time = status.event_time.as_deref().map_or(String::new(), |time| format!(", event time {}", plain(time)));
    let mut out = format!("{}, {} signals{time}\n\n", plain(&status.program), grouped(status.position));
    out.push_str(&slots(&status.slots, paint));
    let audit = format!("\naudit trail: {} records, head {}\n", grouped(answer.audit.records), answer.audit.hash);
    out.push_str(&paint.dim(&audit));
    out
}

/// Slots, one a line, and what was refused last.
pub fn slots(slots: &[Slot], paint: Paint) -> String {
    let head = ["slot", "stable", "candidate", "stage", "share", "samples", "differing", "held"];
    let mut out = columns(&head, &slots.iter().map(row).collect::<Vec<_>>(), paint);
    for slot in slots {
        if let Some(refusal) = &slot.last_refusal {
            let version = refusal.version.as_ref().map_or("a version".into(), |version| plain(&version.to_string()));
            let line = format!(
                "\n{} {}: {version} was refused at {}: {}\n",
                plain(&slot.signal),
                slot.kind,
                plain(&refusal.stage),
                plain(&refusal.why)
            );
            out.push_str(&line);
        }
    }
    out
}

fn row(slot: &Slot) -> Vec<String> {
    let mut row = vec![format!("{} {}", plain(&slot.signal), slot.kind), version(&slot.stable)];
    match &slot.candidate {
        None => row.push("-".into()),
        Some(candidate) => {
            row.push(version(&candidate.version));
            row.push(candidate.stage.name().into());
            row.push(if candidate.stage == Stage::Canary {
                format!("{} %", candidate.share_percent)
            } else {
                "-".into()
            });
            row.push(format!("{} of {}", grouped(candidate.samples), grouped(candidate.samples_needed)));
            row.push(differing(candidate));
            row.push(candidate.held.as_deref().map_or("-".into(), plain));
        }
    }
    row
}

fn version(version: &Version) -> String {
    let digest = version.digest.get(..8).unwrap_or(&version.digest);
    plain(&format!("{} {} {digest}", version.name, version.version))
}

fn differing(candidate: &Candidate) -> String {
    let evidence = &candidate.evidence;
    let differing: u64 = evidence.differing.values().sum();
    if differing == 0 || evidence.rows == 0 {
        return grouped(differing);
    }
    let percent = 100.0 * differing as f64 / evidence.rows as f64;
    format!("{} ({percent:.2} %)", grouped(differing))
}

/// What came of a change.
pub fn done(done: &str, signal: &str, kind: Kind, answer: &DoneAnswer) -> String {
    let version = answer.version.as_ref().map_or(String::new(), |version| format!(" {version}"));
    format!(
        "{} {kind}: {done}{}: {}\nat position {}, audit record {}\n",
        plain(signal),
        plain(&version),
        plain(&answer.told),
        grouped(answer.position),
        grouped(answer.audit)
    )
}

/// Samples of differences, old answer over new.
pub fn differences(signal: &str, kind: Kind, differences: &[Difference], paint: Paint) -> String {
    if differences.is_empty() {
        return format!("{} {kind}: no differences were seen\n", plain(signal));
    }
    let mut out = String::new();
    for difference in differences {
        let time = difference.time.as_deref().map_or(String::new(), |time| format!("  {}", plain(time)));
        let head = format!("{}  {}{time}", plain(&difference.key), plain(&difference.kind));
        let _ = writeln!(out, "{}  position {}", paint.bold(&head), grouped(difference.position));
        let _ = writeln!(out, "  signal  {}", plain(&difference.signal));
        let _ = writeln!(out, "  old     {}", plain(&difference.old));
        let _ = writeln!(out, "  new     {}\n", plain(&difference.new));
    }
    let shown = if differences.len() == 1 { "sample" } else { "samples" };
    let _ = writeln!(out, "{} {shown} of {} {kind}", differences.len(), plain(signal));
    out
}

/// The history of a slot.
pub fn history(signal: &str, kind: Kind, history: &[Past], paint: Paint) -> String {
    if history.is_empty() {
        return format!("{} {kind}: nothing has happened yet\n", plain(signal));
    }
    let row = |past: &Past| {
        vec![
            grouped(past.position),
            past.time.as_deref().map_or("-".into(), plain),
            plain(&past.what),
            past.version.as_ref().map_or("-".into(), version),
            plain(&past.by),
            plain(&past.why),
        ]
    };
    let head = ["position", "event time", "what", "version", "by", "why"];
    columns(&head, &history.iter().map(row).collect::<Vec<_>>(), paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_shown_and_not_obeyed() {
        assert_eq!(plain("é\u{1b}[2J\n\u{202e}x"), "é\\u{1b}[2J\\n\\u{202e}x");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest() {
        let rows = [vec!["a".into(), "bb".into()], vec!["ccc".into(), "d".into()], vec!["é".into()]];
        assert_eq!(columns(&["x", "y"], &rows, Paint(false)), "x    y\na    bb\nccc  d\né\n");
    }
}
