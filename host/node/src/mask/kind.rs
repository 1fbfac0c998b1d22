//! The known kinds of secrets. They take too much rather than too little.

use regex::Regex;

use crate::config::MaskKind;

/// `name@host.domain`, also as `%40` in an URL.
const EMAIL: &[&str] = &[r"[\w.%+'-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+"];

/// IPv6: all that has `::` in it, then eight groups or six and an IPv4 address; and IPv4. A time such
/// as `12:30:59` or a MAC address has too few groups.
const ADDRESS: &[&str] = &[
    r"(?i)\b{start-half}(?:[0-9a-f]+(?:[:.][0-9a-f]+)*::(?:[0-9a-f]+(?:[:.]+[0-9a-f]+)*)?|::[0-9a-f]+(?:[:.]+[0-9a-f]+)*)\b{end-half}",
    r"(?i)\b{start-half}(?:[0-9a-f]{1,4}:){6,7}(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9a-f]{1,4}:[0-9a-f]{1,4}|[0-9a-f]{1,4})\b{end-half}",
    r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}",
];

/// What is known by its form: JSON web tokens, keys of AWS, GitHub, Slack and Google, private keys,
/// the password in an URL; then what follows a word such as `password=` or `Authorization:`.
const TOKEN: &[&str] = &[
    r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?",
    r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ANVA|AIPA)[A-Z0-9]{12,}",
    r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|sk-|AIza)[\w-]{16,}",
    r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    r"://[^\s/:@]*:(?P<secret>[^\s/@]+)@",
    r#"(?i)(?:passw(?:or)?d|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|authorization|credentials?|cookie)[\\"']*\s*[:=]\s*(?P<secret>(?:(?:bearer|basic|digest|negotiate|token)\s+)?(?:\\*"[^"]*"?|'[^']*'?|[^\s"'\\]+(?:\\[^"'\s][^\s"'\\]*)*))"#,
    r"(?i)\b(?:bearer|basic)\s+(?P<secret>[\w.~+/=-]{8,})",
];

/// Keys of JSON objects whose value is a secret, whatever it looks like.
const NAMES: &str = r"(?i)(?:passw(?:or)?d|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|authorization|credentials?|cookie)$";

/// What is looked for.
pub(super) fn patterns(kind: MaskKind) -> impl Iterator<Item = Regex> {
    let patterns = match kind {
        MaskKind::Email => EMAIL,
        MaskKind::Address => ADDRESS,
        MaskKind::Token => TOKEN,
    };
    patterns.iter().map(|pattern| compiled(pattern))
}

/// The keys of JSON objects whose value is one.
pub(super) fn names(kind: MaskKind) -> Option<Regex> {
    (kind == MaskKind::Token).then(|| compiled(NAMES))
}

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the patterns of this file are tried by its tests")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mask::{Cover, InputMask, Search};

    fn masked(kind: MaskKind, text: &str) -> String {
        let cover = Arc::new(Cover { with: "#".into(), salt: None });
        let searches = patterns(kind).map(|regex| Search::new(regex, &cover)).collect();
        InputMask { searches, ..InputMask::new() }.search(text).unwrap_or_else(|| text.to_owned())
    }

    fn check(kind: MaskKind, cases: &[(&str, &str)]) {
        for (text, expected) in cases {
            assert_eq!(masked(kind, text), *expected, "{text}");
        }
    }

    #[test]
    fn addresses_of_mail() {
        check(
            MaskKind::Email,
            &[
                ("from <a.b+c@x-y.example.org>, to d@e.f.", "from <#>, to #."),
                ("?to=a%40b.com&x", "?to=#&x"),
                ("jürgen@müller.de", "#"),
                ("root@host and a@b", "root@host and a@b"),
            ],
        );
    }

    #[test]
    fn addresses_of_the_internet() {
        check(
            MaskKind::Address,
            &[
                ("from 10.1.2.3:80, eth0_192.168.0.1", "from #:80, eth0_#"),
                ("[2001:db8::1]:443 from fe80::1%eth0 fe80::/10", "[#]:443 from #%eth0 #/10"),
                ("peer:2001:db8::1: up a::b ::1 ::ffff:10.0.0.1", "peer:#: up # # #"),
                ("2001:db8:0:0:0:0:0:1 and 0:0:0:0:0:ffff:10.0.0.1.", "# and #."),
                ("at 12:30:59 aa:bb:cc:dd:ee:ff std::string 1.2.3", "at 12:30:59 aa:bb:cc:dd:ee:ff std::string 1.2.3"),
            ],
        );
    }

    #[test]
    fn tokens() {
        check(
            MaskKind::Token,
            &[
                ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln ok", "jwt # ok"),
                ("Authorization: Bearer abc.def-1 ok", "Authorization: # ok"),
                ("curl -H 'authorization: Basic dXNlcjpwYXNz' x", "curl -H 'authorization: #' x"),
                ("got bearer abcdefgh12345678", "got bearer #"),
                ("password=hunter2 x", "password=# x"),
                (r#"{"password":"hun ter2","a":1}"#, r#"{"password":#,"a":1}"#),
                (r#"{\"api_key\": \"abc\"}"#, r#"{\"api_key\": #}"#),
                ("DB_PASSWORD = 'a b' token:abc,def", "DB_PASSWORD = # token:#"),
                ("postgres://me:s3cr3t@db/x", "postgres://me:#@db/x"),
                ("key AKIAIOSFODNN7EXAMPLE.", "key #."),
                ("ghp_0123456789abcdefghij0123456789abcdef", "#"),
                ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- x", "# x"),
                ("the token was refused, digest 59f2c1d07a3be846", "the token was refused, digest 59f2c1d07a3be846"),
            ],
        );
        let names = names(MaskKind::Token).unwrap();
        for name in ["password", "DB_PASSWORD", "accessToken", "clientSecret", "Authorization", "api-key"] {
            assert!(names.is_match(name), "{name}");
        }
        assert!(!names.is_match("secretName"));
    }
}
