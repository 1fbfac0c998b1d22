//! Signatures on rule files: who made this file, and is it still the same?
//!
//! A signature is one line beside the file, in `NAME.wasm.sig`:
//!
//! ```text
//! ed25519 3f2a9c1b7e4d5a60 9be1..        (algorithm, key id, signature in hexadecimal)
//! ```
//!
//! Signed is [`DOMAIN`] and the SHA-256 of the file, so that no signature that was made for something
//! else is one of a rule. The key id is how the public key begins.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::load::hex;

/// What stands before the digest in every message that is signed.
const DOMAIN: &[u8] = b"stillhouse rule signature 1\0";
const ALGORITHM: &str = "ed25519";
/// What a public key begins with.
const PUBLIC: &str = "ed25519:";
/// What a private key begins with.
const SECRET: &str = "ed25519-secret:";
/// How many digits of the public key name it.
const ID_DIGITS: usize = 16;
/// A line of a signature is much shorter.
pub const SIGNATURE_BYTES_MAX: usize = 512;

/// A key that signatures are checked with: `ed25519:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// A key that signs: `ed25519-secret:` and 64 hexadecimal digits. Never shown.
pub struct SecretKey(SigningKey);

/// Why a text is no key. Does not repeat the text: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not of the form.
    #[error("expected `{expected}` and 64 hexadecimal digits{hint}")]
    Form {
        /// What it begins with.
        expected: &'static str,
        /// What is wrong, where that can be told.
        hint: &'static str,
    },
    /// 32 bytes, but no key.
    #[error("not a key of ed25519: its 64 digits are no point of the curve; is a digit wrong?")]
    NoPoint,
    /// A private key where a public one belongs.
    #[error(
        "this is a private key, and whoever reads it can sign: take it out, make a new one (`stillhouse rule keygen`), \
         and give the public key, which begins with `ed25519:`"
    )]
    Private,
}

/// Why a file is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature.
    #[error("it is not signed, expected a signature by {trusted}: sign it with `stillhouse rule sign FILE --key KEY`")]
    Missing {
        /// The keys that are trusted.
        trusted: String,
    },
    /// The signature is no signature.
    #[error(
        "its signature cannot be read: expected one line `ed25519 KEY-ID SIGNATURE` with 16 and 128 hexadecimal \
         digits, got {got}; sign the file again"
    )]
    Malformed {
        /// What is there, shortened.
        got: String,
    },
    /// Signed by somebody else.
    #[error(
        "it is signed by the key {key}, expected {trusted}: sign it with a trusted key, or trust this one if you know \
         whose it is"
    )]
    Untrusted {
        /// The id of the key that signed, as the signature says.
        key: String,
        /// The keys that are trusted.
        trusted: String,
    },
    /// The file or the signature was changed.
    #[error(
        "its signature by {key} does not fit the file, which has digest {digest}: one of the two was changed since; \
         get both again from whoever made it, or sign the file again if it is yours"
    )]
    Wrong {
        /// The id of the key.
        key: String,
        /// How the SHA-256 of the file begins.
        digest: String,
    },
}

/// Checks `signature` (the text of `FILE.wasm.sig`) on `file`: the key of `trust` that signed it.
///
/// # Errors
/// Unless it is a valid signature on just these bytes by one of these keys.
pub fn verify<'k>(
    file: &[u8],
    signature: Option<&str>,
    trust: &'k [PublicKey],
) -> Result<&'k PublicKey, SignatureError> {
    let trusted = || match trust {
        [] => "nobody: no key is trusted".to_owned(),
        keys => keys.iter().map(PublicKey::id).collect::<Vec<_>>().join(" or "),
    };
    let Some(text) = signature else { return Err(SignatureError::Missing { trusted: trusted() }) };
    let (key, signature) = parse(text).ok_or_else(|| SignatureError::Malformed { got: shortened(text) })?;
    // Two keys may begin alike, though nobody has seen such two.
    let mut named = trust.iter().filter(|trusted| trusted.id() == key).peekable();
    if named.peek().is_none() {
        return Err(SignatureError::Untrusted { key, trusted: trusted() });
    }
    let signed = message(file);
    named
        .find(|named| named.0.verify_strict(&signed, &signature).is_ok())
        .ok_or_else(|| SignatureError::Wrong { key, digest: hex(&Sha256::digest(file))[..12].to_owned() })
}

/// The id of the key that a signature says it is by, if it is one.
pub fn signer(signature: &str) -> Option<String> {
    parse(signature).map(|(key, _)| key)
}

/// The one line that [`verify`] accepts on `file`.
pub fn sign(file: &[u8], key: &SecretKey) -> String {
    let signature = key.0.sign(&message(file));
    format!("{ALGORITHM} {} {}\n", key.public().id(), hex(&signature.to_bytes()))
}

fn message(file: &[u8]) -> Vec<u8> {
    [DOMAIN, &Sha256::digest(file)[..]].concat()
}

fn parse(text: &str) -> Option<(String, Signature)> {
    let mut words = text.trim_end_matches(['\r', '\n']).split(' ');
    let (algorithm, key, signature, rest) = (words.next()?, words.next()?, words.next()?, words.next());
    if algorithm != ALGORITHM || rest.is_some() || key.len() != ID_DIGITS || !is_hex(key) {
        return None;
    }
    Some((key.to_owned(), Signature::from_bytes(&unhex::<64>(signature)?)))
}

fn shortened(text: &str) -> String {
    match text.lines().next().unwrap_or_default() {
        "" => "an empty file".to_owned(),
        line => format!("`{}`", crate::limits::cut(line, 60).escape_debug()),
    }
}

/// Lower-case digits only: one signature, one text.
fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !is_hex(text) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

impl PublicKey {
    /// How it is named: the first 16 of its digits.
    pub fn id(&self) -> String {
        hex(&self.0.to_bytes()[..ID_DIGITS / 2])
    }
}

impl std::str::FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let form = |hint| KeyError::Form { expected: PUBLIC, hint };
        if text.starts_with(SECRET) {
            return Err(KeyError::Private);
        }
        let digits = text.strip_prefix(PUBLIC).ok_or_else(|| match text.split_once(':') {
            Some(_) => form("; no other algorithm is known"),
            None if text.len() == 64 && is_hex(text) => form("; did you mean to put `ed25519:` before it?"),
            None => form("; the file `KEY.pub` that `stillhouse rule keygen` writes has it"),
        })?;
        let bytes = unhex::<32>(digits).ok_or_else(|| match digits.len() {
            64 => form("; the digits are 0 to 9 and a to f"),
            len if len < 64 => form("; some are missing"),
            _ => form("; there are too many"),
        })?;
        VerifyingKey::from_bytes(&bytes).map(Self).map_err(|_| KeyError::NoPoint)
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PUBLIC}{}", hex(self.0.as_bytes()))
    }
}

impl SecretKey {
    /// The key that belongs to 32 random bytes.
    pub fn from_random(bytes: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The text of its file. Whoever has it can sign.
    pub fn reveal(&self) -> String {
        format!("{SECRET}{}", hex(self.0.as_bytes()))
    }
}

impl std::str::FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let hint = if text.starts_with(PUBLIC) { "; this is a public key, which cannot sign" } else { "" };
        let digits = text.strip_prefix(SECRET).and_then(unhex::<32>);
        digits.map(|bytes| Self::from_random(&bytes)).ok_or(KeyError::Form { expected: SECRET, hint })
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretKey(of {})", self.public().id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_random(&[seed; 32])
    }

    #[test]
    fn only_the_signed_bytes_under_a_trusted_key_are_accepted() {
        let (file, trust) = (b"\0asm rule".to_vec(), [key(1).public(), key(2).public()]);
        let line = sign(&file, &key(2));
        assert_eq!(verify(&file, Some(&line), &trust), Ok(&trust[1]));
        assert_eq!(signer(&line), Some(key(2).public().id()));
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            let refused = verify(&changed, Some(&line), &trust).unwrap_err();
            assert!(matches!(refused, SignatureError::Wrong { .. }), "byte {at}: {refused}");
        }
        let refused = verify(&file, Some(&line), &trust[..1]).unwrap_err();
        assert_eq!(refused, SignatureError::Untrusted { key: key(2).public().id(), trusted: key(1).public().id() });
        assert!(verify(&file, None, &trust).unwrap_err().to_string().contains("stillhouse rule sign"));
        assert!(verify(&file, Some(&line), &[]).is_err());
    }

    #[test]
    fn every_changed_letter_of_a_signature_is_refused() {
        let (file, trust) = (b"rule".to_vec(), [key(1).public()]);
        let line = sign(&file, &key(1));
        for at in 0..line.trim_end().len() {
            for letter in *b"0z \n" {
                let mut changed = line.clone().into_bytes();
                changed[at] = if changed[at] == letter { b'1' } else { letter };
                let changed = String::from_utf8(changed).unwrap();
                assert!(verify(&file, Some(&changed), &trust).is_err(), "{changed}");
            }
        }
        for other in ["", "\n", &line[..40], &line.to_uppercase(), &format!("{line}{line}"), &format!(" {line}")] {
            let refused = verify(&file, Some(other), &trust).unwrap_err();
            assert!(matches!(refused, SignatureError::Malformed { .. }), "{other}: {refused}");
        }
    }

    #[test]
    fn a_signature_of_something_else_is_none_of_a_rule() {
        let file = b"rule".to_vec();
        for message in [file.clone(), Sha256::digest(&file).to_vec()] {
            let signature = key(1).0.sign(&message);
            let line = format!("ed25519 {} {}", key(1).public().id(), hex(&signature.to_bytes()));
            let refused = verify(&file, Some(&line), &[key(1).public()]).unwrap_err();
            assert!(matches!(refused, SignatureError::Wrong { .. }), "{refused}");
        }
    }

    #[test]
    fn keys_as_text() {
        let (secret, public) = (key(3), key(3).public());
        assert_eq!(public.to_string().parse(), Ok(public.clone()));
        assert_eq!(secret.reveal().parse::<SecretKey>().unwrap().public(), public);
        assert!(!format!("{secret:?}").contains(&secret.reveal()[20..40]), "a key is never shown");
        let refused = |text: &str| text.parse::<PublicKey>().unwrap_err().to_string();
        assert_eq!(secret.reveal().parse::<PublicKey>(), Err(KeyError::Private));
        assert!(refused(&public.to_string()[8..]).contains("did you mean to put `ed25519:`"));
        assert!(refused(&public.to_string()[..60]).contains("some are missing"));
        assert!(refused("keys/team.pub").contains("KEY.pub"));
        assert!(refused("rsa:abc").contains("no other algorithm"));
        assert!(public.to_string().parse::<SecretKey>().unwrap_err().to_string().contains("cannot sign"));
    }
}
