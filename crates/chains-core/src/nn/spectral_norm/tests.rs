use candle_core::Var;

use super::*;
use crate::{
    HostNoise, Seed,
    autograd::value_and_gradients,
    testing::{assert_close, normal, values},
};

fn noise() -> HostNoise {
    Seed::new(0).child("spectral").host_noise()
}

#[test]
fn a_small_matrix_has_its_known_norm_and_the_gradient_is_the_outer_product() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let w = Tensor::new(&[[3.0, 0.0], [4.0, 5.0]], &Device::Cpu)?.to_dtype(dtype)?;
        let w = Var::from_tensor(&w.reshape((2, 1, 1, 2))?)?;
        let mut norms = SpectralNorms::new();
        let (sigma, grads) =
            value_and_gradients(|| norms.total(&[w.as_tensor().clone()], &mut noise()))?;
        assert_close("sigma", &values(&sigma), &[45_f64.sqrt()], 1e-6);
        // u = (1, 3) / sqrt(10), v = (1, 1) / sqrt(2).
        let root = 20_f64.sqrt();
        let want = [1.0 / root, 1.0 / root, 3.0 / root, 3.0 / root];
        let got = values(grads.get(w.as_tensor()).unwrap());
        assert_close("gradient", &got, &want, 1e-5);
        // So it is without a tape.
        let grads = norms.total(&[w.as_tensor().clone()], &mut noise())?.backward()?;
        assert_close("graph", &values(grads.get(w.as_tensor()).unwrap()), &want, 1e-5);
    }
    Ok(())
}

/// The largest singular value by power iteration on `W W^T` in f64 until it stands still.
fn exact(w: &Tensor) -> Result<f64> {
    let w = w.to_dtype(DType::F64)?;
    let gram = w.matmul(&w.t()?)?;
    let mut x = Tensor::ones((gram.dims()[0], 1), DType::F64, &Device::Cpu)?;
    let mut last = 0.0;
    for _ in 0..20_000 {
        x = gram.matmul(&x)?;
        let length: f64 = x.sqr()?.sum_all()?.sqrt()?.to_scalar()?;
        x = (x / length)?;
        if (length - last).abs() < 1e-13 * length {
            break;
        }
        last = length;
    }
    Ok(last.sqrt())
}

#[test]
fn a_dense_spectrum_is_approached_from_below() -> Result<()> {
    let w = normal("w", (256, 1152)).to_dtype(DType::F32)?;
    let truth = exact(&w)?;
    let kernel = [w.reshape((256, 128, 3, 3))?];
    let mut norms = SpectralNorms::new();
    let sigma = |norms: &mut SpectralNorms| -> Result<f64> {
        Ok(values(&norms.total(&kernel, &mut noise())?)[0])
    };
    let first = sigma(&mut norms)?;
    assert!(first <= truth + 1e-4 && first > 0.96 * truth, "{first} {truth}");
    let mut last = first;
    for _ in 0..100 {
        last = sigma(&mut norms)?;
        assert!(last <= truth + 1e-4, "{last} {truth}");
    }
    assert!(last > 0.99 * truth, "{last} {truth}");
    Ok(())
}

#[test]
fn every_kernel_has_vectors_of_its_own() -> Result<()> {
    let kernels = [(3, 2, 3, 3), (4, 1, 5, 5), (3, 2, 3, 3)];
    let kernels: Vec<Tensor> = kernels
        .iter()
        .enumerate()
        .map(|(i, shape)| normal(&format!("w{i}"), *shape).to_dtype(DType::F32).unwrap())
        .collect();
    let mut norms = SpectralNorms::new();
    for _ in 0..50 {
        norms.each(&kernels, &mut noise())?;
    }
    for (sigma, kernel) in norms.each(&kernels, &mut noise())?.iter().zip(&kernels) {
        let truth = exact(&kernel.flatten_from(1)?)?;
        assert_close("sigma", &values(sigma), &[truth], 1e-4);
    }
    assert!(norms.each(&kernels[..2], &mut noise()).is_err());
    let others = [kernels[0].clone(), kernels[0].clone(), kernels[2].clone()];
    assert!(norms.each(&others, &mut noise()).is_err());
    assert_eq!(values(&SpectralNorms::new().total(&[], &mut noise())?), [0.0]);
    Ok(())
}

#[test]
fn a_kernel_of_zeros_has_norm_zero_until_it_grows() -> Result<()> {
    let zero = Tensor::zeros((2, 3, 1, 1), DType::F32, &Device::Cpu)?;
    let mut norms = SpectralNorms::new();
    assert_eq!(values(&norms.total(std::slice::from_ref(&zero), &mut noise())?), [0.0]);
    let grown = (zero + 10.0)?;
    let mut sigma = 0.0;
    for _ in 0..5 {
        sigma = values(&norms.total(std::slice::from_ref(&grown), &mut noise())?)[0];
    }
    assert_close("sigma", &[sigma], &[10.0 * 6_f64.sqrt()], 1e-5);
    Ok(())
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let kernels: Vec<Tensor> =
        (0..5).map(|i| normal(&format!("w{i}"), (33, 70)).to_dtype(DType::F32).unwrap()).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| values(&SpectralNorms::new().total(&kernels, &mut noise()).unwrap()))
    };
    assert_eq!(run(1), run(3));
    Ok(())
}

#[test]
fn restored_vectors_go_on_with_the_same_bits() -> Result<()> {
    let kernels: Vec<Tensor> =
        (0..12).map(|i| normal(&format!("w{i}"), (9, 14)).to_dtype(DType::F32).unwrap()).collect();
    let mut norms = SpectralNorms::new();
    assert!(norms.tensors()?.is_empty());
    norms.each(&kernels, &mut noise())?;
    let state: BTreeMap<_, _> = norms.tensors()?.into_iter().collect();
    assert_eq!(state.len(), 12);
    let mut other = SpectralNorms::restore(&state)?;
    let bits = |norms: &mut SpectralNorms| -> Result<Vec<u64>> {
        let found = norms.total(&kernels, &mut noise())?;
        Ok(values(&found).into_iter().map(f64::to_bits).collect())
    };
    for _ in 0..3 {
        assert_eq!(bits(&mut norms)?, bits(&mut other)?);
    }
    // A state without vectors begins anew, one that lacks some is none.
    assert!(SpectralNorms::restore(&BTreeMap::new())?.tensors()?.is_empty());
    let mut short = state.clone();
    short.remove("spectral.3");
    let message = SpectralNorms::restore(&short).unwrap_err().to_string();
    assert!(message.contains("spectral.3"), "{message}");
    // Vectors of other kernels are refused.
    let strangers = vec![normal("s", (8, 14)).to_dtype(DType::F32)?; 12];
    assert!(SpectralNorms::restore(&state)?.each(&strangers, &mut noise()).is_err());
    Ok(())
}
