//! A pair of IDX files, plain or gzip: the first two bytes say where the second one begins.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((cut, rest)) = bytes.split_at_checked(2) else {
        return;
    };
    let cut = usize::from(u16::from_le_bytes([cut[0], cut[1]])).min(rest.len());
    let (images, labels) = rest.split_at(cut);
    if let Ok(set) = datasets::parse_idx("x", images, labels, 10) {
        assert_eq!(set.labels.len(), set.len());
    }
});
