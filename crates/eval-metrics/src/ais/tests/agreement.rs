//! What must not matter: blocks, threads, precision, company.

use candle_core::{DType, Device, Tensor};
use chains_core::{
    ParamStore, Result, Seed,
    nn::{Linear, LinearInit},
    ops,
};

use super::{linear, rows, short, simulated};
use crate::{
    Ais, AisAdaptation, AisSchedule, AisSettings, Decoder, DecoderModel, Observation, ais, bdmc,
    golden::{array as golden, assert_close},
};

/// Two layers on the fused kernels, in f32.
struct Network {
    layers: [Linear; 2],
}

impl Network {
    fn new() -> Result<Self> {
        let store = ParamStore::new(Seed::new(3), DType::F32, &Device::Cpu);
        let layer = |name: &str, input, output| {
            let init = LinearInit::Normal(0.7);
            Linear::new(input, output, true, init, store.builder().pp(name))?;
            Linear::new(input, output, true, init, store.frozen().pp(name))
        };
        Ok(Self { layers: [layer("0", 4, 32)?, layer("1", 32, 20)?] })
    }
}

impl Decoder for Network {
    fn latent_width(&self) -> usize {
        4
    }

    fn decode(&self, z: &Tensor) -> Result<Tensor> {
        self.layers[1].forward(&ops::tanh(&self.layers[0].forward(z)?)?)
    }
}

#[track_caller]
fn assert_points(a: &Ais, b: &Ais, tolerance: f64) {
    assert_eq!(a.points.len(), b.points.len());
    for (a, b) in a.points.iter().zip(&b.points) {
        assert_close(a.log_likelihood, b.log_likelihood, tolerance);
    }
}

#[test]
fn the_size_of_a_block_does_not_matter() -> Result<()> {
    let simulated = simulated(5, 20)?;
    for adaptation in [AisAdaptation::Frozen, AisAdaptation::Online] {
        let run = |block| {
            let settings = AisSettings { block, adaptation, ..short(6, 21) };
            bdmc(&linear(), &simulated, None, &settings)
        };
        let whole = run(256)?;
        // Blocks that end inside of a row's chains, too.
        for block in [1, 7, 30] {
            let other = run(block)?;
            assert_points(&other.lower, &whole.lower, 1e-12);
            assert_points(&other.upper, &whole.upper, 1e-12);
            assert_eq!(other.lower.acceptance, whole.lower.acceptance);
        }
    }
    Ok(())
}

#[test]
fn a_row_has_the_same_estimate_in_company() -> Result<()> {
    let data = golden(22, 4, 3);
    let whole = ais(&linear(), &rows(&data), None, &short(5, 23))?;
    let first = ais(&linear(), &rows(&data).narrow(0, 0, 1)?, None, &short(5, 23))?;
    assert_points(&first, &Ais { points: whole.points[..1].to_vec(), ..whole.clone() }, 1e-12);
    // Its chains differ from each other and from those of other rows.
    let same = rows(&data).narrow(0, 0, 1)?.repeat((2, 1))?;
    let twice = ais(&linear(), &same, None, &short(5, 23))?;
    assert!((twice.points[0].log_likelihood - twice.points[1].log_likelihood).abs() > 1e-6);
    assert!(twice.smallest_ess > 1.0 && twice.smallest_ess < 5.0);
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
    let decoder = Network::new()?;
    let data = rows(&golden(24, 6, 20).mapv(f64::round)).to_dtype(DType::F32)?;
    for observation in [Observation::Bernoulli, Observation::Gaussian { variance: 0.3 }] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let settings = AisSettings { step_size: 0.1, ..short(40, 25) };
            pool.install(|| {
                // The decoder is looked at by one thread at a time.
                let model = DecoderModel { decoder: &decoder, observation };
                ais(&model, &data, None, &settings)
            })
        };
        let found = run(1)?;
        assert_eq!(found, run(3)?);
        assert!(found.acceptance.unwrap() > 0.2 && found.non_finite == 0, "{found:?}");
    }
    Ok(())
}

#[test]
fn single_precision_agrees_with_double() -> Result<()> {
    let data = rows(&(golden(26, 4, 3) * 3.0 - 1.0));
    let settings = short(20, 27);
    let double = ais(&linear(), &data, None, &settings)?;
    let single = ais(&linear(), &data.to_dtype(DType::F32)?, None, &settings)?;
    assert_points(&single, &double, 1e-5);
    Ok(())
}

#[test]
fn everything_follows_from_the_seed() -> Result<()> {
    let data = rows(&golden(28, 2, 3));
    let run = |seed| ais(&linear(), &data, None, &short(4, seed));
    assert_eq!(run(1)?, run(1)?);
    assert_ne!(run(1)?.points, run(2)?.points);
    Ok(())
}

#[test]
fn schedules_have_their_closed_form() -> Result<()> {
    let betas = |schedule| AisSettings { steps: 8, schedule, ..short(1, 0) }.betas();
    let linear = betas(AisSchedule::Linear)?;
    assert_eq!(linear, [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0]);
    let sigmoid = betas(AisSchedule::Sigmoid { rad: 4.0 })?;
    let g = |t: f64| 1.0 / (1.0 + (-4.0 * (2.0 * t / 8.0 - 1.0)).exp());
    for (t, beta) in sigmoid.iter().enumerate() {
        assert_close(*beta, (g(t as f64) - g(0.0)) / (g(8.0) - g(0.0)), 1e-15);
    }
    assert_eq!((sigmoid[0], sigmoid[4], sigmoid[8]), (0.0, 0.5, 1.0));
    assert!(sigmoid.windows(2).all(|pair| pair[1] > pair[0]));
    // Dense at both ends.
    assert!(sigmoid[1] < 0.25 * linear[1]);
    Ok(())
}
