//! Who knocks at SSH, from the syslog of OpenSSH: logins by the address that they come from.
//!
//! A password that is refused is `failed`, a login is `accepted`; the address is the entity, whatever
//! host it tries. Who is let in has done with failing, so `accepted` ends the entity: most people who
//! fail just mistyped and get in at the second try, and nothing is said of them. After failures that
//! were many enough to be told it is the event to look at: `failed` to `accepted` is a password that
//! was guessed. It is critical, so that nothing holds it back; a login by key is info.
//!
//! One attempt writes up to six lines, of which `Failed` and `Accepted` name the address and the
//! outcome; the others are left to the pattern or dropped. `message repeated 5 times: [ Failed ..]`
//! is one signal, since a signal stands for one record; nobody can tell when each of the five was.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Login<'a> {
    /// `Failed` or `Accepted`.
    result: &'a str,
    /// What was tried: `password`, `publickey`, `keyboard-interactive/pam`, `none`.
    method: &'a str,
    /// Where it came from.
    address: &'a str,
}

#[derive(States, Clone, Copy)]
enum Access {
    #[problem]
    Failed,
    #[gone]
    Accepted,
}

fn map(login: Login<'_>) -> Mapped<'_, Access> {
    if login.address.is_empty() {
        return rejected("data.address is empty");
    }
    match (login.result, login.method) {
        // Nobody guesses a key.
        ("Accepted", "publickey") => observe(Access::Accepted, login.address),
        ("Accepted", _) => observe(Access::Accepted, login.address).severity(Severity::Critical),
        // A client that asks which methods there are, before it tries one.
        ("Failed", "none") => dropped("a question for the methods"),
        // A client offers every key that it has; the one that fits is the last.
        ("Failed", "publickey") => dropped("a key that did not fit"),
        ("Failed", _) => observe(Access::Failed, login.address),
        _ => dropped("neither failed nor accepted"),
    }
}

fn cases() -> Vec<Case> {
    let of = |result, method| [("data.result", result), ("data.method", method), ("data.address", "203.0.113.7")];
    vec![
        case("a password is refused", &of("Failed", "password")).observes("failed", "203.0.113.7"),
        case("a password asked for by PAM is refused", &of("Failed", "keyboard-interactive/pam"))
            .observes("failed", "203.0.113.7"),
        case("a password is right", &of("Accepted", "password"))
            .observes("accepted", "203.0.113.7")
            .severity(Severity::Critical),
        case("a key is right", &of("Accepted", "publickey")).observes("accepted", "203.0.113.7"),
        case("a client asks for the methods", &of("Failed", "none")).drops("a question for the methods"),
        case("one of many keys", &of("Failed", "publickey")).drops("a key that did not fit"),
        case("half a login", &of("Partial", "publickey")).drops("neither failed nor accepted"),
        case("an empty address", &[("data.result", "Failed"), ("data.method", "password"), ("data.address", "")])
            .rejects("data.address is empty"),
        case("no address", &[("data.result", "Failed"), ("data.method", "password")]).rejects("missing data.address"),
    ]
}

mapper! {
    name: "ssh-auth",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Access,
    map: map,
    cases: cases,
}
