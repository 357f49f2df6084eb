//! The product density over images and latent variables themselves.

use std::f64::consts::PI;

use candle_core::{DType, Device, Tensor};
use chains_core::{ParamStore, Result, Seed, density::Energy};
use vaebm::{
    ConvEnergyConfig, DataSpace, EnergyConfig, EnergyNetwork, JointNoise, NoiseDecoder, NoiseSpace,
    NvaeConfig, Potential,
    energy::{EnergyNet, EnergyPair},
};

use crate::{assert_close, model, values};

fn energy() -> Result<EnergyPair<EnergyNet>> {
    let config = EnergyConfig::Convolutional(ConvEnergyConfig::mnist(1, 2));
    let store = ParamStore::new(Seed::new(4), DType::F64, &Device::Cpu);
    EnergyPair::new(store, |vb| EnergyNet::new(&config, vb))
}

#[test]
fn both_spaces_hold_one_density_up_to_the_jacobian() -> Result<()> {
    let decoder = model(&NvaeConfig::nano(), DType::F64)?.decoder()?;
    let energy = energy()?;
    let noise = decoder.draw_noise(3, &mut Seed::new(1).host_noise())?;
    let direct = DataSpace::new(&decoder, energy.frozen().normalised()?);
    let position = direct.of_noise(&noise)?;
    let space = NoiseSpace::new(&decoder, energy.frozen().normalised()?, Potential::Paper);
    let decoded = decoder.decode(&noise)?;
    // -ln h(x, z) = U(noise) + ln |dx dz / dnoise| + D / 2 ln 2 pi.
    let sums = |t: &Tensor| values(&t.log().unwrap().flatten_from(1).unwrap().sum(1).unwrap());
    let mut want = values(&space.energy(&noise.flat()?)?);
    let scales = decoded.groups.iter().map(|group| &group.scale).chain([&decoded.law.scale]);
    for scale in scales {
        want.iter_mut().zip(sums(scale)).for_each(|(sum, log)| *sum += log);
    }
    let constant = 0.5 * direct.shapes().width() as f64 * (2.0 * PI).ln();
    want.iter_mut().for_each(|value| *value += constant);
    assert_close("energy", &values(&direct.energy(&position)?), &want, 1e-12);
    let [means, images] = direct.images(&position)?;
    assert_close("means", &values(&means), &values(&decoded.mean_image()?), 1e-12);
    assert_close("images", &values(&images), &values(&decoded.image), 1e-12);
    Ok(())
}

#[test]
fn the_gradient_is_that_of_differences_and_other_widths_are_refused() -> Result<()> {
    let decoder = model(&NvaeConfig::nano(), DType::F64)?.decoder()?;
    let energy = energy()?;
    let direct = DataSpace::new(&decoder, energy.frozen().normalised()?);
    let noise = decoder.draw_noise(1, &mut Seed::new(2).host_noise())?;
    // Small, so that no pixel is clamped.
    let noise = JointNoise::from_flat(&(noise.flat()? * 0.05)?, direct.shapes())?;
    let at = direct.of_noise(&noise)?;
    let grad = values(&direct.energy_and_grad(&at)?.1);
    let step = 1e-5;
    for index in [0, 100, 255, 300, 511, 600, 1_535] {
        let mut shift = vec![0.0; direct.shapes().width()];
        shift[index] = step;
        let shift = Tensor::from_vec(shift, at.shape(), &Device::Cpu)?;
        let up = values(&direct.energy(&(&at + &shift)?)?)[0];
        let down = values(&direct.energy(&(&at - &shift)?)?)[0];
        let want = (up - down) / (2.0 * step);
        assert!((grad[index] - want).abs() < 1e-5 * want.abs().max(1.0), "{index}: {want}");
    }
    assert!(direct.energy(&at.narrow(1, 0, 7)?).is_err());
    assert!(direct.images(&at.narrow(1, 0, 7)?).is_err());
    Ok(())
}
