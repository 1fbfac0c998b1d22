//! What a rule may read: the paths of a signal, and the fields of a candidate.

use stillhouse_core::rule::{Field, FieldKind};

/// The fields of a candidate, as the contract lists them.
const CANDIDATE: [(&str, FieldKind); 22] = [
    ("type", FieldKind::Text),
    ("key", FieldKind::Text),
    ("kind", FieldKind::Text),
    ("from", FieldKind::Text),
    ("to", FieldKind::Text),
    ("value", FieldKind::Text),
    ("time", FieldKind::Int),
    ("since", FieldKind::Int),
    ("held_us", FieldKind::Int),
    ("inputs", FieldKind::Int),
    ("severity", FieldKind::Int),
    ("healthy", FieldKind::Bool),
    ("judged", FieldKind::Int),
    ("state_us", FieldKind::Int),
    ("changes", FieldKind::Int),
    ("flap_score", FieldKind::Float),
    ("sources", FieldKind::Int),
    ("parent", FieldKind::Text),
    ("parent_open", FieldKind::Int),
    ("siblings_open", FieldKind::Int),
    ("maintenance", FieldKind::Bool),
    ("maintenance_until", FieldKind::Int),
];

/// The fields of a signal, without those below `data.` and those of tables.
const SIGNAL: [(&str, FieldKind); 6] = [
    ("id", FieldKind::Text),
    ("source", FieldKind::Text),
    ("type", FieldKind::Text),
    ("subject", FieldKind::Text),
    ("time", FieldKind::Int),
    ("data", FieldKind::Text),
];

/// Whether a mapper may read `field`.
///
/// # Errors
/// With what it may read instead.
pub(crate) fn of_signal(field: &Field) -> Result<(), String> {
    let path = &field.path;
    if path.starts_with("data.") {
        return match is_below_data(path) {
            true => Ok(()),
            false => Err(format!("field `{path}`: expected `data.` and a dotted path")),
        };
    }
    if let Some(rest) = path.strip_prefix("table.") {
        if !is_of_table(rest) {
            return Err(format!(
                "field `{path}`: expected `table.NAME[FIELD].COLUMN`, where FIELD is `id`, `source`, `type`, \
                 `subject` or `data.` and a dotted path"
            ));
        }
        return of_kind(field, FieldKind::Text);
    }
    known(field, &SIGNAL, ", `data.` and a dotted path, or `table.NAME[FIELD].COLUMN`")
}

/// Whether a suppressor may read `field`.
///
/// # Errors
/// With what it may read instead.
pub(crate) fn of_candidate(field: &Field) -> Result<(), String> {
    known(field, &CANDIDATE, "")
}

fn is_below_data(path: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && !part.contains(char::is_control);
    path.strip_prefix("data.").is_some_and(|path| path.split('.').all(plain))
}

/// `NAME[FIELD].COLUMN`. The field may have brackets in it, the name and the column have none.
fn is_of_table(path: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && !part.contains(char::is_control);
    let Some((name, rest)) = path.split_once('[') else { return false };
    let Some((field, column)) = rest.rsplit_once("].") else { return false };
    let is_key = matches!(field, "id" | "source" | "type" | "subject") || is_below_data(field);
    plain(name) && plain(column) && !column.contains(']') && is_key
}

fn known(field: &Field, known: &[(&str, FieldKind)], or: &str) -> Result<(), String> {
    match known.iter().find(|(path, _)| *path == field.path) {
        Some((_, kind)) => of_kind(field, *kind),
        None => {
            let known: Vec<_> = known.iter().map(|(path, _)| format!("`{path}`")).collect();
            Err(format!("no field `{}`; there are {}{or}", field.path, known.join(", ")))
        }
    }
}

fn of_kind(field: &Field, kind: FieldKind) -> Result<(), String> {
    if field.kind == kind {
        return Ok(());
    }
    Err(format!("field `{}` is declared as {}, but is {}", field.path, kind_name(field.kind), kind_name(kind)))
}

fn kind_name(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Text => "text",
        FieldKind::Int => "an int",
        FieldKind::Float => "a float",
        FieldKind::Bool => "a bool",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(path: &str, kind: FieldKind) -> Field {
        Field { path: path.to_owned(), kind }
    }

    #[test]
    fn columns_of_tables_are_paths() {
        for path in ["table.topology[subject].service", "table.a b[data.meta.node].x-y", "table.t[data.a[0].b].c"] {
            assert_eq!(of_signal(&field(path, FieldKind::Text)), Ok(()), "{path}");
        }
        for path in [
            "table.",
            "table.t",
            "table.[id].c",
            "table.t[].c",
            "table.t[id]",
            "table.t[id].",
            "table.t[time].c",
            "table.t[data].c",
            "table.t[data..x].c",
            "table.t[id].c]",
            "table.t[table.u[id].d].c",
        ] {
            let error = of_signal(&field(path, FieldKind::Text)).unwrap_err();
            assert!(error.contains("expected `table.NAME[FIELD].COLUMN`"), "{error}");
        }
        assert_eq!(
            of_signal(&field("table.t[id].c", FieldKind::Int)).unwrap_err(),
            "field `table.t[id].c` is declared as an int, but is text"
        );
    }

    #[test]
    fn what_the_core_tells_of_a_candidate_is_of_the_kind_in_the_contract() {
        for (path, kind) in CANDIDATE {
            assert_eq!(stillhouse_core::gate::field_kind(path), Some(kind), "{path}");
            assert_eq!(of_candidate(&field(path, kind)), Ok(()));
        }
        let error = of_candidate(&field("flap_score", FieldKind::Int)).unwrap_err();
        assert_eq!(error, "field `flap_score` is declared as an int, but is a float");
        assert!(
            of_candidate(&field("held", FieldKind::Int)).unwrap_err().starts_with("no field `held`; there are `type`")
        );
    }
}
