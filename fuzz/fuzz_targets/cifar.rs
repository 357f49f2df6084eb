#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(set) = datasets::parse_cifar10(Path::new("x"), bytes) {
        assert_eq!(set.labels.len(), set.len());
    }
});
