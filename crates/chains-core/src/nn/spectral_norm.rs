//! Largest singular values of kernels, by power iteration that goes on from update to update.

use std::collections::BTreeMap;

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Storage, Tensor};
use rayon::prelude::*;

use crate::{
    autograd::apply1,
    error::{Error, Result},
    noise::Noise,
    ops::{total, vectorised},
};

/// Iterations when the vectors are still those of chance.
const FIRST: usize = 40;
/// Iterations of every later call.
const LATER: usize = 4;
/// The least length that a vector is divided by.
const LEAST: f32 = 1e-3;
/// What names of the left vectors begin with in a saved state.
const STATE: &str = "spectral.";

/// The largest singular values of a list of kernels, each as the matrix `(output, input k k)`.
///
/// For every matrix `W` two vectors are kept: `v = norm(W^T u)`, `u = norm(W v)` with
/// `norm(a) = a / max(|a|, 1e-3)`, 40 times at first and 4 times at each later call (Miyato and others
/// 2018, Algorithm 1, with the constants of NVAE); then `sigma = u^T W v`, of which only `W` has a
/// gradient, `u v^T`. The vectors are not part of a model; a training that is to resume exactly keeps
/// [`SpectralNorms::tensors`].
#[derive(Clone, Debug, Default)]
pub struct SpectralNorms {
    vectors: Vec<Pair>,
    /// The left vectors where the kernels are, if that is CUDA.
    #[cfg(feature = "cuda")]
    lefts: Vec<Tensor>,
}

#[derive(Clone, Debug)]
struct Pair {
    u: Vec<f32>,
    v: Vec<f32>,
}

impl SpectralNorms {
    /// Before the first call.
    pub fn new() -> Self {
        Self::default()
    }

    /// The left vectors on the host, `spectral.<i>` for the kernel of that number; none before the first
    /// call. The right ones follow from them.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let named = self.left_vectors()?.into_iter().enumerate().map(|(i, u)| {
            let n = u.len();
            Ok((format!("{STATE}{i}"), Tensor::from_vec(u, n, &Device::Cpu)?))
        });
        named.collect()
    }

    fn left_vectors(&self) -> Result<Vec<Vec<f32>>> {
        #[cfg(feature = "cuda")]
        if !self.lefts.is_empty() {
            return self.lefts.iter().map(|left| Ok(left.to_vec1::<f32>()?)).collect();
        }
        Ok(self.vectors.iter().map(|pair| pair.u.clone()).collect())
    }

    /// Takes what [`SpectralNorms::tensors`] gave, among other tensors. Without any the vectors begin
    /// anew: older states have none.
    ///
    /// # Errors
    /// [`Error::Config`] if one is missing or no vector.
    pub fn restore(tensors: &BTreeMap<String, Tensor>) -> Result<Self> {
        let n = tensors.keys().filter(|name| name.starts_with(STATE)).count();
        let mut norms = Self::new();
        for i in 0..n {
            let name = format!("{STATE}{i}");
            let u = tensors.get(&name).filter(|u| u.rank() == 1 && u.elem_count() > 0);
            let Some(u) = u else {
                let reason = format!("`{name}` of {n} is missing or no vector");
                return Err(Error::Config { field: "state", reason });
            };
            let u = u.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.to_vec1()?;
            // As long as the kernel has columns from the next call on.
            norms.vectors.push(Pair { u, v: Vec::new() });
        }
        Ok(norms)
    }

    /// The sum of the largest singular values, a scalar that is differentiable in every kernel.
    ///
    /// `noise` begins the vectors at the first call and is not asked again.
    ///
    /// # Shapes
    /// `kernels`: `(output, ..)` each, the same list at every call.
    ///
    /// # Errors
    /// [`Error::Shape`] if the kernels are not those of the first call.
    pub fn total(&mut self, kernels: &[Tensor], noise: &mut dyn Noise) -> Result<Tensor> {
        let all = self.each(kernels, noise)?;
        if all.is_empty() {
            return Ok(Tensor::zeros((), DType::F32, &Device::Cpu)?);
        }
        total(&all)
    }

    /// The largest singular values one by one, scalars.
    ///
    /// # Errors
    /// As [`SpectralNorms::total`].
    pub fn each(&mut self, kernels: &[Tensor], noise: &mut dyn Noise) -> Result<Vec<Tensor>> {
        let first = self.vectors.is_empty();
        if first {
            self.begin(kernels, noise)?;
        }
        if self.vectors.len() != kernels.len() {
            let expected = format!("{} kernels, as at the first call", self.vectors.len());
            return Err(Error::Shape {
                what: "spectral norms",
                expected,
                got: vec![kernels.len()],
            });
        }
        for (pair, kernel) in self.vectors.iter_mut().zip(kernels) {
            if pair.v.is_empty() {
                pair.v = vec![0.0; sides(kernel)?[1]];
            }
        }
        let rounds = if first { FIRST } else { LATER };
        #[cfg(feature = "cuda")]
        if !kernels.is_empty() && crate::ops::cuda::applies(&kernels.iter().collect::<Vec<_>>()) {
            return self.on_device(kernels, rounds);
        }
        let values = kernels.iter().map(|kernel| {
            let flat = kernel.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
            Ok(flat.contiguous()?)
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        // One task a kernel: the bits do not depend on the number of threads.
        let work = self.vectors.par_iter_mut().zip(values.par_iter());
        work.map(|(pair, kernel)| pair.iterate(kernel, rounds)).collect::<Result<()>>()?;
        self.vectors.iter().zip(kernels).map(|(pair, kernel)| pair.sigma(kernel)).collect()
    }

    /// As [`SpectralNorms::each`] by kernels of CUDA, without a copy to the host.
    #[cfg(feature = "cuda")]
    fn on_device(&mut self, kernels: &[Tensor], rounds: usize) -> Result<Vec<Tensor>> {
        use crate::ops::cuda::scalars::{bilinear_form, spectral_rounds};

        let here = |left: &Tensor| left.device().same_device(kernels[0].device());
        if self.lefts.len() != kernels.len() || !self.lefts.iter().all(here) {
            let moved = self.vectors.iter().zip(kernels).map(|(pair, kernel)| {
                Ok(Tensor::from_slice(&pair.u, pair.u.len(), kernel.device())?)
            });
            self.lefts = moved.collect::<Result<_>>()?;
        }
        for (pair, kernel) in self.vectors.iter().zip(kernels) {
            pair.fits(sides(kernel)?)?;
        }
        let values = kernels.iter().map(|kernel| kernel.detach().contiguous());
        let values = values.collect::<candle_core::Result<Vec<_>>>()?;
        let pairs = spectral_rounds(&values, &self.lefts, rounds)?;
        self.lefts = pairs.iter().map(|[left, _]| left.clone()).collect();
        kernels.iter().zip(&pairs).map(|(kernel, pair)| bilinear_form(kernel, pair)).collect()
    }

    fn begin(&mut self, kernels: &[Tensor], noise: &mut dyn Noise) -> Result<()> {
        for kernel in kernels {
            let [rows, columns] = sides(kernel)?;
            let u = noise.normal(&Shape::from(rows), DType::F32, &Device::Cpu)?.to_vec1()?;
            let mut pair = Pair { u, v: vec![0.0; columns] };
            unit(&mut pair.u);
            self.vectors.push(pair);
        }
        Ok(())
    }
}

/// Rows and columns of a kernel as a matrix.
fn sides(kernel: &Tensor) -> Result<[usize; 2]> {
    match kernel.dims() {
        [rows, rest @ ..] if *rows > 0 && kernel.elem_count() > 0 => {
            Ok([*rows, rest.iter().product()])
        }
        got => {
            let expected = "a kernel (output, ..) that is not empty".into();
            Err(Error::Shape { what: "spectral norms", expected, got: got.to_vec() })
        }
    }
}

impl Pair {
    fn fits(&self, sides: [usize; 2]) -> Result<()> {
        let [rows, columns] = [self.u.len(), self.v.len()];
        if sides == [rows, columns] {
            return Ok(());
        }
        let expected = format!("({rows}, {columns}), as at the first call");
        Err(Error::Shape { what: "spectral norms", expected, got: sides.to_vec() })
    }

    fn iterate(&mut self, kernel: &Tensor, rounds: usize) -> Result<()> {
        self.fits(sides(kernel)?)?;
        let (storage, layout) = kernel.storage_and_layout();
        let values = match &*storage {
            Storage::Cpu(storage) => slice(storage, layout)?,
            _ => {
                return Err(Error::Tensor(candle_core::Error::msg(
                    "the kernel is not on the host",
                )));
            }
        };
        self.begin_anew();
        for _ in 0..rounds {
            vectorised(
                #[inline(always)]
                || self.round(values),
            );
        }
        Ok(())
    }

    /// A kernel of zeros leaves `u` zero, from which no round would come back: it begins again between all
    /// axes.
    fn begin_anew(&mut self) {
        if dot(&self.u, &self.u) == 0.0 {
            let even = (self.u.len() as f32).sqrt().recip();
            self.u.fill(even);
        }
    }

    #[inline(always)]
    fn round(&mut self, matrix: &[f32]) {
        let Self { u, v } = self;
        v.fill(0.0);
        for (row, u) in matrix.chunks_exact(v.len()).zip(u.iter()) {
            for (v, w) in v.iter_mut().zip(row) {
                *v += u * w;
            }
        }
        unit(v);
        for (row, u) in matrix.chunks_exact(v.len()).zip(u.iter_mut()) {
            *u = dot(row, v);
        }
        unit(u);
    }

    /// `u^T W v`.
    fn sigma(&self, kernel: &Tensor) -> Result<Tensor> {
        let [rows, columns] = [self.u.len(), self.v.len()];
        if kernel.device().is_cpu() && kernel.dtype() == DType::F32 {
            return Ok(apply1(Form(self.clone()), &kernel.contiguous()?)?);
        }
        let like = |values: &[f32], shape: (usize, usize)| -> Result<Tensor> {
            let tensor = Tensor::from_slice(values, shape, kernel.device())?;
            Ok(tensor.to_dtype(kernel.dtype())?)
        };
        let product = kernel.reshape((rows, columns))?.matmul(&like(&self.v, (columns, 1))?)?;
        Ok(product.mul(&like(&self.u, (rows, 1))?)?.sum_all()?)
    }
}

/// The length made 1, but for one below [`LEAST`].
#[inline(always)]
fn unit(values: &mut [f32]) {
    let length = dot(values, values).sqrt().max(LEAST);
    values.iter_mut().for_each(|value| *value /= length);
}

/// The inner product, in as many sums as a wide vector has lanes.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0_f32; LANES];
    let (xs, ys) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = xs.remainder().iter().zip(ys.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in xs.zip(ys) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f32>() + rest
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("spectral norms: the kernel is not contiguous f32"),
    }
}

/// The bilinear form of two constant vectors.
struct Form(Pair);

impl CustomOp1 for Form {
    fn name(&self) -> &'static str {
        "spectral_norm"
    }

    fn cpu_fwd(
        &self,
        kernel: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let Pair { u, v } = &self.0;
        let rows = slice(kernel, layout)?.chunks_exact(v.len());
        let sum: f64 = rows.zip(u).map(|(row, u)| f64::from(*u) * f64::from(dot(row, v))).sum();
        Ok((CpuStorage::F32(vec![sum as f32]), Shape::from(())))
    }

    fn bwd(
        &self,
        kernel: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let Pair { u, v } = &self.0;
        let grad: f32 = grad.to_scalar()?;
        let mut values = vec![0.0; u.len() * v.len()];
        vectorised(
            #[inline(always)]
            || {
                for (row, u) in values.chunks_exact_mut(v.len()).zip(u) {
                    row.iter_mut().zip(v).for_each(|(y, v)| *y = grad * u * v);
                }
            },
        );
        Tensor::from_vec(values, kernel.shape(), kernel.device()).map(Some)
    }
}

#[cfg(test)]
mod tests;
