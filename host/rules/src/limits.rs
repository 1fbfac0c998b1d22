//! Every bound that a rule meets, in one place.

/// What a rule may use and answer. Every field is an upper bound.
///
/// Fuel is the budget that decides: it counts WebAssembly instructions (and
/// one unit for each byte of a bulk copy or fill), so the same call costs the
/// same on every machine. The deadline is only a backstop for what fuel does
/// not see, far above what fuel allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of a rule's file, in bytes.
    pub component_bytes_max: usize,
    /// Functions in all modules of a rule together. Bounds compiling.
    pub functions_max: u32,
    /// Size of one function's body, in bytes; compiling may take more than
    /// linear time in it.
    pub function_bytes_max: u32,
    /// Local variables of all functions of a rule together.
    pub locals_max: u32,
    /// Types of all modules and components of a rule together.
    pub types_max: u32,
    /// Imports and exports of all modules and components of a rule together.
    pub names_max: u32,
    /// Compiled rules that the cache folder keeps; the oldest go first.
    pub cache_files_max: usize,

    /// Fuel for one call with a batch, whatever its number of rows. A batch
    /// that needs more is cut in halves. A row that is alone at last, on a
    /// fresh instance, gets twice as much, and that decides.
    pub fuel_per_call: u64,
    /// Fuel to start an instance, to describe and to configure.
    pub fuel_to_start: u64,
    /// Fuel that all test cases of a rule may use when each is asked once.
    pub fuel_to_prove: u64,
    /// Wall-clock time of one call, in milliseconds; a row that is alone at
    /// last gets four times as much.
    pub deadline_ms: u64,
    /// Linear memory of an instance, in bytes.
    pub memory_bytes_max: usize,
    /// Entries of one table.
    pub table_elements_max: usize,
    /// Stack of WebAssembly code, in bytes. The calling thread must have that
    /// much and 512 KiB more.
    pub stack_bytes_max: usize,
    /// What one answer may take on the host, in bytes.
    pub answer_bytes_max: usize,
    /// What a manifest may take on the host, in bytes.
    pub manifest_bytes_max: usize,

    /// Lines that a rule may log in one call; more are counted only.
    pub log_lines_max: u32,
    /// Bytes of one logged line; more are cut.
    pub log_line_bytes_max: usize,

    /// Rows that fail in one batch before the rest is asked one by one.
    pub failures_before_single: u32,
    /// Record key of an observed row, in bytes (at least 1).
    pub key_bytes_max: usize,
    /// Value of an observed row, in bytes.
    pub value_bytes_max: usize,
    /// Distinct reasons in one answer.
    pub reasons_max: usize,
    /// One reason, in bytes.
    pub reason_bytes_max: usize,

    /// What a suppressor may remember of one entity, in bytes, and what a case may give it.
    pub memo_bytes_max: usize,
    /// Fields that a rule reads.
    pub fields_max: usize,
    /// Test cases of a rule.
    pub cases_max: usize,
    /// Settings of a rule.
    pub settings_max: usize,
    /// All settings of a rule together, in bytes.
    pub settings_bytes_max: usize,
}

/// Canonical states of a mapper: codes are one byte and 255 is spare.
pub(crate) const STATES_MAX: usize = 255;
/// A rule's or a state's name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 64;
/// A field's path, in bytes.
pub(crate) const PATH_BYTES_MAX: usize = 256;
/// How much more fuel and time a row gets that is alone on a fresh instance.
pub(crate) const LAST_FUEL_FACTOR: u64 = 2;
/// See [`LAST_FUEL_FACTOR`]; time is not part of the verdict's argument and may be generous.
pub(crate) const LAST_DEADLINE_FACTOR: u64 = 4;
/// Tables and memories of one component.
pub(crate) const CORE_PARTS_MAX: u32 = 16;
/// Core instances of one component: one in Python has 38, each part of its standard library apart.
pub(crate) const CORE_INSTANCES_MAX: u32 = 64;

// `split.rs` needs it: what a batch and a start can use together, one row alone may use.
const _: () = assert!(LAST_FUEL_FACTOR >= 2);

impl Default for Limits {
    fn default() -> Self {
        Self {
            component_bytes_max: 32 << 20,
            functions_max: 100_000,
            function_bytes_max: 512 << 10,
            locals_max: 4_000_000,
            types_max: 30_000,
            names_max: 100_000,
            cache_files_max: 256,
            fuel_per_call: 20_000_000,
            fuel_to_start: 200_000_000,
            fuel_to_prove: 2_000_000_000,
            deadline_ms: 500,
            memory_bytes_max: 16 << 20,
            table_elements_max: 20_000,
            stack_bytes_max: 512 << 10,
            answer_bytes_max: 16 << 20,
            manifest_bytes_max: 4 << 20,
            log_lines_max: 16,
            log_line_bytes_max: 1024,
            failures_before_single: 16,
            key_bytes_max: 1024,
            value_bytes_max: 4096,
            reasons_max: 256,
            reason_bytes_max: 256,
            memo_bytes_max: 4096,
            fields_max: 64,
            cases_max: 1024,
            settings_max: 256,
            settings_bytes_max: 64 << 10,
        }
    }
}

/// `n` with a comma between thousands.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `bytes` in the largest unit that shows it exactly, or rounded up to MiB.
pub(crate) fn size(bytes: usize) -> String {
    const MIB: usize = 1 << 20;
    const GIB: usize = 1 << 30;
    match bytes {
        b if b >= GIB && b.is_multiple_of(GIB) => format!("{} GiB", b / GIB),
        b if b >= MIB && b.is_multiple_of(MIB) => format!("{} MiB", b / MIB),
        b if b >= 16 * MIB => format!("{} MiB", b.div_ceil(MIB)),
        b if b >= 1024 && b.is_multiple_of(1024) => format!("{} KiB", b / 1024),
        b => format!("{} bytes", grouped(b as u64)),
    }
}

/// `text` cut to at most `bytes` bytes, at a character.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(2_000_000), "2,000,000");
        assert_eq!(size(16 << 20), "16 MiB");
        assert_eq!(size(2 << 30), "2 GiB");
        assert_eq!(size(65_536), "64 KiB");
        assert_eq!(size(1_500), "1,500 bytes");
        assert_eq!(cut("aé", 2), "a");
    }
}
