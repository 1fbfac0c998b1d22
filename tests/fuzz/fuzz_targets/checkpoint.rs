#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stillhouse_fuzz::targets::feed("checkpoint", bytes));
