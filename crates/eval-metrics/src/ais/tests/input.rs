//! Settings, their files, and input that cannot be used.

use candle_core::{DType, Device, Tensor};
use chains_core::{Result, dist::DiagGaussian, mcmc::StepSizeRule};

use super::{Linear, X, linear, row, short, simulated};
use crate::{
    AisAdaptation, AisSchedule, AisSettings, Decoder, DecoderModel, Observation, Simulated, ais,
    bdmc,
};

#[test]
fn the_published_settings_are_those_of_the_study() {
    let AisSettings {
        steps, schedule, chains, leapfrog_steps, step_size, rule, adaptation, ..
    } = AisSettings::published();
    assert_eq!((steps, chains, leapfrog_steps), (10_000, 16, 10));
    assert_eq!((schedule, step_size), (AisSchedule::Sigmoid { rad: 4.0 }, 0.01));
    assert_eq!((rule, adaptation), (StepSizeRule::decoder_models(), AisAdaptation::Frozen));
}

#[test]
fn settings_and_results_are_written_and_settings_read() -> Result<()> {
    for schedule in [AisSchedule::Linear, AisSchedule::Sigmoid { rad: 3.0 }] {
        let settings = AisSettings { schedule, ..short(3, 4) };
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<AisSettings>(&text).unwrap(), settings);
        let typo = text.replace("leapfrog_steps", "leap_frog_steps");
        assert!(serde_json::from_str::<AisSettings>(&typo).is_err());
    }
    let found = bdmc(&linear(), &simulated(2, 30)?, None, &short(3, 31))?;
    let text = serde_json::to_value(&found).unwrap();
    assert_eq!(text["lower"]["bound"], "lower");
    assert_eq!(text["upper"]["settings"]["schedule"]["kind"], "sigmoid");
    assert_eq!(text["lower"]["observation"]["variance"], 0.25);
    assert_eq!(text["lower"]["points"].as_array().unwrap().len(), 2);
    Ok(())
}

#[test]
fn unusable_settings_are_named() {
    let good = short(3, 0);
    let rule = |rule| AisSettings { rule, ..good };
    let published = StepSizeRule::decoder_models();
    for (field, settings) in [
        ("steps", AisSettings { steps: 0, ..good }),
        ("chains", AisSettings { chains: 0, ..good }),
        ("leapfrog_steps", AisSettings { leapfrog_steps: 0, ..good }),
        ("block", AisSettings { block: 0, ..good }),
        ("step_size", AisSettings { step_size: 0.0, ..good }),
        ("step_size", AisSettings { step_size: f64::NAN, ..good }),
        ("rad", AisSettings { schedule: AisSchedule::Sigmoid { rad: -1.0 }, ..good }),
        ("rad", AisSettings { schedule: AisSchedule::Sigmoid { rad: 50.0 }, ..good }),
        ("target", rule(StepSizeRule { target: 0.0, ..published })),
        ("smallest", rule(StepSizeRule { smallest: 0.0, ..published })),
    ] {
        let text = ais(&linear(), &row(&X), None, &settings).unwrap_err().to_string();
        assert!(text.contains(&format!("`{field}`")), "{field}: {text}");
    }
    for variance in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let model = DecoderModel { observation: Observation::Gaussian { variance }, ..linear() };
        let text = ais(&model, &row(&X), None, &good).unwrap_err().to_string();
        assert!(text.contains("`variance`"), "{text}");
        assert!(model.log_likelihood(&row(&[0.0, 0.0]), &row(&X)).is_err());
    }
}

#[test]
fn unusable_tensors_are_named() -> Result<()> {
    let text = |model: &DecoderModel<'_>, data: &Tensor, proposal: Option<&DiagGaussian>| {
        ais(model, data, proposal, &short(3, 0)).unwrap_err().to_string()
    };
    let zeros = |shape: (usize, usize)| Tensor::zeros(shape, DType::F64, &Device::Cpu);
    let bernoulli = DecoderModel { observation: Observation::Bernoulli, ..linear() };
    assert!(text(&linear(), &zeros((0, 3))?, None).contains("data"));
    assert!(text(&linear(), &zeros((3, 0))?, None).contains("data"));
    assert!(text(&linear(), &zeros((3, 1))?.squeeze(1)?, None).contains("data"));
    assert!(
        text(&linear(), &zeros((3, 3))?.to_dtype(DType::U8)?, None).contains("`data`: of type")
    );
    assert!(text(&linear(), &row(&[0.0, f64::NAN, 1.0]), None).contains("`data`: NaN"));
    assert!(text(&linear(), &row(&[0.0, f64::INFINITY, 1.0]), None).contains("`data`: inf"));
    assert!(text(&bernoulli, &row(&[0.0, 1.0, -0.1]), None).contains("`data`: -0.1 is not within"));
    assert!(text(&linear(), &zeros((3, 4))?, None).contains("decoder output"));
    let q = |mean: Tensor, variance: f64| {
        let variance = mean.zeros_like()?.affine(1.0, variance)?;
        DiagGaussian::new(mean, variance)
    };
    let proposal = |q: DiagGaussian| text(&linear(), &row(&X), Some(&q));
    assert!(proposal(q(zeros((2, 2))?, 1.0)?).contains("proposal"));
    assert!(proposal(q(zeros((1, 3))?, 1.0)?).contains("proposal"));
    assert!(proposal(q(zeros((1, 2))?, 0.0)?).contains("`proposal`: a variance"));
    assert!(proposal(q(zeros((1, 2))?.to_dtype(DType::F32)?, 1.0)?).contains("of type f32"));
    assert!(proposal(q((zeros((1, 2))? + f64::NAN)?, 1.0)?).contains("proposal"));
    let pair = Simulated { latents: zeros((1, 3))?, data: row(&X) };
    let error = bdmc(&linear(), &pair, None, &short(3, 0)).unwrap_err().to_string();
    assert!(error.contains("latents: expected shape (1, 2)"), "{error}");
    Ok(())
}

#[test]
fn decoders_that_break_are_errors_and_proposals_that_break_are_counted() -> Result<()> {
    /// Linear, but not a number where the first latent is beyond a limit.
    struct Broken(f64);
    impl Decoder for Broken {
        fn latent_width(&self) -> usize {
            2
        }
        fn decode(&self, z: &Tensor) -> Result<Tensor> {
            let out = Linear.decode(z)?;
            let beyond = z.narrow(1, 0, 1)?.gt(self.0)?.broadcast_as(out.shape())?;
            Ok(beyond.where_cond(&(out.zeros_like()? + f64::NAN)?, &out)?)
        }
    }
    struct Nothing;
    impl Decoder for Nothing {
        fn latent_width(&self) -> usize {
            0
        }
        fn decode(&self, z: &Tensor) -> Result<Tensor> {
            Ok(z.clone())
        }
    }
    let always = DecoderModel { decoder: &Broken(-100.0), ..linear() };
    let error = ais(&always, &row(&X), None, &short(3, 0)).unwrap_err();
    assert!(error.is_recoverable() && error.to_string().contains("log p(x | z)"), "{error}");
    let nothing = DecoderModel { decoder: &Nothing, ..linear() };
    let error = ais(&nothing, &row(&X), None, &short(3, 0)).unwrap_err().to_string();
    assert!(error.contains("`latent_width`"), "{error}");
    // From a start inside of the limit some chains run against it, and stay.
    let sometimes = DecoderModel { decoder: &Broken(0.8), ..linear() };
    let start = Tensor::new(&[[-1.0_f64, 0.0]], &Device::Cpu)?;
    let start = DiagGaussian::new(start, Tensor::new(&[[0.01_f64, 0.01]], &Device::Cpu)?)?;
    let found = ais(&sometimes, &row(&X), Some(&start), &short(50, 1))?;
    assert!(found.non_finite > 0 && found.mean.is_finite(), "{found:?}");
    Ok(())
}
