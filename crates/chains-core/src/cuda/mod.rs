//! Our kernels on CUDA: compiled when the first of them is used, and launched.
//!
//! A kernel takes results, operands, numbers and sizes, in this order. Operands are contiguous tensors
//! of f32 with fewer than 2^31 elements, which [`applies`] asks for; all work of a device is in the order
//! of its one stream.
#![allow(unsafe_code)]

mod copied;
mod product;

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
    sync::OnceLock,
};

use candle_core::{
    CudaDevice, CudaStorage, DType, Device, Error, Result, Shape, Storage, Tensor,
    cuda_backend::{
        DeviceId,
        cudarc::{
            driver::{CudaFunction, CudaSlice, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg},
            nvrtc::{CompileOptions, compile_ptx_with_opts},
        },
    },
    op::BackpropOp,
};

pub(crate) use self::{
    copied::Copied,
    product::{Matrix, product},
};

/// Threads of a block, where an element has a thread and where a block sums a row.
const LINE: u32 = 256;
/// Threads of a block that sums a channel of maps.
const WIDE: u32 = 1024;
/// Columns of a block that sums columns, and threads for each.
const LANES: [u32; 2] = [8, 64];

/// Do our kernels take these operands, of one device?
pub(crate) fn applies(operands: &[&Tensor]) -> bool {
    let together = |x: &Tensor| x.device().same_device(operands[0].device());
    operands.iter().all(|x| reaches(x) && x.elem_count() > 0 && together(x))
}

/// As [`applies`], also to an operand without elements.
pub(crate) fn reaches(x: &Tensor) -> bool {
    x.device().is_cuda() && x.dtype() == DType::F32 && counts(x.elem_count())
}

/// Can kernels number so many elements?
pub(crate) fn counts(n: usize) -> bool {
    n < 1 << 31
}

/// The device of tensors for which [`applies`] holds.
pub(crate) fn device(x: &Tensor) -> Result<&CudaDevice> {
    match x.device() {
        Device::Cuda(device) => Ok(device),
        _ => candle_core::bail!("kernel: operand is not on a CUDA device"),
    }
}

/// Memory for `n` numbers, which a kernel must fill.
pub(crate) fn fresh(device: &CudaDevice, n: usize) -> Result<CudaSlice<f32>> {
    // SAFETY: every kernel writes all elements of its results. No memory is none that can be asked for.
    unsafe { device.alloc::<f32>(n.max(1)) }
}

/// Memory that was filled.
pub(crate) fn storage(values: CudaSlice<f32>, device: &CudaDevice) -> CudaStorage {
    CudaStorage::wrap_cuda_slice(values, device.clone())
}

/// A tensor without a graph.
pub(crate) fn tensor(
    values: CudaSlice<f32>,
    device: &CudaDevice,
    shape: impl Into<Shape>,
) -> Tensor {
    Tensor::from_storage(Storage::Cuda(storage(values, device)), shape, BackpropOp::none(), false)
}

/// The values of at most [`TENSORS`] tensors of one shape, one after the other.
pub(crate) fn stacked_values(parts: &[&Tensor]) -> Result<CudaStorage> {
    let parts = parts.iter().map(|part| part.detach().contiguous()).collect::<Result<Vec<_>>>()?;
    let (device, len) = (device(&parts[0])?, parts[0].elem_count());
    let out = fresh(device, parts.len() * len)?;
    let table = Arg::Tensors(Box::new(Tensors::operands(&parts)?));
    let args = [(&out).into(), table, len.into()];
    launch(device, "stacked_tensors", Grid::Each(parts.len(), len), &args)?;
    Ok(storage(out, device))
}

/// Sizes that a kernel takes together. Of a convolution, as in `conv.cu`: batch, `(c, h, w)` of the image,
/// `(o, oh, ow)` of the map, kernel, stride, rows and columns of padding. Of the part of a map, as in
/// `maps.cu`: sides, starts, lengths, steps.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Sizes(pub(crate) [u32; 12]);

// SAFETY: twelve integers in a row, as the kernel declares them.
unsafe impl DeviceRepr for Sizes {}

/// Tensors that an optimiser steps through at once.
pub(crate) const TENSORS: usize = 48;

/// Addresses of parameters, gradients and moments, as in `linear.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Tensors {
    addresses: [[u64; TENSORS]; 4],
    block: [u32; TENSORS],
    len: [u32; TENSORS],
}

// SAFETY: addresses and integers in the order in which the kernel declares them.
unsafe impl DeviceRepr for Tensors {}

impl Tensors {
    /// At most [`TENSORS`] matrices `w` of so many rows and columns, with their vectors `u` and `v` and the
    /// vector that `u` begins with.
    pub(crate) fn matrices(all: &[([&Tensor; 4], [usize; 2])]) -> Result<Self> {
        let mut table = Self::empty();
        for (i, (tensors, [rows, columns])) in all.iter().enumerate() {
            for (kind, tensor) in tensors.iter().enumerate() {
                table.addresses[kind][i] = address(tensor)?;
            }
            (table.block[i], table.len[i]) = (count(*rows)?, count(*columns)?);
        }
        Ok(table)
    }

    /// At most [`TENSORS`] operands that are read only.
    pub(crate) fn operands(all: &[Tensor]) -> Result<Self> {
        let mut table = Self::empty();
        for (to, operand) in table.addresses[1].iter_mut().zip(all) {
            *to = address(operand)?;
        }
        Ok(table)
    }

    fn empty() -> Self {
        Self { addresses: [[0; TENSORS]; 4], block: [0; TENSORS], len: [0; TENSORS] }
    }

    /// At most [`TENSORS`] quadruples of one length each, with the blocks that step through them.
    pub(crate) fn new(all: &[[&Tensor; 4]]) -> Result<(Self, u32)> {
        let mut table = Self::empty();
        let mut blocks = 0;
        for (i, tensors) in all.iter().enumerate() {
            for (kind, tensor) in tensors.iter().enumerate() {
                table.addresses[kind][i] = address(tensor)?;
            }
            let n = count(tensors[0].elem_count())?;
            (table.block[i], table.len[i]) = (blocks, n);
            blocks += n.div_ceil(LINE);
        }
        Ok((table, blocks))
    }
}

/// An argument of a kernel.
pub(crate) enum Arg<'a> {
    /// Where a result goes.
    Out(&'a CudaSlice<f32>),
    /// A result or an operand that is not there.
    None,
    /// An operand.
    In(&'a Tensor),
    Number(f32),
    Size(usize),
    Word(u64),
    Sizes(Sizes),
    Tensors(Box<Tensors>),
}

impl<'a> From<&'a CudaSlice<f32>> for Arg<'a> {
    fn from(values: &'a CudaSlice<f32>) -> Self {
        Self::Out(values)
    }
}

impl<'a> From<Option<&'a CudaSlice<f32>>> for Arg<'a> {
    fn from(values: Option<&'a CudaSlice<f32>>) -> Self {
        values.map_or(Self::None, Self::Out)
    }
}

impl<'a> From<&'a Tensor> for Arg<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self::In(tensor)
    }
}

impl<'a> From<Option<&'a Tensor>> for Arg<'a> {
    fn from(tensor: Option<&'a Tensor>) -> Self {
        tensor.map_or(Self::None, Self::In)
    }
}

impl From<f32> for Arg<'_> {
    fn from(number: f32) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Arg<'_> {
    fn from(size: usize) -> Self {
        Self::Size(size)
    }
}

impl From<bool> for Arg<'_> {
    fn from(flag: bool) -> Self {
        Self::Size(usize::from(flag))
    }
}

impl From<Sizes> for Arg<'_> {
    fn from(sizes: Sizes) -> Self {
        Self::Sizes(sizes)
    }
}

/// Blocks along the second axis of a launch.
pub(crate) const MOST_BLOCKS: usize = 65_535;

/// The threads of a launch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Grid {
    /// One for each of so many elements.
    Elements(usize),
    /// A block for each of so many rows.
    Rows(usize),
    /// A wide block for each channel of each group.
    Channels(usize, usize),
    /// Rows of so many elements, each with a thread.
    Each(usize, usize),
    /// Rows of so many elements, four of them for each thread; the kernel strides over rows.
    Quads(usize, usize),
    /// A block for so many columns, by a number of blocks of rows.
    Lanes(usize, usize),
    /// So many blocks.
    Blocks(u32),
}

impl Grid {
    fn config(self) -> Result<LaunchConfig> {
        let line = (LINE, 1, 1);
        let (grid_dim, block_dim) = match self {
            Self::Elements(n) => ((count(n)?.div_ceil(LINE), 1, 1), line),
            Self::Rows(n) => ((count(n)?, 1, 1), line),
            Self::Channels(groups, channels) => {
                ((count(channels)?, count(groups)?, 1), (WIDE, 1, 1))
            }
            Self::Each(rows, n) => ((count(n)?.div_ceil(LINE), count(rows)?, 1), line),
            Self::Quads(rows, n) => {
                ((count(n)?.div_ceil(4 * LINE), count(rows.min(MOST_BLOCKS))?, 1), line)
            }
            Self::Blocks(n) => ((n, 1, 1), line),
            Self::Lanes(columns, blocks) => {
                ((count(columns)?.div_ceil(LANES[0]), count(blocks)?, 1), (LANES[0], LANES[1], 1))
            }
        };
        if grid_dim.1 as usize > MOST_BLOCKS {
            candle_core::bail!("kernel: {} are more than {MOST_BLOCKS} at a time", grid_dim.1)
        }
        Ok(LaunchConfig { grid_dim, block_dim, shared_mem_bytes: 0 })
    }
}

fn count(n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| Error::Msg(format!("kernel: {n} is too many")))
}

/// Launches a kernel of ours. Arguments must be those that it declares.
pub(crate) fn launch(
    device: &CudaDevice,
    name: &'static str,
    grid: Grid,
    args: &[Arg<'_>],
) -> Result<()> {
    launch_of(&MAIN, device, name, grid, args)
}

/// [`launch`] of a kernel of another module.
pub(crate) fn launch_of(
    module: &'static Module,
    device: &CudaDevice,
    name: &'static str,
    grid: Grid,
    args: &[Arg<'_>],
) -> Result<()> {
    with_function(device, module, name, |function| {
        let slots = args.iter().map(Arg::slot).collect::<Result<Vec<u64>>>()?;
        let stream = device.cuda_stream();
        let mut builder = stream.launch_builder(function);
        for (arg, slot) in args.iter().zip(&slots) {
            match arg {
                Arg::Sizes(sizes) => builder.arg(sizes),
                Arg::Tensors(tensors) => builder.arg(&**tensors),
                // Of a number of four bytes the kernel reads the first four.
                _ => builder.arg(slot),
            };
        }
        let config = grid.config()?;
        if config.grid_dim.0 == 0 || config.grid_dim.1 == 0 {
            return Ok(());
        }
        // SAFETY: the callers in this crate give what the kernel declares, operands of the lengths that
        // its sizes say, and results that they own.
        unsafe { builder.launch(config) }.map_err(Error::wrap)?;
        Ok(())
    })
}

impl Arg<'_> {
    /// The bytes of an argument, in those of a word.
    fn slot(&self) -> Result<u64> {
        Ok(match self {
            Self::Out(values) => values.device_ptr(values.stream()).0,
            Self::In(tensor) => address(tensor)?,
            Self::Number(number) => u64::from(number.to_bits()),
            Self::Size(n) => u64::from(count(*n)?),
            Self::Word(word) => *word,
            Self::None | Self::Sizes(_) | Self::Tensors(_) => 0,
        })
    }
}

/// Where the values of a contiguous f32 tensor lie.
fn address(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else {
        candle_core::bail!("kernel: operand is not on a CUDA device")
    };
    let Some((start, _)) = layout.contiguous_offsets() else {
        candle_core::bail!("kernel: operand is not contiguous")
    };
    let values = storage.as_cuda_slice::<f32>()?;
    Ok(values.device_ptr(values.stream()).0 + 4 * start as u64)
}

/// Sources that are compiled together.
pub(crate) struct Module {
    pub(crate) name: &'static str,
    pub(crate) compile: fn() -> std::result::Result<String, String>,
    pub(crate) compiled: OnceLock<std::result::Result<String, String>>,
}

static MAIN: Module = Module {
    name: "chains",
    compile: || {
        let source = [
            include_str!("common.cuh"),
            include_str!("pointwise.cu"),
            include_str!("norm.cu"),
            include_str!("linear.cu"),
            include_str!("conv.cu"),
            include_str!("maps.cu"),
        ];
        // Parameters in constant memory need 7.0; the driver compiles for the device itself.
        let options = CompileOptions { arch: Some("compute_75"), ..CompileOptions::default() };
        compile_ptx_with_opts(source.concat(), options)
            .map(|ptx| ptx.to_src())
            .map_err(|error| error.to_string())
    },
    compiled: OnceLock::new(),
};

thread_local! {
    /// Loaded kernels, which candle would look up by text each time.
    static FUNCTIONS: RefCell<HashMap<(DeviceId, &'static str), CudaFunction>> = RefCell::default();
}

/// Calls `f` with a kernel of a module.
fn with_function<R>(
    device: &CudaDevice,
    module: &'static Module,
    name: &'static str,
    f: impl FnOnce(&CudaFunction) -> Result<R>,
) -> Result<R> {
    FUNCTIONS.with_borrow_mut(|functions| match functions.entry((device.id(), name)) {
        Entry::Occupied(found) => f(found.get()),
        Entry::Vacant(missing) => {
            let ptx = module.compiled.get_or_init(module.compile).as_deref();
            let ptx = ptx.map_err(|error| Error::Msg(format!("kernels: {error}")))?;
            let function = device.get_or_load_custom_func(name, module.name, ptx)?;
            f(missing.insert(function.into_cuda_function()))
        }
    })
}
