//! Steps of the decoder against an energy (section 5.3, appendix C).

use candle_core::{DType, Device};
use chains_core::{
    Result, Seed,
    density::Energy,
    optim::{Adam, AdamConfig},
};
use vaebm::{
    ConvEnergyConfig, EnergyConfig, EnergyModel, EnergyNetwork, NoiseDecoder, NvaeConfig,
    nvae::NvaeDecoder,
    train::{generator_gradients, update_generator},
};

use crate::{model, values};

fn energy() -> Result<EnergyModel> {
    let config = EnergyConfig::Convolutional(ConvEnergyConfig::mnist(1, 4));
    EnergyModel::new(config, Seed::new(5), &Device::Cpu)
}

#[test]
fn steps_of_the_decoder_lower_the_mean_energy_of_its_samples_and_leave_the_encoder() -> Result<()> {
    let model = model(&NvaeConfig::nano(), DType::F32)?;
    let energy = energy()?.frozen().normalised()?;
    // The same noise before and after: no sampling error.
    let level = || -> Result<f64> {
        let decoder = model.decoder()?;
        let noise = decoder.draw_noise(64, &mut Seed::new(1).host_noise())?;
        Ok(values(&energy.energy(&decoder.decode(&noise)?.image)?.mean_all()?)[0])
    };
    let before: Vec<_> = model.store().tensors().iter().map(|(_, t)| values(t)).collect();
    let start = level()?;
    let live = NvaeDecoder::new(model.network().clone())?;
    let (mut adam, mut noise) = (Adam::new(AdamConfig::standard()), Seed::new(2).host_noise());
    let mut told = Vec::new();
    for _ in 0..5 {
        let step = (&mut adam, 1e-3);
        told.push(update_generator((&live, model.store()), &energy, step, 32, &mut noise)?);
    }
    let end = level()?;
    assert!(end < start, "{start} {end} {told:?}");
    for ((name, now), before) in model.store().tensors().iter().zip(before) {
        let moved = values(now) != before;
        let encoder = ["stem", "pre_process", "enc", "running"];
        if encoder.iter().any(|part| name.contains(part)) {
            assert!(!moved, "{name}");
        }
    }
    let head = model.store().get("image_conditional.1.weight").unwrap();
    let (_, grads) = generator_gradients(&live, &energy, 4, &mut noise)?;
    assert!(values(grads.get(head.as_tensor()).unwrap()).iter().any(|g| g.abs() > 0.0));
    Ok(())
}

#[test]
fn the_gradient_in_the_decoder_is_that_of_differences() -> Result<()> {
    let model = model(&NvaeConfig::nano(), DType::F64)?;
    let single = energy()?;
    let store = chains_core::ParamStore::new(Seed::new(5), DType::F64, &Device::Cpu);
    let network = vaebm::energy::EnergyNet::new(single.config(), store.builder())?;
    let live = NvaeDecoder::new(model.network().clone())?;
    let value = || generator_gradients(&live, &network, 3, &mut Seed::new(4).host_noise());
    let (_, grads) = value()?;
    for name in ["prior_ftr0", "image_conditional.1.bias", "dec_sampler.0.1.log_weight_norm"] {
        let var = model.store().get(name).unwrap_or_else(|| panic!("no {name}"));
        let before = var.as_detached_tensor().copy()?;
        let direction = crate::normal(name, var.shape());
        let moved = |by: f64| -> Result<f64> {
            var.set(&(&before + (&direction * by)?)?)?;
            Ok(value()?.0)
        };
        let want = (moved(1e-6)? - moved(-1e-6)?) / 2e-6;
        var.set(&before)?;
        let got = values(&grads.get(var.as_tensor()).unwrap().mul(&direction)?.sum_all()?)[0];
        assert!((got - want).abs() < 1e-5 * want.abs().max(1e-3), "{name}: {got} {want}");
    }
    Ok(())
}
