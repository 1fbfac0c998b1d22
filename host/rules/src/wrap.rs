//! From a core module to a component, by the host's own copy of the contract.
//!
//! `wit-bindgen` leaves a description of the module's types in it. That
//! description is never read: what decodes it trusts its author (one package
//! that depends on itself overflows the stack). Its place takes the contract
//! as this host knows it, so that a module can only be a rule or be refused.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve};

use crate::contract::Version;
use crate::error::LoadError;
use crate::load::Kind;

type Parsed = LazyLock<Result<(Resolve, PackageId), String>>;

static V0_1: Parsed = LazyLock::new(|| parse(include_str!("../../../wit/v0.1/rules.wit")));
static V0_2: Parsed = LazyLock::new(|| parse(include_str!("../../../wit/v0.2/rules.wit")));

fn parse(wit: &str) -> Result<(Resolve, PackageId), String> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("rules.wit", wit).map_err(|e| format!("{e:#}"))?;
    Ok((resolve, package))
}

/// Makes a component of a valid core module that exports the world of `kind` in `version`.
pub(crate) fn wrap(module: &[u8], kind: Kind, version: Version) -> Result<Vec<u8>, LoadError> {
    let refused = |why: String| LoadError::Wrap(why);
    let contract = match version {
        Version::V0_1 => &V0_1,
        Version::V0_2 => &V0_2,
    };
    let (resolve, package) = contract.as_ref().map_err(|e| refused(e.clone()))?;
    let world = match kind {
        Kind::Mapper => "mapper",
        Kind::Suppressor => "suppressor",
    };
    let mut module = without_description(module)?;
    let encode = || {
        let world = resolve.select_world(&[*package], Some(world))?;
        embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8)?;
        ComponentEncoder::default().validate(false).module(&module)?.encode()
    };
    // The encoder is made for its author's own files and asserts where it should refuse.
    match catch_unwind(AssertUnwindSafe(encode)) {
        Ok(Ok(component)) => Ok(component),
        Ok(Err(error)) => Err(refused(format!("{error:#}"))),
        Err(_) => Err(refused("it is not as an SDK builds it".to_owned())),
    }
}

/// The module with none of its sections that describe component types.
fn without_description(module: &[u8]) -> Result<Vec<u8>, LoadError> {
    let header = 8.min(module.len());
    let mut out = Vec::with_capacity(module.len());
    out.extend_from_slice(&module[..header]);
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(|e| LoadError::NotWasm(e.to_string()))?;
        if matches!(&payload, Payload::CustomSection(c) if c.name().starts_with("component-type")) {
            continue;
        }
        if let Some((id, range)) = payload.as_section() {
            let content = &module[range];
            out.push(id);
            push_leb128(&mut out, content.len());
            out.extend_from_slice(content);
        }
    }
    Ok(out)
}

fn push_leb128(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
