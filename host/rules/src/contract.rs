//! Whether a file keeps to the contract, before anything is compiled: its
//! size, what it imports, which world it exports; a core module is wrapped.

use std::collections::BTreeSet;

use wasmparser::component_types::ComponentEntityType;
use wasmparser::{Encoding, Parser, Payload, TypeRef, ValidPayload, Validator, WasmFeatures, types::Types};

use crate::error::LoadError;
use crate::limits::{Limits, grouped, size};
use crate::load::Kind;
use crate::wrap::wrap;

/// The one interface that a rule may import, in each version.
pub(crate) const LOGS: [&str; 2] = ["stillhouse:rules/log@0.2.0", "stillhouse:rules/log@0.1.0"];
/// The interface that a rule exports, and what that says of it; the newest version first.
const RULES: [(&str, Kind, Version); 4] = [
    ("stillhouse:rules/mapper-rule@0.2.0", Kind::Mapper, Version::V0_2),
    ("stillhouse:rules/suppressor-rule@0.2.0", Kind::Suppressor, Version::V0_2),
    ("stillhouse:rules/mapper-rule@0.1.0", Kind::Mapper, Version::V0_1),
    ("stillhouse:rules/suppressor-rule@0.1.0", Kind::Suppressor, Version::V0_1),
];
/// What all interfaces of the contract begin with, in any version.
const PACKAGE: &str = "stillhouse:rules/";
/// What to do about a rule of another version.
pub(crate) const REBUILD: &str = "build with the SDK of version 0.2 (or 0.1) of the contract";

/// A version of the contract that this host speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V0_1,
    V0_2,
}

impl Version {
    pub fn number(self) -> &'static str {
        match self {
            Self::V0_1 => "0.1.0",
            Self::V0_2 => "0.2.0",
        }
    }
}

/// A file that keeps to the contract as far as can be seen from outside.
#[derive(Debug)]
pub(crate) struct Contract {
    pub kind: Kind,
    pub version: Version,
    pub component: Vec<u8>,
}

/// Looks at `file` and makes a component of it.
pub(crate) fn inspect(file: &[u8], limits: &Limits) -> Result<Contract, LoadError> {
    if file.len() > limits.component_bytes_max {
        return Err(LoadError::TooLarge {
            what: "the file has",
            got: size(file.len()),
            limit: size(limits.component_bytes_max),
            setting: "component_bytes_max",
        });
    }
    let encoding = encoding(file)?;
    let types = validate(file, limits)?;
    match encoding {
        Encoding::Component => {
            check_imports(file, &types)?;
            let (kind, version) = rule(&outer_names(file, Outer::Exports))?;
            Ok(Contract { kind, version, component: file.to_vec() })
        }
        Encoding::Module => {
            check_core_imports(file)?;
            let (kind, version) = rule(&interfaces(file))?;
            Ok(Contract { kind, version, component: wrap(file, kind, version)? })
        }
    }
}

fn encoding(file: &[u8]) -> Result<Encoding, LoadError> {
    if file.is_empty() {
        return Err(LoadError::NotWasm("the file is empty".to_owned()));
    }
    if !file.starts_with(b"\0asm") {
        let what = if file.starts_with(b"(") {
            "it looks like the text format; build it with the SDK"
        } else {
            "it does not begin with the bytes `\\0asm`"
        };
        return Err(LoadError::NotWasm(what.to_owned()));
    }
    match Parser::new(0).parse_all(file).next() {
        Some(Ok(Payload::Version { encoding, .. })) => Ok(encoding),
        Some(Err(error)) => Err(LoadError::NotWasm(error.to_string())),
        _ => Err(LoadError::NotWasm("its header is cut short".to_owned())),
    }
}

/// Validates all but the bodies of functions, which the compiler validates, and counts.
fn validate(wasm: &[u8], limits: &Limits) -> Result<Types, LoadError> {
    let invalid = |e: wasmparser::BinaryReaderError| LoadError::NotWasm(e.to_string());
    let mut validator = Validator::new_with_features(WasmFeatures::default() - WasmFeatures::MULTI_MEMORY);
    let mut functions: u32 = 0;
    let (mut locals, mut declared, mut names): (u64, u64, u64) = (0, 0, 0);
    let mut types = None;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(invalid)?;
        if let Payload::CodeSectionEntry(body) = &payload {
            functions += 1;
            check_function(functions, body.range().len(), limits)?;
            for local in body.get_locals_reader().map_err(invalid)? {
                locals += u64::from(local.map_err(invalid)?.0);
            }
            check_count("the number of its functions' local variables is", locals, limits.locals_max, "locals_max")?;
        }
        declared += match &payload {
            Payload::TypeSection(section) => {
                section.clone().into_iter().flatten().map(|g| g.types().len() as u64).sum()
            }
            Payload::ComponentTypeSection(section) => section.count().into(),
            _ => 0,
        };
        check_count("the number of its types is", declared, limits.types_max, "types_max")?;
        names += u64::from(match &payload {
            Payload::ImportSection(section) => section.count(),
            Payload::ExportSection(section) => section.count(),
            Payload::ComponentImportSection(section) => section.count(),
            Payload::ComponentExportSection(section) => section.count(),
            _ => 0,
        });
        check_count("the number of its imports and exports is", names, limits.names_max, "names_max")?;
        check_starts(&payload, limits)?;
        if let ValidPayload::End(end) = validator.payload(&payload).map_err(invalid)? {
            // The outermost end is the last.
            types = Some(end);
        }
    }
    types.ok_or_else(|| LoadError::NotWasm("it has no end".to_owned()))
}

/// What memories and tables begin with; `guest.rs` bounds what they grow to.
fn check_starts(payload: &Payload<'_>, limits: &Limits) -> Result<(), LoadError> {
    match payload {
        Payload::TableSection(section) => {
            for table in section.clone().into_iter().flatten() {
                if table.ty.initial > limits.table_elements_max as u64 {
                    return Err(LoadError::TooLarge {
                        what: "a table begins with",
                        got: format!("{} entries", grouped(table.ty.initial)),
                        limit: grouped(limits.table_elements_max as u64),
                        setting: "table_elements_max",
                    });
                }
            }
        }
        Payload::MemorySection(section) => {
            for memory in section.clone().into_iter().flatten() {
                let bytes = memory.initial.saturating_mul(65_536);
                if bytes > limits.memory_bytes_max as u64 {
                    return Err(LoadError::TooLarge {
                        what: "its memory begins with",
                        got: size(bytes as usize),
                        limit: size(limits.memory_bytes_max),
                        setting: "memory_bytes_max",
                    });
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn check_function(count: u32, bytes: usize, limits: &Limits) -> Result<(), LoadError> {
    if count > limits.functions_max {
        return Err(LoadError::TooLarge {
            what: "the number of functions is",
            got: format!("more than {}", grouped(limits.functions_max.into())),
            limit: grouped(limits.functions_max.into()),
            setting: "functions_max",
        });
    }
    if bytes > limits.function_bytes_max as usize {
        return Err(LoadError::TooLarge {
            what: "one function has",
            got: size(bytes),
            limit: size(limits.function_bytes_max as usize),
            setting: "function_bytes_max",
        });
    }
    Ok(())
}

/// Of what takes few bytes to declare, and the compiler much work.
fn check_count(what: &'static str, count: u64, most: u32, setting: &'static str) -> Result<(), LoadError> {
    if count <= most.into() {
        return Ok(());
    }
    let limit = grouped(most.into());
    Err(LoadError::TooLarge { what, got: format!("more than {limit}"), limit, setting })
}

fn check_core_imports(module: &[u8]) -> Result<(), LoadError> {
    for payload in Parser::new(0).parse_all(module).flatten() {
        let Payload::ImportSection(section) = payload else { continue };
        for import in section.into_imports().flatten() {
            let is_log = LOGS.contains(&import.module) && import.name == "log";
            if !(is_log && matches!(import.ty, TypeRef::Func(_))) {
                let name = format!("{}.{}", import.module, import.name);
                return Err(unexpected(import.module, name));
            }
        }
    }
    Ok(())
}

/// The names of all that a file imports, whether it may or not; none of what is no WebAssembly.
pub fn imports(file: &[u8]) -> Vec<String> {
    match encoding(file) {
        Ok(Encoding::Component) => outer_names(file, Outer::Imports),
        Ok(Encoding::Module) => {
            let sections = Parser::new(0).parse_all(file).flatten().filter_map(|payload| match payload {
                Payload::ImportSection(section) => Some(section),
                _ => None,
            });
            let imports = sections.flat_map(|section| section.into_imports().flatten());
            imports.map(|import| format!("{}#{}", import.module, import.name)).collect()
        }
        Err(_) => Vec::new(),
    }
}

/// Only the log may be imported, and interfaces that have nothing but types in them.
fn check_imports(component: &[u8], types: &Types) -> Result<(), LoadError> {
    for name in outer_names(component, Outer::Imports) {
        let types = types.as_ref();
        let only_types = match types.component_item_for_import(&name).map(|item| item.ty) {
            Some(ComponentEntityType::Instance(id)) => {
                types[id].exports.values().all(|item| matches!(item.ty, ComponentEntityType::Type { .. }))
            }
            Some(ComponentEntityType::Type { .. }) => true,
            _ => false,
        };
        if !LOGS.contains(&name.as_str()) && !only_types {
            return Err(unexpected(&name, name.clone()));
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Outer {
    Imports,
    Exports,
}

/// The names that a component itself imports or exports, not those inside it.
fn outer_names(component: &[u8], which: Outer) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component).flatten() {
        match payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(s) if depth == 1 && which == Outer::Imports => {
                names.extend(s.into_iter().flatten().map(|i| i.name.name.to_owned()));
            }
            Payload::ComponentExportSection(s) if depth == 1 && which == Outer::Exports => {
                names.extend(s.into_iter().flatten().map(|e| e.name.name.to_owned()));
            }
            _ => {}
        }
    }
    names
}

fn unexpected(module: &str, import: String) -> LoadError {
    let fix = if module.starts_with("wasi:") {
        "build for wasm32-unknown-unknown, not wasm32-wasip2; in JavaScript and Python, build with \
         `--stub-wasi`"
    } else if module.starts_with("wasi") {
        "build for wasm32-unknown-unknown, not wasm32-wasip1"
    } else if module.starts_with("__wbindgen") {
        "a dependency was built for JavaScript; switch off its `js` or `wasmbind` feature (often in \
         `getrandom` or `chrono`)"
    } else if module == "env" {
        "no function of C or of another library is provided; leave out what needs it"
    } else if module.starts_with(PACKAGE) {
        REBUILD
    } else {
        "leave out what needs it: a rule has no clock, no randomness, no files and no network"
    };
    LoadError::Import { import, fix: fix.to_owned() }
}

/// The interfaces that a core module exports functions of, as `wit-bindgen` names them:
/// `package:name/interface@version#function`.
fn interfaces(module: &[u8]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    for payload in Parser::new(0).parse_all(module).flatten() {
        let Payload::ExportSection(section) = payload else { continue };
        for export in section.into_iter().flatten() {
            let Some((interface, _)) = export.name.split_once('#') else { continue };
            if !interface.starts_with("cabi_") && seen.insert(interface) {
                names.push(interface.to_owned());
            }
        }
    }
    names
}

/// The one kind and version of rule that these exports make.
fn rule(exports: &[String]) -> Result<(Kind, Version), LoadError> {
    let mut found = RULES.iter().filter(|(name, _, _)| exports.iter().any(|export| export == name));
    match (found.next(), found.next()) {
        (Some(&(_, kind, version)), None) => Ok((kind, version)),
        (Some((one, _, _)), Some((other, _, _))) => {
            Err(LoadError::Exports(format!("it is `{one}` and `{other}` at once; build one rule for each")))
        }
        (None, _) => Err(LoadError::Exports(no_rule(exports))),
    }
}

fn no_rule(exports: &[String]) -> String {
    let missing = format!("expected `{}` or `{}`", RULES[0].0, RULES[1].0);
    if let Some(other) = exports.iter().find(|e| e.starts_with(PACKAGE)) {
        return format!("{missing}, got `{other}`; {REBUILD}");
    }
    if exports.is_empty() {
        return format!("{missing}, got none; is the SDK's macro for the rule missing?");
    }
    let names: Vec<_> = exports.iter().take(5).map(|e| format!("`{e}`")).collect();
    format!("{missing}, got {}", names.join(", "))
}
