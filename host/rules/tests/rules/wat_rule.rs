//! A mapper written by hand, that does something bad for each letter that a
//! signal's subject may begin with.

use wit_parser::Resolve;

/// What `map` does, by the first letter of the subject; any other letter is
/// observed with state `up` and that letter as the key.
pub const TRAP: &str = "t";
pub const LOOP: &str = "l";
pub const MEMORY: &str = "m";
pub const RECURSE: &str = "s";
pub const PANIC: &str = "p";
pub const BAD_OUTCOME: &str = "b";
pub const EMPTY_KEY: &str = "k";
pub const WRONG_LENGTH: &str = "w";
pub const NOT_UTF8: &str = "u";
pub const DROP: &str = "d";
/// Uses about three million units of fuel and is observed.
pub const COSTLY: &str = "c";
/// Observed with state `up` and `down` in turn.
pub const IMPURE: &str = "i";
/// Logs far more lines than allowed, and is observed.
pub const CHATTY: &str = "v";

/// The versions of the contract.
pub const OLD: &str = "0.1.0";
pub const NEW: &str = "0.2.0";

/// The parts that a test may change.
pub struct WatRule {
    /// The version of the contract.
    pub contract: &'static str,
    pub name: &'static str,
    pub version: &'static str,
    pub field: &'static str,
    /// The subject of the one case, and the state expected for it.
    pub case: (&'static str, &'static str),
    /// More items of the module, imports first.
    pub imports: &'static str,
    pub items: &'static str,
    /// Replaces the body of `describe`.
    pub describe: Option<&'static str>,
    /// What `configure` refuses with.
    pub refuses: Option<&'static str>,
}

impl Default for WatRule {
    fn default() -> Self {
        Self {
            contract: NEW,
            name: "by-hand",
            version: "1.2.3",
            field: "subject",
            case: ("ok", "up"),
            imports: "",
            items: "",
            describe: None,
            refuses: None,
        }
    }
}

/// Data of the module: texts and records, one after the other.
#[derive(Default)]
pub struct Data {
    bytes: Vec<u8>,
}

impl Data {
    pub const BASE: u32 = 1024;

    fn put(&mut self, bytes: &[u8]) -> u32 {
        while !self.bytes.len().is_multiple_of(8) {
            self.bytes.push(0);
        }
        let at = Self::BASE + self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        at
    }

    /// A list: pointer and length.
    pub fn text(&mut self, text: &str) -> [u32; 2] {
        [self.put(text.as_bytes()), text.len() as u32]
    }

    pub fn record(&mut self, words: &[u32]) -> u32 {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.put(&bytes)
    }

    pub fn escaped(&self) -> String {
        self.bytes.iter().map(|b| format!("\\{b:02x}")).collect()
    }
}

/// Adds the component type of a world of this version of the contract to a core module.
pub fn embed(module: &mut Vec<u8>, world: &str, contract: &str) {
    let mut resolve = Resolve::default();
    let folder = contract.strip_suffix(".0").expect("a version");
    let path = format!("{}/../../wit/v{folder}", env!("CARGO_MANIFEST_DIR"));
    let (package, _) = resolve.push_path(path).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let utf8 = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(module, &resolve, world, utf8).unwrap();
}

impl WatRule {
    /// The core module, as an SDK would build it.
    pub fn build(&self) -> Vec<u8> {
        let text = self.text();
        let mut module = wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        embed(&mut module, "mapper", self.contract);
        module
    }

    fn text(&self) -> String {
        let mut data = Data::default();
        let manifest = self.manifest(&mut data);
        let configured = match self.refuses {
            None => data.record(&[0, 0, 0]),
            Some(why) => {
                let [at, len] = data.text(why);
                data.record(&[1, at, len])
            }
        };
        let [fatal, fatal_len] = data.text("panicked at src/lib.rs:12:5: boom");
        let [reason, reason_len] = data.text("says nothing");
        let reason_offsets = data.record(&[0, reason_len]);
        let describe = match self.describe {
            Some(body) => body.to_owned(),
            None => format!("i32.const {manifest}"),
        };
        include_str!("mapper.wat")
            .replace("@contract", self.contract)
            .replace("@imports", self.imports)
            .replace("@items", self.items)
            .replace("@describe", &describe)
            .replace("@configured", &configured.to_string())
            .replace("@fatal_len", &fatal_len.to_string())
            .replace("@fatal", &fatal.to_string())
            .replace("@reason_offsets", &reason_offsets.to_string())
            .replace("@reason_len", &reason_len.to_string())
            .replace("@reason", &reason.to_string())
            .replace("@base", &Data::BASE.to_string())
            .replace("@data", &data.escaped())
    }

    fn manifest(&self, data: &mut Data) -> u32 {
        let [name, name_len] = data.text(self.name);
        let [version, version_len] = data.text(self.version);
        let [path, path_len] = data.text(self.field);
        let fields = data.record(&[path, path_len, 0]);
        let [up, up_len] = data.text("up");
        let [down, down_len] = data.text("down");
        let states = data.record(&[up, up_len, 0, down, down_len, 1]);
        let [case, case_len] = data.text("the one case");
        let (subject, state) = self.case;
        let [value, value_len] = data.text(subject);
        let given = data.record(&[path, path_len, value, value_len]);
        let [state, state_len] = data.text(state);
        let [key, key_len] = data.text(&subject[..1]);
        #[rustfmt::skip]
        let cases = data.record(&[
            case, case_len, given, 1,
            0, state, state_len, 0, key, key_len, 0, 0, 0, 0,
        ]);
        data.record(&[name, name_len, version, version_len, fields, 1, 7, states, 2, cases, 1])
    }
}
