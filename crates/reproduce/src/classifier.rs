//! A small digit classifier, trained on the spot, behind the classifier scores of quick runs.

use candle_core::{D, DType, Device, Tensor};
use chains_core::{
    ParamStore, Result, Seed,
    autograd::value_and_gradients,
    nn::{Linear, LinearInit},
    ops,
    optim::{Adam, AdamConfig},
    schedule::LearningRate,
};
use datasets::permutation;

/// A network D - hidden - hidden - 10 with ReLU.
pub struct DigitClassifier {
    layers: Vec<Linear>,
    store: ParamStore,
}

impl DigitClassifier {
    /// Trains on images `(n, D)` in `[0, 1)` with cross entropy, batches of 100.
    ///
    /// # Errors
    /// If labels and images differ in number.
    pub fn train(
        images: &Tensor,
        labels: &[u8],
        hidden: usize,
        epochs: usize,
        seed: Seed,
    ) -> Result<Self> {
        let (n, d) = images.dims2()?;
        let store = ParamStore::new(seed, DType::F32, images.device());
        let sizes = [d, hidden, hidden, 10];
        let layers = sizes
            .windows(2)
            .enumerate()
            .map(|(i, s)| {
                let vb = store.builder().pp("classifier").pp(i);
                Linear::new(s[0], s[1], true, LinearInit::GlorotUniform, vb)
            })
            .collect::<Result<Vec<_>>>()?;
        let this = Self { layers, store };
        let mut adam = Adam::new(AdamConfig::standard());
        let rate = LearningRate::Cosine { value: 1e-3, last: 1e-5, warmup: 10 };
        let labels: Vec<u32> = labels.iter().map(|label| u32::from(*label)).collect();
        let labels = Tensor::new(labels, images.device())?;
        let batch = 100.min(n.max(1));
        let per_epoch = n / batch;
        for epoch in 0..epochs {
            let order: Vec<u32> =
                permutation(n, seed.indexed(epoch as u64)).iter().map(|i| *i as u32).collect();
            for (index, chunk) in order.chunks_exact(batch).enumerate() {
                let chunk = Tensor::new(chunk, &Device::Cpu)?.to_device(images.device())?;
                let x = images.index_select(&chunk, 0)?;
                let y = labels.index_select(&chunk, 0)?.unsqueeze(1)?;
                let (_, grads) = value_and_gradients(|| {
                    let log_probs = candle_nn::ops::log_softmax(&this.logits(&x)?, D::Minus1)?;
                    Ok(log_probs.gather(&y, 1)?.mean_all()?.neg()?)
                })?;
                let step = epoch * per_epoch + index;
                let rate = rate.at(step, epochs * per_epoch);
                adam.step(&this.store, &grads, rate)?;
            }
        }
        Ok(this)
    }

    /// `(n, D)` -> `(n, 10)`.
    ///
    /// # Errors
    /// For another D.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let last = self.layers.len() - 1;
        self.layers.iter().enumerate().try_fold(x.clone(), |h, (i, layer)| {
            let h = layer.forward(&h)?;
            if i < last { ops::relu(&h) } else { Ok(h) }
        })
    }

    /// Class probabilities, detached.
    ///
    /// # Errors
    /// As [`DigitClassifier::logits`].
    pub fn probabilities(&self, x: &Tensor) -> Result<Tensor> {
        Ok(candle_nn::ops::softmax(&self.logits(x)?.detach(), D::Minus1)?)
    }
}
