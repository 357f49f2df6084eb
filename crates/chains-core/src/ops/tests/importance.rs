//! Self-normalised importance sampling.

use candle_core::{DType, Device, Tensor};

use crate::{
    Result,
    ops::self_normalised_mean,
    testing::{assert_close, normal, on_devices, values},
};

on_devices!(weights_and_mean_are_those_of_the_formula);

fn weights_and_mean_are_those_of_the_formula(device: &Device) -> Result<()> {
    let (k, b, d) = (5, 3, 37);
    let (x, means) = (normal("x", (b, d)), normal("means", (k, b, d)));
    let (ratio, variance) = (normal("ratio", (k, b)), 7.0);
    let [xs, ms, rs] = [&x, &means, &ratio].map(values);
    let (mut want_weights, mut want_mean) = (vec![0.0; k * b], vec![0.0; b * d]);
    for row in 0..b {
        let log = |i: usize| {
            let square: f64 =
                (0..d).map(|j| (xs[row * d + j] - ms[(i * b + row) * d + j]).powi(2)).sum();
            rs[i * b + row] - square / (2.0 * variance)
        };
        let sum: f64 = (0..k).map(|i| log(i).exp()).sum();
        for i in 0..k {
            let weight = log(i).exp() / sum;
            want_weights[i * b + row] = weight;
            (0..d).for_each(|j| want_mean[row * d + j] += weight * ms[(i * b + row) * d + j]);
        }
    }
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
        if dtype == DType::F64 && !device.is_cpu() {
            continue;
        }
        let put = |t: &Tensor| t.to_dtype(dtype)?.to_device(device);
        let (weights, mean) =
            self_normalised_mean(&put(&x)?, &put(&means)?, &put(&ratio)?, variance)?;
        assert_close("weights", &values(&weights), &want_weights, tolerance);
        assert_close("mean", &values(&mean), &want_mean, tolerance);
    }
    // Far off all proposals the weights are still numbers.
    let far = (&x + 1e4)?.to_dtype(DType::F32)?;
    let [m, r] = [&means, &ratio].map(|t| t.to_dtype(DType::F32));
    let (weights, _) = self_normalised_mean(&far, &m?, &r?, 1e-4)?;
    let total: f64 = values(&weights).iter().sum();
    assert!((total - b as f64).abs() < 1e-5, "{total}");
    assert!(self_normalised_mean(&x, &means, &ratio.t()?, 1.0).is_err());
    Ok(())
}
