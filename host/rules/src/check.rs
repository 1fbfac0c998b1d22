//! Whether an answer is sound. As a whole (lengths, offsets, UTF-8), or the
//! call has failed; then row by row (codes, sizes), or that row has failed.

use stillhouse_core::columns::{Blobs, Observations, Reasons, TextColumn, Verdicts, outcome, verdict};
use stillhouse_core::rule::MemoPlan;

use crate::batch::text_from_guest;
use crate::bindings::{columns, mapper_rule, suppressor_rule};
use crate::failure::{Failure, FailureKind};
use crate::instance::RowFailure;
use crate::limits::{Limits, grouped};

/// The highest severity: critical.
pub(crate) const SEVERITY_MAX: u8 = 3;

/// Checks a mapper's answer for `rows` rows. Rows that fail are marked in the
/// answer and added to `failures`.
///
/// # Errors
/// Where the columns as a whole are not sound.
pub(crate) fn observations(
    raw: mapper_rule::Observations,
    rows: usize,
    states: usize,
    limits: &Limits,
    failures: &mut Vec<RowFailure>,
) -> Result<Observations, Failure> {
    length("outcome", raw.outcome.len(), rows)?;
    length("state", raw.state.len(), rows)?;
    length("severity", raw.severity.len(), rows)?;
    let key = text("key", raw.key, rows)?;
    let value = optional_text("value", raw.value, rows)?;
    let reason = reasons(raw.reason, rows, limits)?;
    let given = reasons_given(&reason);
    let mut out = Observations { outcome: raw.outcome, state: raw.state, severity: raw.severity, key, value, reason };
    for row in 0..rows {
        let wrong = match out.outcome[row] {
            outcome::OBSERVED => match wrong_observation(&out, row, states, limits) {
                None => continue,
                wrong => wrong,
            },
            outcome::DROPPED | outcome::REJECTED => wrong_reason(&out.reason, given, row, limits),
            other => Some(format!("outcome {other}, expected 0 to 2")),
        };
        // What only an observed row has is not read; it must not differ either.
        out.state[row] = 0;
        out.severity[row] = 0;
        if let Some(why) = wrong {
            out.outcome[row] = outcome::FAILED;
            fail_row(&mut out.reason, rows, row, why, failures);
        }
    }
    tidy_codes(&mut out.reason);
    Ok(out)
}

#[inline]
fn wrong_observation(out: &Observations, row: usize, states: usize, limits: &Limits) -> Option<String> {
    let state = out.state[row];
    let severity = out.severity[row];
    let key = span(&out.key, row);
    let value = if out.value.is_empty() { 0 } else { span(&out.value, row) };
    let sound = usize::from(state) < states
        && severity <= SEVERITY_MAX
        && (1..=limits.key_bytes_max).contains(&key)
        && value <= limits.value_bytes_max;
    if sound {
        return None;
    }
    Some(if usize::from(state) >= states {
        format!("state code {state}, but {states} states are declared")
    } else if severity > SEVERITY_MAX {
        format!("severity {severity}, expected 0 to {SEVERITY_MAX}")
    } else if key == 0 {
        "the key is empty".to_owned()
    } else if key > limits.key_bytes_max {
        format!("a key of {} bytes, limit {}", grouped(key as u64), grouped(limits.key_bytes_max as u64))
    } else {
        let limit = grouped(limits.value_bytes_max as u64);
        format!("a value of {} bytes, limit {limit}", grouped(value as u64))
    })
}

/// Checks a suppressor's answer; as [`observations`]. The answer has a memo for each row where the
/// rule keeps one: that of a row that fails is the one that it had before, as `memos` has it.
///
/// # Errors
/// Where the columns as a whole are not sound.
pub(crate) fn verdicts(
    raw: suppressor_rule::Verdicts,
    rows: usize,
    memos: &columns::Blobs,
    plan: Option<&MemoPlan>,
    limits: &Limits,
    failures: &mut Vec<RowFailure>,
) -> Result<Verdicts, Failure> {
    let known = failures.len();
    length("verdict", raw.verdict.len(), rows)?;
    length("until", raw.until.len(), rows)?;
    length("severity", raw.severity.len(), rows)?;
    let reason = reasons(raw.reason, rows, limits)?;
    let given = reasons_given(&reason);
    let memo = blobs(raw.memo, rows, memos, plan)?;
    let memo_bytes_max = plan.map_or(0, |plan| plan.bytes_max as usize);
    let mut out = Verdicts { verdict: raw.verdict, until_us: raw.until, severity: raw.severity, reason, memo };
    for row in 0..rows {
        let code = out.verdict[row];
        let wrong = match code {
            verdict::EMIT => None,
            verdict::SUPPRESS | verdict::DELAY if out.until_us[row] < 0 => {
                Some(format!("until {}, expected 0 or a time after 1970", out.until_us[row]))
            }
            verdict::ESCALATE if out.severity[row] > SEVERITY_MAX => {
                Some(format!("severity {}, expected 0 to {SEVERITY_MAX}", out.severity[row]))
            }
            verdict::SUPPRESS | verdict::DELAY | verdict::ESCALATE => wrong_reason(&out.reason, given, row, limits)
                .or_else(|| {
                    let none = out.reason.get(row).is_empty();
                    none.then(|| format!("verdict {code} without a reason"))
                }),
            other => Some(format!("verdict {other}, expected 0 to 3")),
        };
        let wrong = wrong.or_else(|| wrong_memo(&out.memo, memos, row, memo_bytes_max));
        let failed = wrong.is_some();
        if failed || !matches!(code, verdict::SUPPRESS | verdict::DELAY) {
            out.until_us[row] = 0;
        }
        if failed || code != verdict::ESCALATE {
            out.severity[row] = 0;
        }
        if let Some(why) = wrong {
            out.verdict[row] = verdict::FAILED;
            fail_row(&mut out.reason, rows, row, why, failures);
        }
    }
    tidy_codes(&mut out.reason);
    if plan.is_some() && failures.len() > known {
        keep_memos_of_failed(&mut out, memos);
    }
    Ok(out)
}

/// A memo that an earlier version left may be longer than this one's, and stay.
fn wrong_memo(memo: &Blobs, before: &columns::Blobs, row: usize, limit: usize) -> Option<String> {
    let bytes = memo.get(row);
    let wrong = bytes.len() > limit && bytes != blob(before, row);
    wrong.then(|| format!("a memo of {} bytes, limit {}", grouped(bytes.len() as u64), grouped(limit as u64)))
}

fn keep_memos_of_failed(out: &mut Verdicts, before: &columns::Blobs) {
    let answered = std::mem::take(&mut out.memo);
    for (row, &code) in out.verdict.iter().enumerate() {
        out.memo.push(if code == verdict::FAILED { blob(before, row) } else { answered.get(row) });
    }
}

/// The bytes of a row of memos that the host made itself.
fn blob(blobs: &columns::Blobs, row: usize) -> &[u8] {
    match blobs.offsets.get(row..row + 2) {
        Some(&[start, end]) => &blobs.data[start as usize..end as usize],
        _ => &[],
    }
}

fn blobs(raw: columns::Blobs, rows: usize, before: &columns::Blobs, plan: Option<&MemoPlan>) -> Result<Blobs, Failure> {
    let columns::Blobs { offsets, data } = raw;
    let none = offsets.len() <= 1 && data.is_empty();
    match (plan, none) {
        (None, true) => Ok(Blobs::default()),
        (None, false) => Err(Failure::bad_answer("`memo` has rows, but the rule declares none")),
        (Some(_), true) => Ok(Blobs { offsets: before.offsets.clone(), data: before.data.clone() }),
        (Some(_), false) => {
            check_offsets("memo", &offsets, data.len(), rows)?;
            Ok(Blobs { offsets, data })
        }
    }
}

/// Points the codes that nobody reads and that point nowhere to the first reason.
fn tidy_codes(reason: &mut Reasons) {
    let entries = reason.entries.len() as u32;
    if entries == 0 {
        reason.codes.clear();
    } else if reason.codes.iter().any(|&code| code >= entries) {
        for code in &mut reason.codes {
            if *code >= entries {
                *code = 0;
            }
        }
    }
}

fn fail_row(reason: &mut Reasons, rows: usize, row: usize, why: String, failures: &mut Vec<RowFailure>) {
    let failure = Failure::new(FailureKind::BadRow, format!("bad answer: {why}"));
    set_reason(reason, rows, row, &failure.text);
    failures.push(RowFailure { row: row as u32, failure });
}

/// How many reasons the rule gave, before the host adds its own for rows that fail: what those
/// are may not decide about the rows behind them. `None`: no row needs one.
fn reasons_given(reasons: &Reasons) -> Option<usize> {
    (!reasons.codes.is_empty()).then(|| reasons.entries.len())
}

fn wrong_reason(reasons: &Reasons, given: Option<usize>, row: usize, limits: &Limits) -> Option<String> {
    let entries = given?;
    let code = reasons.codes[row] as usize;
    if code >= entries {
        return Some(format!("reason code {code}, but there are {entries} reasons"));
    }
    let bytes = span(&reasons.entries, code);
    let limit = limits.reason_bytes_max;
    (bytes > limit).then(|| format!("a reason of {} bytes, limit {limit}", grouped(bytes as u64)))
}

/// Bytes of one row of a checked column.
#[inline]
fn span(text: &TextColumn, row: usize) -> usize {
    (text.offsets[row + 1] - text.offsets[row]) as usize
}

fn length(what: &str, got: usize, rows: usize) -> Result<(), Failure> {
    if got != rows {
        return Err(Failure::bad_answer(format!("`{what}` has {got} entries for {rows} rows")));
    }
    Ok(())
}

fn optional_text(what: &str, raw: columns::Text, rows: usize) -> Result<TextColumn, Failure> {
    // No row has one: no offset at all, or the one that begins an empty column.
    if raw.offsets.len() <= 1 && raw.data.is_empty() {
        return Ok(TextColumn::default());
    }
    text(what, raw, rows)
}

fn text(what: &str, raw: columns::Text, rows: usize) -> Result<TextColumn, Failure> {
    let wrong = |why: &str| Failure::bad_answer(format!("`{what}`: {why}"));
    let (offsets, data) = (&raw.offsets, &raw.data);
    check_offsets(what, offsets, data.len(), rows)?;
    if simdutf8::basic::from_utf8(data).is_err() {
        return Err(wrong("not UTF-8"));
    }
    if !data.is_ascii() {
        let mut splits = false;
        for &offset in offsets {
            // Offsets are within the data: they do not fall and the last is its length.
            splits |= data.get(offset as usize).is_some_and(|b| b & 0xC0 == 0x80);
        }
        if splits {
            return Err(wrong("an offset splits a character"));
        }
    }
    Ok(text_from_guest(raw))
}

fn check_offsets(what: &str, offsets: &[u32], bytes: usize, rows: usize) -> Result<(), Failure> {
    let wrong = |why: String| Err(Failure::bad_answer(format!("`{what}`: {why}")));
    if offsets.len() != rows + 1 {
        return wrong(format!("{} offsets for {rows} rows", offsets.len()));
    }
    if offsets[0] != 0 || offsets[rows] as usize != bytes {
        return wrong(format!("offsets from {} to {} over {bytes} bytes", offsets[0], offsets[rows]));
    }
    let mut falls = false;
    for pair in offsets.windows(2) {
        falls |= pair[0] > pair[1];
    }
    if falls { wrong("an offset falls".to_owned()) } else { Ok(()) }
}

fn reasons(raw: columns::Dict, rows: usize, limits: &Limits) -> Result<Reasons, Failure> {
    let entries = raw.entries.offsets.len().saturating_sub(1);
    if raw.codes.is_empty() && entries == 0 && raw.entries.data.is_empty() {
        return Ok(Reasons::default());
    }
    length("reason", raw.codes.len(), rows)?;
    if entries > limits.reasons_max {
        let limit = limits.reasons_max;
        return Err(Failure::bad_answer(format!("{entries} distinct reasons, limit {limit}")));
    }
    let entries = optional_text("reason", raw.entries, entries)?;
    Ok(Reasons { codes: raw.codes, entries })
}

/// Gives `row` the reason `text`; `rows` is the number of rows of the answer.
pub(crate) fn set_reason(reasons: &mut Reasons, rows: usize, row: usize, text: &str) {
    fill_codes(reasons, rows);
    reasons.codes[row] = code_of(reasons, text);
}

fn fill_codes(reasons: &mut Reasons, rows: usize) {
    if reasons.codes.len() < rows {
        let none = code_of(reasons, "");
        reasons.codes.resize(rows, none);
    }
}

fn code_of(reasons: &mut Reasons, text: &str) -> u32 {
    let entries = &mut reasons.entries;
    let known = (0..entries.len()).find(|&e| entries.bytes(e) == text.as_bytes());
    known.unwrap_or_else(|| {
        entries.push(text);
        entries.len() - 1
    }) as u32
}

/// Appends the reasons of `part_rows` rows to those of `rows` rows.
pub(crate) fn append_reasons(out: &mut Reasons, rows: usize, part: &Reasons, part_rows: usize) {
    if part.codes.is_empty() {
        if !out.codes.is_empty() {
            fill_codes(out, rows + part_rows);
        }
        return;
    }
    fill_codes(out, rows);
    for row in 0..part_rows {
        let code = code_of(out, part.get(row));
        out.codes.push(code);
    }
}

/// Appends the memos of one answer to those of another; both have all their rows, or none has any.
pub(crate) fn append_blobs(out: &mut Blobs, part: &Blobs) {
    for row in 0..part.offsets.len().saturating_sub(1) {
        out.push(part.get(row));
    }
}

/// Appends one column to another of `rows` rows; both may be without rows.
pub(crate) fn append_text(out: &mut TextColumn, rows: usize, part: &TextColumn, part_rows: usize) {
    if part.is_empty() && out.is_empty() {
        return;
    }
    let end = |text: &TextColumn| text.data.len() as u32;
    out.offsets.resize(rows + 1, end(out));
    let base = end(out);
    out.data.extend_from_slice(&part.data);
    if part.is_empty() {
        out.offsets.resize(rows + part_rows + 1, base);
    } else {
        out.offsets.extend(part.offsets[1..].iter().map(|o| o + base));
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
