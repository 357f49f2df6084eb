//! Clamping of known dimensions, for inpainting.

use candle_core::Tensor;

use super::{Kernel, Step};
use crate::{
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
#[derive(Clone, Debug)]
pub struct Clamped<K> {
    /// The free kernel.
    pub kernel: K,
    /// Not zero where the value is known, u8, `(b, ..event)`.
    pub mask: Tensor,
    /// The known values, `(b, ..event)`; anything where the mask is zero.
    pub known: Tensor,
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
