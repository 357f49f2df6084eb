//! Files that PyTorch wrote: a dictionary of tensors, and the state of a training.
#![no_main]

use candle_core::Device;
use chains_core::checkpoint::PthFile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::in_a_file("x.pth", bytes, |path| {
        for file in [PthFile::open(path), PthFile::open_nested(path)].into_iter().flatten() {
            let names: Vec<String> = file.shapes().map(|(name, _)| name.to_owned()).collect();
            for name in names {
                let _ = file.read(&name, &Device::Cpu);
            }
        }
    });
});
