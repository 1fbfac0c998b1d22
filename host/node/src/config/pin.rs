//! What a configuration was written for: the schema of a mapper's states, and the fields it reads.

use stillhouse_core::rule::{Field, State};

use crate::config::schema::Format;
use crate::config::{Config, Refusal, SignalConfig, listed, refuse};

/// Checks that a mapper's states are those that `[signal.TYPE]` pins, if it pins any. States that are
/// added within one version of the schema change nothing for who does not know them.
///
/// # Errors
/// If it pins another version, or a state that the mapper does not have; with its line.
pub fn check_states(signal: &SignalConfig, schema: u32, states: &[State]) -> Result<(), Refusal> {
    let file = &signal.file;
    let pinned: &[String] = file.states.as_ref().map_or(&[], |states| states.get_ref());
    let there: Vec<&str> = states.iter().map(|state| state.name.as_str()).collect();
    let gone: Vec<&str> = pinned.iter().map(|name| name.as_str()).filter(|name| !there.contains(name)).collect();
    let new: Vec<&str> =
        there.iter().copied().filter(|name| !pinned.is_empty() && !pinned.iter().any(|known| known == name)).collect();
    let changes = [("no longer has", gone.as_slice()), ("has besides", new.as_slice())];
    let changes: Vec<String> = changes
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("it {what} {}", listed(names)))
        .collect();
    let mapper = &signal.mapper.name;
    if let Some(wanted) = file.schema.as_ref().filter(|wanted| *wanted.get_ref() != schema) {
        let changes =
            if changes.is_empty() { format!("its states are {}", listed(&there)) } else { changes.join("; ") };
        let message = format!(
            "mapper `{mapper}` declares version {schema} of its states, this is written for version {}: {changes}; \
             see what the states mean now, then change the number",
            wanted.get_ref()
        );
        return Err(refuse(wanted.span(), message));
    }
    match &file.states {
        Some(wanted) if !gone.is_empty() => {
            Err(refuse(wanted.span(), format!("other states than those of mapper `{mapper}`: {}", changes.join("; "))))
        }
        _ => Ok(()),
    }
}

/// The fields of mappers that no input can give, as far as that is known: signal type and path. Of
/// text the groups of the patterns are known; of JSON nothing is.
pub fn never_given<'t>(config: &Config, types: &'t [(String, Vec<Field>)]) -> Vec<(&'t str, &'t str)> {
    let mut found = Vec::new();
    for (index, (name, fields)) in types.iter().enumerate() {
        let of_type = |signal_type: u16| usize::from(signal_type) == index;
        let known = config.inputs.iter().all(|input| match input.format {
            Format::Text => true,
            Format::Json => !input.signal_type.is_some_and(of_type),
            Format::CloudEvents => false,
        });
        let patterns =
            || config.inputs.iter().flat_map(|input| input.patterns.iter().map(move |pattern| (input, pattern)));
        let mut groups = Vec::new();
        for (input, pattern) in patterns().filter(|(_, pattern)| of_type(pattern.signal_type)) {
            groups.extend(pattern.groups());
            groups.extend(input.file_fields.iter().flat_map(|regex| regex.capture_names().flatten()));
            groups.extend(input.time.each_field.then_some("edge"));
        }
        if !known || groups.is_empty() {
            continue;
        }
        let given = |path: &str| match path.strip_prefix("data.") {
            Some(group) => groups.contains(&group),
            None => matches!(path, "id" | "source" | "time") || path == "subject" && groups.contains(&"subject"),
        };
        let asked = |field: &'t Field| {
            let path = field.path.as_str();
            let key = crate::tables::TablePath::parse(path).map_or(path, |path| path.field);
            (!given(key)).then_some((name.as_str(), path))
        };
        found.extend(fields.iter().filter_map(asked));
    }
    found
}
