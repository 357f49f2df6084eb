//! The convolution behind a doubling of the resolution.

use candle_core::Device;

use crate::{
    Result,
    ops::{conv2d, upsample2, upsample2_conv2d},
    testing::{
        assert_agrees, assert_close, assert_thread_count_free, assert_untracked, evaluate, normal,
        on_devices,
    },
};

on_devices!(it_is_the_convolution_of_the_doubled_map);

fn it_is_the_convolution_of_the_doubled_map(device: &Device) -> Result<()> {
    for (h, w) in [(4, 4), (3, 5), (1, 2)] {
        let inputs = [normal("x", (2, 3, h, w)), normal("weight", (5, 3, 3, 3)), normal("bias", 5)];
        let f = |i: &[candle_core::Tensor]| upsample2_conv2d(&i[0], &i[1], Some(&i[2]));
        assert_agrees("upsampled convolution", &f, &inputs, device, 1e-5)?;
        let plain =
            |i: &[candle_core::Tensor]| conv2d(&upsample2(&i[0])?, &i[1], Some(&i[2]), 1, 1);
        let dtype = candle_core::DType::F32;
        let [got, want] =
            [evaluate(&f, &inputs, dtype, device)?, evaluate(&plain, &inputs, dtype, device)?];
        assert_close("value", &got.value, &want.value, 1e-5);
        for (got, want) in got.grads.iter().zip(&want.grads) {
            assert_close("gradient", got.as_ref().unwrap(), want.as_ref().unwrap(), 1e-5);
        }
    }
    Ok(())
}

#[test]
fn bits_do_not_depend_on_threads_and_frozen_operands_have_no_gradient() -> Result<()> {
    let inputs = [normal("x", (3, 4, 4, 4)), normal("weight", (6, 4, 3, 3)), normal("bias", 6)];
    let f = |i: &[candle_core::Tensor]| upsample2_conv2d(&i[0], &i[1], Some(&i[2]));
    assert_thread_count_free("upsampled convolution", f, &inputs)?;
    for frozen in 0..3 {
        assert_untracked("upsampled convolution", &f, &inputs, frozen)?;
    }
    assert!(upsample2_conv2d(&inputs[0], &normal("small", (6, 4, 2, 2)), None).is_err());
    Ok(())
}
