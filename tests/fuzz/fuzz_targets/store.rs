#![no_main]
libfuzzer_sys::fuzz_target!(
    // The database gives up on some damages, and the store makes an error of that. What it lets through ends the
    // process all the same, but a panic that is caught must not.
    init: std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))),
    |bytes: &[u8]| stillhouse_fuzz::targets::feed("store", bytes)
);
