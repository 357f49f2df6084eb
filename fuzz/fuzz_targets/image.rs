//! An image of a folder: decoded, cut and resized.
#![no_main]

use std::path::Path;

use datasets::{Colour, Crop, FolderOptions, decode_image};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let window = Crop::Window { height: 3, width: 2 };
    for (crop, colour) in
        [(Crop::Whole, Colour::Rgb), (Crop::Square, Colour::Grey), (window, Colour::Rgb)]
    {
        let options = FolderOptions { height: 5, width: 4, crop, colour, limit: None };
        if let Ok(pixels) = decode_image(Path::new("x"), bytes, &options) {
            assert_eq!(pixels.len(), if colour == Colour::Grey { 20 } else { 60 });
        }
    }
});
