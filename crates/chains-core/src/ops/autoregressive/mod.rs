//! Masked networks whose every unit reads a prefix of the units below it, and what autoregressive
//! flows do with them.
//!
//! Tensors are feature-major here, `(features, b)`: a prefix of features is then one piece of memory,
//! and what a mask cuts off is not computed at all.

mod affine;
mod inverse;
mod prefix;

pub use affine::autoregressive_affine;
pub use inverse::{PrefixLayer, autoregressive_inverse};
pub use prefix::{Prefixes, prefix_linear};
