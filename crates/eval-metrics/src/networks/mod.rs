//! Networks that turn images into what the scores compare: features and class logits.
//!
//! Everything here takes and gives candle tensors, and fails with the error of `chains-core`.
//! Images come as bytes, so that quantisation happens once and outside.

mod digits;
mod inception;
mod resize;

use candle_core::Tensor;
use chains_core::Result;

pub use digits::{
    DIGIT_METHOD, DigitClassifier, DigitConfig, DigitNetwork, save_digits, scaled_digits,
    stacked_digits,
};
pub use inception::{
    INCEPTION_FILES, INCEPTION_METHOD, INCEPTION_SHA256, INCEPTION_SIDE, Inception,
    InceptionConfig, InceptionLevel, InceptionOptions, InceptionSource, import_inception,
    inception_tensors, read_inception_weights,
};
pub use resize::Resize;

/// What a network says about a batch of images.
#[derive(Clone, Debug)]
pub struct Activations {
    /// `(b, d)`, f32.
    pub features: Tensor,
    /// `(b, k)`, f32, before the softmax.
    pub logits: Tensor,
}

/// A frozen network behind scores of images.
pub trait FeatureExtractor: Send + Sync {
    /// Name, version and the first digits of the weights' SHA-256; part of every report and of every
    /// file of statistics.
    fn id(&self) -> &str;

    /// Features of an image.
    fn dim(&self) -> usize;

    /// Classes of the logits.
    fn classes(&self) -> usize;

    /// How images become the network's input, in words, such as the rule of resizing.
    fn preprocessing(&self) -> &'static str;

    /// Features and logits.
    ///
    /// # Shapes
    /// `images`: `(b, c, h, w)`, u8; one channel stands for three equal ones where the network
    /// takes colour.
    ///
    /// # Errors
    /// [`chains_core::Error::Shape`] for images that the network does not take.
    fn activations(&self, images: &Tensor) -> Result<Activations>;
}
