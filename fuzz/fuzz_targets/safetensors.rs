//! Arrays, and statistics if the metadata says that they are some.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::arrays("x.safetensors", bytes));
