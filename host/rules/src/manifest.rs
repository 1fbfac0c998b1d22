//! What a rule says of itself: read into the host's types and checked.

use stillhouse_core::columns::{outcome, verdict};
use stillhouse_core::rule::{Carry, Condition, Field, FieldKind, MemoPlan, State};

use crate::batch::{Given, batch_from_given};
use crate::bindings::{declaration, mapper_rule, suppressor_rule};
use crate::cases::{Answer, Case};
use crate::fields;
use crate::limits::{Limits, NAME_BYTES_MAX, PATH_BYTES_MAX, STATES_MAX, grouped};

/// A checked manifest of either kind.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub name: String,
    pub version: String,
    pub fields: Vec<Field>,
    /// Empty for a suppressor.
    pub states: Vec<State>,
    /// 0 for a suppressor.
    pub schema: u32,
    /// `None` for a mapper.
    pub memo: Option<MemoPlan>,
    pub cases: Vec<Case>,
}

type Wrong = String;

/// Reads a mapper's manifest.
pub(crate) fn of_mapper(m: mapper_rule::Manifest, limits: &Limits) -> Result<Manifest, Wrong> {
    let (name, version, fields) = identity(m.identity, limits, fields::of_signal)?;
    let states = states(m.states)?;
    if m.cases.len() > limits.cases_max {
        return Err(format!("{} cases, limit {}", m.cases.len(), limits.cases_max));
    }
    let mut cases = Vec::with_capacity(m.cases.len());
    for case in m.cases {
        let expected =
            mapper_answer(case.expected, &states).map_err(|why| format!("case `{}`: expected: {why}", case.name))?;
        let (settings, memo, given) = (Vec::new(), Vec::new(), given(case.given));
        cases.push(Case { name: case.name, settings, given, memo, expected, expected_memo: None });
    }
    check_cases(&cases, &fields)?;
    Ok(Manifest { name, version, fields, states, schema: m.schema, memo: None, cases })
}

/// Reads a suppressor's manifest.
pub(crate) fn of_suppressor(m: suppressor_rule::Manifest, limits: &Limits) -> Result<Manifest, Wrong> {
    let (name, version, fields) = identity(m.identity, limits, fields::of_candidate)?;
    let memo = m.memo.map(|memo| memo_plan(memo, limits)).transpose()?;
    if m.cases.len() > limits.cases_max {
        return Err(format!("{} cases, limit {}", m.cases.len(), limits.cases_max));
    }
    let mut cases = Vec::with_capacity(m.cases.len());
    for case in m.cases {
        let wrong = |why: Wrong| format!("case `{}`: {why}", case.name);
        let expected_memo = case.expected.memo.clone();
        for bytes in expected_memo.iter().chain([&case.memo]) {
            case_memo(bytes, memo.is_some(), limits).map_err(wrong)?;
        }
        let expected = suppressor_answer(case.expected).map_err(|why| wrong(format!("expected: {why}")))?;
        let mut settings = case.settings;
        settings.sort();
        check_settings(&settings, limits).map_err(wrong)?;
        let given = given(case.given);
        cases.push(Case { name: case.name, settings, given, memo: case.memo, expected, expected_memo });
    }
    check_cases(&cases, &fields)?;
    Ok(Manifest { name, version, fields, states: Vec::new(), schema: 0, memo, cases })
}

fn memo_plan(memo: suppressor_rule::Memo, limits: &Limits) -> Result<MemoPlan, Wrong> {
    let most = limits.memo_bytes_max;
    if memo.bytes_max == 0 || memo.bytes_max as usize > most {
        return Err(format!("a memo of {} bytes, expected 1 to {}", memo.bytes_max, grouped(most as u64)));
    }
    let carry = match memo.carry {
        suppressor_rule::Carry::Keep => Carry::Keep,
        suppressor_rule::Carry::Reset => Carry::Reset,
        suppressor_rule::Carry::Rekey => Carry::Rekey,
    };
    Ok(MemoPlan { version: memo.version, carry, bytes_max: memo.bytes_max })
}

/// A case may give more than the rule writes, as another version of it may have left.
fn case_memo(bytes: &[u8], declared: bool, limits: &Limits) -> Result<(), Wrong> {
    match bytes.len() {
        0 => Ok(()),
        _ if !declared => Err("has a memo, but the rule declares none".to_owned()),
        len if len > limits.memo_bytes_max => {
            Err(format!("a memo of {} bytes, limit {}", grouped(len as u64), grouped(limits.memo_bytes_max as u64)))
        }
        _ => Ok(()),
    }
}

/// Sorted settings: no name twice, and not too many.
pub(crate) fn check_settings(settings: &[(String, String)], limits: &Limits) -> Result<(), Wrong> {
    if settings.len() > limits.settings_max {
        return Err(format!("{} settings, limit {}", settings.len(), limits.settings_max));
    }
    let bytes: usize = settings.iter().map(|(k, v)| k.len() + v.len()).sum();
    if bytes > limits.settings_bytes_max {
        return Err(format!("settings of {bytes} bytes, limit {}", limits.settings_bytes_max));
    }
    match settings.windows(2).find(|w| w[0].0 == w[1].0) {
        Some(twice) => Err(format!("setting `{}` is given twice", twice[0].0)),
        None => Ok(()),
    }
}

fn identity(
    id: declaration::Identity,
    limits: &Limits,
    check: fn(&Field) -> Result<(), Wrong>,
) -> Result<(String, String, Vec<Field>), Wrong> {
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if id.name.is_empty() || id.name.len() > NAME_BYTES_MAX || !id.name.bytes().all(lower) {
        return Err(format!(
            "name `{}`: expected 1 to {NAME_BYTES_MAX} lower-case letters, digits and hyphens",
            crate::limits::cut(&id.name, 2 * NAME_BYTES_MAX)
        ));
    }
    if id.version.len() > 2 * NAME_BYTES_MAX {
        return Err(format!("version of {} bytes, limit {}", id.version.len(), 2 * NAME_BYTES_MAX));
    }
    if let Err(why) = semver::Version::parse(&id.version) {
        return Err(format!("version `{}`: expected one such as `1.4.0`: {why}", id.version));
    }
    if id.fields.len() > limits.fields_max {
        return Err(format!("{} fields, limit {}", id.fields.len(), limits.fields_max));
    }
    let mut fields: Vec<Field> = Vec::with_capacity(id.fields.len());
    for field in id.fields {
        let kind = match field.kind {
            declaration::FieldKind::Text => FieldKind::Text,
            declaration::FieldKind::Int => FieldKind::Int,
            declaration::FieldKind::Float => FieldKind::Float,
            declaration::FieldKind::Bool => FieldKind::Bool,
        };
        let field = Field { path: field.path, kind };
        if field.path.len() > PATH_BYTES_MAX {
            return Err(format!("a field's path of {} bytes, limit {PATH_BYTES_MAX}", field.path.len()));
        }
        check(&field)?;
        if fields.iter().any(|f| f.path == field.path) {
            return Err(format!("field `{}` is declared twice", field.path));
        }
        fields.push(field);
    }
    Ok((id.name, id.version, fields))
}

fn states(declared: Vec<declaration::State>) -> Result<Vec<State>, Wrong> {
    if declared.is_empty() || declared.len() > STATES_MAX {
        return Err(format!("{} states, expected 1 to {STATES_MAX}", declared.len()));
    }
    let mut states: Vec<State> = Vec::with_capacity(declared.len());
    for state in declared {
        let plain = |c: char| !c.is_control() && !c.is_whitespace();
        let sized = (1..=NAME_BYTES_MAX).contains(&state.name.len());
        if !sized || !state.name.chars().all(plain) {
            return Err(format!(
                "state `{}`: expected a name of 1 to {NAME_BYTES_MAX} bytes without spaces",
                crate::limits::cut(&state.name, 2 * NAME_BYTES_MAX)
            ));
        }
        if states.iter().any(|s| s.name == state.name) {
            return Err(format!("state `{}` is declared twice", state.name));
        }
        let condition = match state.condition {
            declaration::Condition::Healthy => Condition::Healthy,
            declaration::Condition::Problem => Condition::Problem,
            declaration::Condition::Gone => Condition::Gone,
        };
        states.push(State { name: state.name, condition });
    }
    Ok(states)
}

fn given(given: Vec<declaration::Given>) -> Vec<Given> {
    given.into_iter().map(|g| Given { path: g.path, value: g.value }).collect()
}

fn check_cases(cases: &[Case], fields: &[Field]) -> Result<(), Wrong> {
    for (i, case) in cases.iter().enumerate() {
        if case.name.is_empty() || case.name.len() > PATH_BYTES_MAX {
            return Err(format!("case {i}: expected a name of 1 to {PATH_BYTES_MAX} bytes"));
        }
        batch_from_given(fields, &[&case.given]).map_err(|(_, why)| format!("case `{}` {why}", case.name))?;
    }
    Ok(())
}

fn mapper_answer(e: mapper_rule::Expected, states: &[State]) -> Result<Answer, Wrong> {
    match e.outcome {
        outcome::OBSERVED => {
            if !states.iter().any(|s| s.name == e.state) {
                let names: Vec<_> = states.iter().map(|s| format!("`{}`", s.name)).collect();
                return Err(format!("no state `{}`; there are {}", e.state, names.join(", ")));
            }
            severity(e.severity)?;
            Ok(Answer::Observed { state: e.state, severity: e.severity, key: e.key, value: e.value })
        }
        outcome::DROPPED => Ok(Answer::Dropped { reason: e.reason }),
        outcome::REJECTED => Ok(Answer::Rejected { reason: e.reason }),
        other => Err(format!("outcome {other}, expected 0 to 2")),
    }
}

fn suppressor_answer(e: suppressor_rule::Expected) -> Result<Answer, Wrong> {
    match e.verdict {
        verdict::EMIT => Ok(Answer::Emit),
        verdict::SUPPRESS => Ok(Answer::Suppress { until_us: e.until, reason: e.reason }),
        verdict::DELAY => Ok(Answer::Delay { until_us: e.until, reason: e.reason }),
        verdict::ESCALATE => {
            severity(e.severity)?;
            Ok(Answer::Escalate { severity: e.severity, reason: e.reason })
        }
        other => Err(format!("verdict {other}, expected 0 to 3")),
    }
}

fn severity(severity: u8) -> Result<(), Wrong> {
    if severity > crate::check::SEVERITY_MAX {
        return Err(format!("severity {severity}, expected 0 to 3"));
    }
    Ok(())
}
