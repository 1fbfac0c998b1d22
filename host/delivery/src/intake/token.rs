//! Who may post.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const PREFIX: &str = "sha256:";

const EXPECTED: &str = "expected `sha256:` and 64 hexadecimal digits, as `stillhouse control token` prints them";

/// A bearer token of which only the hash is known, as `stillhouse control token` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl std::str::FromStr for TokenHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || EXPECTED.to_owned();
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == 64 && digits.is_ascii());
        let digits = digits.ok_or_else(expected)?.as_bytes();
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or_else(expected);
            *byte = (digit(0)? * 16 + digit(1)?) as u8;
        }
        Ok(Self(hash))
    }
}

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

/// Whether the header Authorization carries one of these tokens; says what is wrong if not. Without tokens
/// everybody may.
pub(super) fn check(authorization: Option<&[u8]>, tokens: &[TokenHash]) -> Result<(), &'static str> {
    if tokens.is_empty() {
        return Ok(());
    }
    let (scheme, token) = authorization.and_then(|value| value.split_at_checked(7)).ok_or("no token came")?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err("no bearer token came");
    }
    let hash: [u8; 32] = Sha256::digest(token.trim_ascii()).into();
    // All are compared, each in constant time: the time taken tells nothing of any of them.
    let known = tokens.iter().fold(subtle::Choice::from(0), |known, token| known | token.0.ct_eq(&hash));
    if known.into() { Ok(()) } else { Err("the token is not known here") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_hash() {
        // echo -n secret | sha256sum
        let hash = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let tokens = [TokenHash::of("other"), hash.parse().expect("a hash")];
        assert_eq!(tokens[1], TokenHash::of("secret"));
        assert_eq!(check(Some(b"Bearer secret"), &tokens), Ok(()));
        assert_eq!(check(Some(b"bearer other"), &tokens), Ok(()));
        assert_eq!(check(None, &[]), Ok(()));
        for wrong in
            [None, Some(&b""[..]), Some(b"Bearer"), Some(b"Bearer secret2"), Some(b"Basic secret"), Some(b"secret")]
        {
            assert!(check(wrong, &tokens).is_err(), "{wrong:?}");
        }
        for bad in ["", "sha256:", &hash[..70], &hash.replace('2', "g"), &format!("{hash}0"), &hash.replace("2b", "é")]
        {
            assert!(bad.parse::<TokenHash>().is_err(), "{bad}");
        }
    }
}
