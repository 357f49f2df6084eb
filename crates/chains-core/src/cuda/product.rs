//! Matrix products by cuBLAS, in the precision that was chosen.

use std::ffi::c_int;

use candle_core::{
    CudaDevice, Error, Result, Tensor,
    cuda_backend::cudarc::{
        cublas::{
            result::gemm_ex,
            sys::{cublasComputeType_t, cublasGemmAlgo_t, cublasOperation_t, cudaDataType_t},
        },
        driver::{CudaSlice, DevicePtr},
    },
};

use super::{address, fresh};
use crate::device::{Products, products};

/// A row-major matrix in a contiguous tensor of any shape, or its transpose.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a Tensor,
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// `(rows, columns)`.
    pub(crate) fn new(values: &'a Tensor, rows: usize, columns: usize) -> Self {
        Self { values, rows, columns, transposed: false }
    }

    /// The transpose, without moving data.
    pub(crate) fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    /// For cuBLAS, which sees columns: how it is to be taken, and the length of a stored row.
    fn seen(self) -> Result<(cublasOperation_t, c_int)> {
        if self.values.elem_count() != self.rows * self.columns {
            candle_core::bail!("product: {:?} is no ({}, {})", self.values, self.rows, self.columns)
        }
        Ok(if self.transposed {
            (cublasOperation_t::CUBLAS_OP_T, int(self.rows)?)
        } else {
            (cublasOperation_t::CUBLAS_OP_N, int(self.columns)?)
        })
    }
}

fn int(n: usize) -> Result<c_int> {
    c_int::try_from(n).map_err(|_| Error::Msg(format!("product: {n} is too many")))
}

/// The product of two matrices, row-major.
pub(crate) fn product(device: &CudaDevice, a: Matrix<'_>, b: Matrix<'_>) -> Result<CudaSlice<f32>> {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    if b.rows != k {
        candle_core::bail!("product: ({m}, {k}) by ({}, {n})", b.rows)
    }
    let ((of_a, lda), (of_b, ldb)) = (a.seen()?, b.seen()?);
    if m * k * n == 0 {
        return device.alloc_zeros(m * n + 1);
    }
    let (address_a, address_b) = (address(a.values)?, address(b.values)?);
    let out = fresh(device, m * n)?;
    let compute = match products() {
        Products::F32 => cublasComputeType_t::CUBLAS_COMPUTE_32F,
        Products::Tf32 => cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
    };
    let (one, zero, f32) = (1_f32, 0_f32, cudaDataType_t::CUDA_R_32F);
    // In columns the result is `b^T a^T`.
    // SAFETY: operands are of the lengths that `seen` has checked, the result is of `m n` numbers, and
    // all are memory of the handle's device, used in the order of its stream.
    unsafe {
        gemm_ex(
            *device.cublas_handle().handle(),
            of_b,
            of_a,
            int(n)?,
            int(m)?,
            int(k)?,
            (&raw const one).cast(),
            address_b as *const _,
            f32,
            ldb,
            address_a as *const _,
            f32,
            lda,
            (&raw const zero).cast(),
            out.device_ptr(out.stream()).0 as *mut _,
            f32,
            int(n)?,
            compute,
            cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
        )
    }
    .map_err(Error::wrap)?;
    Ok(out)
}
