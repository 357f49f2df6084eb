//! The device a user asks for.

use candle_core::Device;

use crate::error::{Error, Result};

/// Parses `cpu`, `cuda`, `cuda:N` or `metal` and opens the device.
///
/// # Errors
/// [`Error::Device`] for an unknown name, for a device whose feature this build lacks (the message
/// names the feature to add), and for one that cannot be opened.
pub fn parse(name: &str) -> Result<Device> {
    let error = |reason: String| Error::Device { name: name.to_owned(), reason };
    let (kind, ordinal) = match name.split_once(':') {
        Some((kind, number)) => {
            let number = number
                .parse::<usize>()
                .map_err(|_| error("write the number as in `cuda:0`".into()))?;
            (kind, Some(number))
        }
        None => (name, None),
    };
    let open = |feature: &str, built: bool, open: fn(usize) -> candle_core::Result<Device>| {
        if !built {
            return Err(error(format!(
                "built without `{feature}`; rebuild with `--features {feature}`"
            )));
        }
        open(ordinal.unwrap_or(0)).map_err(|e| error(format!("cannot be opened: {e}")))
    };
    match (kind, ordinal) {
        ("cpu", None) => Ok(Device::Cpu),
        ("cuda", _) => open("cuda", cfg!(feature = "cuda"), Device::new_cuda),
        ("metal", _) => open("metal", cfg!(feature = "metal"), Device::new_metal),
        _ => Err(error("expected `cpu`, `cuda:N` or `metal`".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_there() {
        assert!(parse("cpu").unwrap().is_cpu());
    }

    #[test]
    fn errors_say_what_to_do() {
        for name in ["gpu", "cpu:1", "", "cuda:x"] {
            let message = parse(name).unwrap_err().to_string();
            assert!(message.contains("cuda:"), "{message}");
        }
        if !cfg!(feature = "cuda") {
            let message = parse("cuda:0").unwrap_err().to_string();
            assert!(message.contains("--features cuda"), "{message}");
        }
        if !cfg!(feature = "metal") {
            let message = parse("metal").unwrap_err().to_string();
            assert!(message.contains("--features metal"), "{message}");
        }
    }
}
