//! The log density of diagonal Gaussians.

use candle_core::{DType, Device, Tensor};

use crate::{
    Result,
    ops::{gaussian_log_density, gaussian_log_prob},
    testing::{
        assert_agrees, assert_close, assert_differences, assert_thread_count_free,
        assert_untracked, normal, on_devices, uniform, values, vector,
    },
};

on_devices!(
    equals_the_composed_path_for_any_shape,
    golden_values,
    an_operand_used_twice_gathers_both_gradients,
);

fn operands(shape: &[usize]) -> [Tensor; 3] {
    [normal("x", shape), normal("mean", shape), uniform("variance", shape, 0.05, 3.0)]
}

fn elementwise(i: &[Tensor]) -> Result<Tensor> {
    gaussian_log_density(&i[0], &i[1], &i[2])
}

fn summed(i: &[Tensor]) -> Result<Tensor> {
    gaussian_log_prob(&i[0], &i[1], &i[2])
}

fn equals_the_composed_path_for_any_shape(device: &Device) -> Result<()> {
    for shape in [&[1][..], &[5], &[3, 5], &[2, 3, 2, 5], &[7, 9_000], &[30_000, 2]] {
        let what = format!("{shape:?}");
        assert_agrees(&what, &elementwise, &operands(shape), device, 2e-6)?;
        assert_agrees(&what, &summed, &operands(shape), device, 2e-6)?;
    }
    let transposed =
        |i: &[Tensor]| gaussian_log_prob(&i[0].t()?.contiguous()?, &i[1].t()?, &i[2].t()?);
    assert_agrees("transposed", &transposed, &operands(&[3, 4]), device, 2e-6)
}

fn golden_values(device: &Device) -> Result<()> {
    let convert =
        |v: &[f64]| -> Result<Tensor> { Ok(vector(v).to_dtype(DType::F32)?.to_device(device)?) };
    let (x, mean) = (convert(&[0.0, 2.0, -1.0])?, convert(&[0.0, 0.0, 1.0])?);
    let variance = convert(&[1.0, 4.0, 0.25])?;
    // -0.5 ln(2 pi v) - d^2 / (2 v), by hand.
    let want = [-0.918_938_5, -2.112_085_7, -8.225_791_4];
    let got = values(&gaussian_log_density(&x, &mean, &variance)?);
    assert_close("density", &got, &want, 1e-7);
    let rows = |t: &Tensor| t.reshape((1, 3));
    let sum = gaussian_log_prob(&rows(&x)?, &rows(&mean)?, &rows(&variance)?)?;
    assert_close("sum", &values(&sum), &[-11.256_815_6], 1e-7);
    // 100,000 dimensions: an f32 sum would be off by more.
    let many = Tensor::zeros((1, 100_000), DType::F32, device)?;
    let sum = values(&gaussian_log_prob(&many, &many, &many.ones_like()?)?);
    assert_close("many", &sum, &[-91_893.853_320_467], 3e-7);
    Ok(())
}

fn an_operand_used_twice_gathers_both_gradients(device: &Device) -> Result<()> {
    let f = |i: &[Tensor]| gaussian_log_prob(&i[0], &(&i[0] * 0.3)?, &(i[0].sqr()? + 0.5)?);
    assert_agrees("a law that follows its value", &f, &[normal("x", (3, 4))], device, 2e-6)?;
    let same = |i: &[Tensor]| gaussian_log_density(&i[0], &i[0], &i[1]);
    let inputs = [normal("x", 6), uniform("v", 6, 0.5, 2.0)];
    assert_agrees("at its own mean", &same, &inputs, device, 2e-6)
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    for shape in [&[5][..], &[3, 4], &[2, 2, 3]] {
        assert_differences("elementwise", &elementwise, &operands(shape))?;
        assert_differences("summed", &summed, &operands(shape))?;
    }
    Ok(())
}

#[test]
fn an_untracked_operand_gets_no_gradient() -> Result<()> {
    for frozen in 0..3 {
        assert_untracked("elementwise", &elementwise, &operands(&[3, 4]), frozen)?;
        assert_untracked("summed", &summed, &operands(&[3, 4]), frozen)?;
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    assert_thread_count_free("elementwise", elementwise, &operands(&[40, 1000]))?;
    assert_thread_count_free("summed", summed, &operands(&[40, 1000]))
}

#[test]
fn shapes_that_differ_are_an_error() -> Result<()> {
    let (a, b) = (vector(&[0.0, 1.0]), vector(&[1.0]));
    let message = gaussian_log_density(&a, &b, &a).unwrap_err().to_string();
    assert!(message.contains("Gaussian mean"), "{message}");
    let message = gaussian_log_prob(&a, &a, &b).unwrap_err().to_string();
    assert!(message.contains("Gaussian variance"), "{message}");
    Ok(())
}
