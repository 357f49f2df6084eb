//! Clamping of known dimensions, for inpainting.

use candle_core::Tensor;

use super::{Kernel, Step};
use crate::{
    density::Energy,
    error::{Error, Result},
    noise::Noise,
};

/// `known` where `mask` is not zero, `position` elsewhere; known elements are copied bit for bit.
///
/// # Shapes
/// All three `(b, ..event)`; `mask` is u8.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ.
pub fn keep(mask: &Tensor, known: &Tensor, position: &Tensor) -> Result<Tensor> {
    for (what, tensor) in [("mask", mask), ("known values", known)] {
        if tensor.dims() != position.dims() {
            return Err(Error::Shape {
                what,
                expected: format!("{:?}", position.dims()),
                got: tensor.dims().to_vec(),
            });
        }
    }
    Ok(mask.where_cond(known, position)?)
}

/// A half of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The upper rows, `height / 2` of them.
    Top,
    /// The other rows.
    Bottom,
    /// The first columns, `width / 2` of them.
    Left,
    /// The other columns.
    Right,
}

/// The mask whose known elements are a half of a planar image, the same for every channel: one a
/// known element, u8, `(channels * height * width,)`.
pub fn half_mask(half: Half, [channels, height, width]: [usize; 3]) -> Vec<u8> {
    let known = |at: usize| {
        let (row, column) = (at / width % height, at % width);
        match half {
            Half::Top => row < height / 2,
            Half::Bottom => row >= height / 2,
            Half::Left => column < width / 2,
            Half::Right => column >= width / 2,
        }
    };
    (0..channels * height * width).map(|at| u8::from(known(at))).collect()
}

/// A kernel whose known dimensions are put back after every step and at the start.
///
/// A kernel that moves every dimension by itself, such as Langevin dynamics, so becomes one of the
/// unknown dimensions given the known. One that accepts or rejects a move of all dimensions does not, for
/// it judges a move that is then undone: give it the energy [`Conditional`], whose known dimensions
/// decide nothing.
#[derive(Clone, Debug)]
pub struct Clamped<K> {
    /// The free kernel.
    pub kernel: K,
    /// Not zero where the value is known, u8, `(b, ..event)`.
    pub mask: Tensor,
    /// The known values, `(b, ..event)`; anything where the mask is zero.
    pub known: Tensor,
}

/// The energy of the unknown dimensions given the known ones: that of `x` with the known values put in.
///
/// It is flat along the known dimensions, so that [`Clamped`] may put them back after a step of MALA or
/// HMC without a change of what the kernel samples, `p(unknown | known)`.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use chains_core::{
///     Result, Seed,
///     chain::{Clamped, Conditional, StepSchedule, chain},
///     density::Energy,
///     mcmc::Hmc,
/// };
///
/// #[derive(Clone)]
/// struct Normal;
///
/// impl Energy for Normal {
///     fn energy(&self, x: &Tensor) -> Result<Tensor> {
///         Ok((x.sqr()?.sum(1)? * 0.5)?)
///     }
/// }
/// let mask = Tensor::new(&[[1_u8, 0]], &Device::Cpu)?.repeat((100, 1))?;
/// let known = Tensor::full(2_f32, (100, 2), &Device::Cpu)?;
/// let energy = Conditional { energy: Normal, mask: mask.clone(), known: known.clone() };
/// let kernel = Clamped { kernel: Hmc::new(energy, 10, 0.3)?, mask, known };
/// let start = Tensor::zeros((100, 2), DType::F32, &Device::Cpu)?;
/// let mut noise = Seed::new(0).host_noise();
/// let last = chain(&kernel, start, &StepSchedule { len: 5 }, &mut noise)?.last().unwrap()?;
/// assert_eq!(last.state.position.to_vec2::<f32>()?[0][0], 2.0);
/// # Ok::<(), chains_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conditional<E> {
    /// The energy of all dimensions.
    pub energy: E,
    /// Not zero where the value is known, u8, `(b, ..event)`.
    pub mask: Tensor,
    /// The known values, `(b, ..event)`; anything where the mask is zero.
    pub known: Tensor,
}

impl<E: Energy> Energy for Conditional<E> {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        self.energy.energy(&keep(&self.mask, &self.known, x)?)
    }

    fn energy_and_grad(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (energy, grad) = self.energy.energy_and_grad(&keep(&self.mask, &self.known, x)?)?;
        Ok((energy, keep(&self.mask, &grad.zeros_like()?, &grad)?))
    }
}

impl<K: Kernel> Kernel for Clamped<K> {
    type State = K::State;
    type Info = K::Info;

    fn init(&self, position: Tensor) -> Result<K::State> {
        self.kernel.init(keep(&self.mask, &self.known, &position)?)
    }

    fn step(
        &self,
        state: &K::State,
        at: Step,
        noise: &mut dyn Noise,
    ) -> Result<(K::State, K::Info)> {
        let (state, info) = self.kernel.step(state, at, noise)?;
        let position = keep(&self.mask, &self.known, self.kernel.position(&state))?;
        Ok((self.kernel.moved(state, position)?, info))
    }

    fn position<'a>(&self, state: &'a K::State) -> &'a Tensor {
        self.kernel.position(state)
    }
}
