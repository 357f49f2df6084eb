//! Maps side by side.

use candle_core::{DType, Device, Tensor};

use crate::{
    Error, Result,
    ops::join_channels,
    testing::{assert_agrees, normal, on_devices, values},
};

on_devices!(joined_maps_are_those_of_candle);

fn joined_maps_are_those_of_candle(device: &Device) -> Result<()> {
    let parts = [normal("a", (3, 2, 4, 5)), normal("b", (3, 1, 4, 5)), normal("c", (3, 7, 4, 5))];
    assert_agrees("join_channels", &join_channels, &parts, device, 1e-7)?;
    let twice = |i: &[Tensor]| join_channels(&[i[0].clone(), i[1].clone(), i[0].clone()]);
    assert_agrees("a map twice", &twice, &parts[..2], device, 1e-7)?;
    let many = |i: &[Tensor]| {
        join_channels(&[i[2].clone(), i[1].clone(), i[0].clone(), i[2].clone(), i[1].clone()])
    };
    assert_agrees("five maps", &many, &parts, device, 1e-7)?;
    // Without a graph, and of strided parts.
    let plain = |parts: &[Tensor]| -> Result<Vec<Tensor>> {
        parts.iter().map(|t| Ok(t.to_dtype(DType::F32)?.to_device(device)?)).collect()
    };
    let parts = plain(&parts)?;
    assert_eq!(values(&join_channels(&parts)?), values(&Tensor::cat(&parts, 1)?));
    assert_eq!(values(&join_channels(&parts[..1])?), values(&parts[0]));
    let turned: Vec<Tensor> =
        parts.iter().map(|t| t.transpose(2, 3)).collect::<candle_core::Result<_>>()?;
    assert_eq!(values(&join_channels(&turned)?), values(&Tensor::cat(&turned, 1)?));
    Ok(())
}

#[test]
fn maps_of_other_sizes_are_refused() {
    let parts = [normal("a", (3, 2, 4, 5)), normal("b", (3, 2, 5, 4))];
    for (parts, words) in [
        (&parts[..], "parts (3, c, 4, 5)"),
        (&[normal("x", (2, 3))][..], "parts (b, c, h, w)"),
        (&[][..], "at least one part"),
    ] {
        let error = join_channels(parts).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}
