//! Who may do what: roles, and the tokens that carry them.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::hex;

/// What a caller may do. Each role may do what those before it may.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Stages, advances, holds, promotes and rolls back.
    Operator,
    /// Also promotes past unfinished steps, and reads the audit trail.
    Admin,
}

impl Role {
    /// All of them, from the least.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("expected `viewer`, `operator` or `admin`, got `{text}`"))
    }
}

/// The longest name of a token, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// Names that the audit trail gives to others.
const TAKEN: [&str; 2] = ["stillhouse", "unknown"];

const HASH_PREFIX: &str = "sha256:";

/// A token as it is configured: only its hash is known.
///
/// The hash is plain SHA-256, without salt or stretching. Those protect passwords, which people
/// choose and which can be guessed; a token has 256 random bits, which cannot.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Who carries it, as the audit trail names them.
    pub name: String,
    /// What they may do.
    pub role: Role,
    hash: [u8; 32],
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, {})", self.name, self.role)
    }
}

impl Token {
    /// The token `name` with a hash as [`Secret::hash`] writes it.
    ///
    /// # Errors
    /// If the name or the hash is not well-formed; says what was expected.
    pub fn new(name: &str, role: Role, hash: &str) -> Result<Self, String> {
        check_name(name)?;
        let digits = hash.strip_prefix(HASH_PREFIX).filter(|digits| digits.len() == 64 && digits.is_ascii());
        let byte = |digits: &str, at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok();
        let bytes: Option<Vec<u8>> = digits.and_then(|digits| (0..32).map(|at| byte(digits, at)).collect());
        let Some(hash) = bytes.and_then(|bytes| bytes.try_into().ok()) else {
            return Err(
                "expected `sha256:` and 64 hexadecimal digits, as `stillhouse control token` prints them".into()
            );
        };
        Ok(Self { name: name.to_owned(), role, hash })
    }
}

/// Checks the name of a token.
///
/// # Errors
/// If it cannot be one; says what was expected.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.@".contains(letter);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(plain) {
        return Err(format!("expected a name of 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_`, `.` and `@`"));
    }
    if TAKEN.contains(&name) {
        return Err(format!("`{name}` is what the audit trail calls somebody else; choose another name"));
    }
    Ok(())
}

/// A new token. It is shown once and never stored.
pub struct Secret(String);

impl Secret {
    /// 256 bits from the system's source of randomness.
    ///
    /// # Errors
    /// If the system has none to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        // The prefix lets scanners of source code know a leaked token when they see one.
        Ok(Self(format!("stillhouse_{}", hex(&bytes))))
    }

    /// The token itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What stands in the configuration.
    pub fn hash(&self) -> String {
        format!("{HASH_PREFIX}{}", crate::sha256_hex(self.0.as_bytes()))
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// A token's name, or `uid N` on the Unix socket.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// On the Unix socket, by its user id as the system tells it.
    Unix(Option<u32>),
    /// On the address.
    Tcp(std::net::SocketAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(Some(uid)) => write!(f, "uid {uid}"),
            Self::Unix(None) => f.write_str("the socket"),
            Self::Tcp(address) => write!(f, "{}", address.ip()),
        }
    }
}

/// Why nobody is known to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// No token came.
    NoToken,
    /// A token came that is not configured.
    WrongToken,
}

/// Says who asks. A token that came counts; without one, the host's own user and root are admin on
/// the Unix socket, since they could as well stop the host or write its files.
pub(crate) fn identify(
    authorization: Option<&[u8]>,
    peer: &Peer,
    tokens: &[Token],
    own_uid: u32,
) -> Result<Caller, Unknown> {
    let Some(authorization) = authorization else {
        return match peer {
            Peer::Unix(Some(uid)) if *uid == own_uid || *uid == 0 => {
                Ok(Caller { name: format!("uid {uid}"), role: Role::Admin })
            }
            _ => Err(Unknown::NoToken),
        };
    };
    let (scheme, token) = authorization.split_at_checked(7).unwrap_or((authorization, b""));
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err(Unknown::NoToken);
    }
    let hash: [u8; 32] = Sha256::digest(token.trim_ascii()).into();
    // All are compared, each in constant time: the time taken tells nothing of any of them.
    let mut found = None;
    for token in tokens {
        if bool::from(token.hash.ct_eq(&hash)) {
            found = Some(token);
        }
    }
    found.map(|token| Caller { name: token.name.clone(), role: token.role }).ok_or(Unknown::WrongToken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_hash_alone() {
        let (secret, other) = (Secret::generate().expect("random"), Secret::generate().expect("random"));
        assert_ne!(secret.reveal(), other.reveal());
        let token = Token::new("ci", Role::Operator, &secret.hash()).expect("well-formed");
        assert!(!format!("{token:?}").contains(&secret.hash()[7..]), "a hash is not printed by accident");
        let tcp = Peer::Tcp(([127, 0, 0, 1], 1).into());
        let who = |header: &str, peer: &Peer| {
            identify(Some(header.as_bytes()), peer, std::slice::from_ref(&token), 1000).map(|caller| caller.name)
        };
        assert_eq!(who(&format!("Bearer {}", secret.reveal()), &tcp), Ok("ci".into()));
        assert_eq!(who(&format!("bearer  {} ", secret.reveal()), &tcp), Ok("ci".into()));
        assert_eq!(who(&format!("Bearer {}", other.reveal()), &tcp), Err(Unknown::WrongToken));
        assert_eq!(who(&format!("Bearer {}x", secret.reveal()), &tcp), Err(Unknown::WrongToken));
        assert_eq!(who("Bearer ", &tcp), Err(Unknown::WrongToken));
        assert_eq!(who("Basic abc", &tcp), Err(Unknown::NoToken));
        assert_eq!(who("B", &tcp), Err(Unknown::NoToken));
        // A wrong token is not made good by the socket.
        assert_eq!(who("Bearer no", &Peer::Unix(Some(1000))), Err(Unknown::WrongToken));
    }

    #[test]
    fn the_socket_knows_its_own_user_and_root() {
        let who = |peer: Peer| identify(None, &peer, &[], 1000).map(|caller| (caller.name, caller.role));
        assert_eq!(who(Peer::Unix(Some(1000))), Ok(("uid 1000".into(), Role::Admin)));
        assert_eq!(who(Peer::Unix(Some(0))), Ok(("uid 0".into(), Role::Admin)));
        assert_eq!(who(Peer::Unix(Some(1001))), Err(Unknown::NoToken));
        assert_eq!(who(Peer::Unix(None)), Err(Unknown::NoToken));
        assert_eq!(who(Peer::Tcp(([127, 0, 0, 1], 1).into())), Err(Unknown::NoToken));
    }

    #[test]
    fn names_and_hashes_are_checked() {
        let hash = format!("sha256:{}", "0".repeat(64));
        assert!(Token::new("a.b-c_d@e", Role::Viewer, &hash).is_ok());
        for name in ["", "uid 0", "stillhouse", "unknown", "a\nb", &"a".repeat(65)] {
            assert!(Token::new(name, Role::Viewer, &hash).is_err(), "{name}");
        }
        for hash in ["", "sha256:", &hash[..70], &hash.replace('0', "é"), &hash.replace('0', "g"), &hash[7..]] {
            assert!(Token::new("a", Role::Viewer, hash).is_err(), "{hash}");
        }
        assert!("root".parse::<Role>().unwrap_err().contains("`viewer`, `operator` or `admin`"));
    }
}
