//! Steps of the decoder against an energy: the adversarial baseline and the extension of appendix C.

use candle_core::backprop::GradStore;
use chains_core::{
    Error, Noise, ParamStore, Result, autograd::value_and_gradients, density::Energy, host,
    optim::Adam,
};

use crate::noise_decoder::NoiseDecoder;

/// Mean energy of `n` fresh samples of the decoder and its gradients in the decoder's parameters.
///
/// With the energy of the product it is the gradient of `KL(p || h)` at the decoder that the product
/// was made of (appendix C); with a critic it is the generator's of a Wasserstein game (section 5.3).
///
/// `decoder` holds trainable parameters, `energy` detached ones.
///
/// # Errors
/// Of the networks.
pub fn generator_gradients(
    decoder: &impl NoiseDecoder,
    energy: &impl Energy,
    n: usize,
    noise: &mut dyn Noise,
) -> Result<(f64, GradStore)> {
    let start = decoder.draw_noise(n, noise)?;
    let (loss, grads) =
        value_and_gradients(|| Ok(energy.energy(&decoder.decode(&start)?.image)?.mean_all()?))?;
    Ok((host::scalar(&loss)?, grads))
}

/// One step of the decoder down [`generator_gradients`]; the mean energy before it.
///
/// # Errors
/// [`Error::NonFinite`] if the energy is no number, before anything moves.
pub fn update_generator(
    (decoder, store): (&impl NoiseDecoder, &ParamStore),
    energy: &impl Energy,
    (adam, learning_rate): (&mut Adam, f64),
    n: usize,
    noise: &mut dyn Noise,
) -> Result<f64> {
    let (value, grads) = generator_gradients(decoder, energy, n, noise)?;
    if !value.is_finite() {
        let step = usize::try_from(adam.steps()).unwrap_or(usize::MAX);
        return Err(Error::NonFinite { what: "energy of samples", step });
    }
    adam.step(store, &grads, learning_rate)?;
    Ok(value)
}
