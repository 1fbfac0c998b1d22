//! `[rules] trust`: whose rule files may be loaded.

use stillhouse_rules::signature::PublicKey;
use toml::Spanned;

use crate::config::{Refusal, refuse};

/// The keys that signatures are checked with; none where no signature is asked for.
pub fn check(trust: Option<Spanned<Vec<Spanned<String>>>>) -> Result<Vec<PublicKey>, Refusal> {
    let Some(trust) = trust else { return Ok(Vec::new()) };
    if trust.get_ref().is_empty() {
        let message = "`trust` names no key, so that no rule file could be loaded: add one such as \
                       \"ed25519:3f2a..\" (the file `KEY.pub` of `stillhouse rule keygen KEY` has it), or leave \
                       `trust` out to load rules that are not signed";
        return Err(refuse(trust.span(), message));
    }
    let mut keys: Vec<PublicKey> = Vec::new();
    for text in trust.into_inner() {
        let key: PublicKey = text.get_ref().parse().map_err(|error| refuse(text.span(), format!("{error}")))?;
        if keys.contains(&key) {
            return Err(refuse(text.span(), format!("the key {} is named twice", key.id())));
        }
        keys.push(key);
    }
    Ok(keys)
}
