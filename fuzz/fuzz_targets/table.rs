//! Tables of comma separated values.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::in_a_file("x.csv", bytes, |path| {
        let _ = datasets::read_csv(path, Some("y"));
    });
});
