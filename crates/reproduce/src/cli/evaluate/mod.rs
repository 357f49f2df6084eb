//! `evaluate`: a trained model on test images, or samples against a reference.

mod model;
mod pair;
mod vaebm;
mod variational_annealing;
mod vera;

use std::path::PathBuf;

use super::{device, key_value, models::writable, print, root};
use crate::error::{Error, Result};

/// What follows the options.
const HELP: &str = "\
What a PATH can be:
  a folder          of PNG or JPEG images, or of folders of them; or of the files of MNIST or
                    CIFAR-10, as PATH:train or PATH:test (one idx3-ubyte file will do, too)
  .npy .npz         u8 images (n, h, w), (n, c, h, w) or (n, h, w, c); rows of floats (n, d), which
  .safetensors      are features already; floats (n), the scores of an outlier detector; `logits`
                    (n, classes) with `labels` (n). Where there are several, PATH:NAME says which
  statistics        that --save-statistics or pytorch-fid stored

Metrics, those with a star by default:
  a model           lower-bound* importance-sampling bits-per-dim* parzen*; of 28x28 digits mnist-fid
                    classifier-score. Without a density: parzen* mnist-fid* classifier-score*
  of vaebm          mnist-fid* classifier-score*
  of vera           accuracy* ece* of labelled examples, log-likelihood* of normalised models, and with
                    --reference, the in-distribution examples, auroc* of three scores: log density,
                    largest probability, minus the length of the log density's gradient
  inception         fid* kid* prdc* inception-score* mmd energy-distance nearest-accuracy
  mnist             mnist-fid* kid* prdc* classifier-score* mmd energy-distance nearest-accuracy;
                    of stacked digits modes*
  none              frechet-distance* kid* prdc* mmd* energy-distance* nearest-accuracy*
  scores            auroc* (the reference is in-distribution and should score higher)
  logits, labels    accuracy* ece*
  Only Frechet distances can be had from statistics; inception-score, classifier-score, modes,
  accuracy and ece need no reference; prdc gives precision, recall, density and coverage.

Settings, for --set:
  a model           images=1000 (importance-sampling 200) chains=20 (importance-sampling 1000)
                    samples=2000 window=0.17 steps=N, else those of the training; of vaebm
                    samples=2000 steps=N, 0 for its autoencoder
  Frechet           floor=true, the distance between the reference's halves; extrapolate=N, that of
                    infinitely many rows by N sizes of subsets
  kid               subsets=100 subset_size=1000; all rows at once where they are fewer
  prdc              k=5 boundary=open
  scores by classes splits=10 (classifier-score 1) shuffle=true
  mmd               bandwidth=H, else the median distance within the reference; mixture=false;
                    permutations=1000, 0 above 10000 rows
  ece               bins=15 resamples=1000
  mnist             classifier=a, or b: a second network, on whose rankings the first should agree
  images            of a folder: resize=SIDE crop=SIDE square=false; batch=N

Examples:
  cargo xtask evaluate checkpoints/infusion-mnist --metric parzen
  cargo xtask evaluate RUN/checkpoints/model --data new.csv --scores scores.csv
  cargo xtask evaluate RUN/checkpoints/model --data odd.csv --reference usual.csv --metric auroc
  cargo xtask evaluate --reference datasets/mnist:test --samples out/digits --json scores.json
  cargo xtask evaluate --reference real.npy --samples generated.npy --metric mmd
  cargo xtask evaluate --reference cifar10:train --save-statistics cifar10-train.safetensors
  cargo xtask evaluate --reference cifar10-train.safetensors --samples out/images --metric fid";

/// Scores a trained model on test images, or samples against a reference
///
/// Give either MODEL, or --samples with --reference.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "cargo xtask evaluate MODEL [OPTIONS]
       cargo xtask evaluate --reference PATH --samples PATH [OPTIONS]",
    after_long_help = HELP
)]
pub(super) struct Args {
    /// A directory with config.json and model.safetensors, or owner/name[@revision] on the hub
    model: Option<String>,
    /// Real data, or statistics of them
    #[arg(long, value_name = "PATH")]
    reference: Option<PathBuf>,
    /// Generated data
    #[arg(long, value_name = "PATH")]
    samples: Option<PathBuf>,
    /// What to measure, repeatable; the names are listed below
    #[arg(long = "metric", value_name = "NAME")]
    metrics: Vec<String>,
    /// The network whose features are compared. Default: none for rows, mnist for grey images of
    /// 28x28, else inception
    #[arg(long, value_enum)]
    features: Option<pair::Features>,
    /// Write mean and covariance of the reference's features to this .safetensors file, which can
    /// stand for the reference later on
    #[arg(long, value_name = "FILE")]
    save_statistics: Option<PathBuf>,
    /// Folder with data sets for a model, searched before the repository's; for a model of vera the
    /// table or the folder of images that it scores
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// cpu, cuda:N or metal
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Never use the network
    #[arg(long)]
    offline: bool,
    /// Root of all randomness
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write the scores of every example to this .csv file: of models of vera
    #[arg(long, value_name = "FILE")]
    scores: Option<PathBuf>,
    /// Write {"metrics": [...]} to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Override a setting, repeatable; the keys are listed below
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,
}

pub(super) fn run(args: Args) -> Result<u8> {
    if let Some(path) = &args.json {
        writable("--json", path)?;
    }
    if let Some(path) = &args.scores {
        writable("--scores", path)?;
    }
    let paths = args.reference.is_some() || args.samples.is_some();
    match &args.model {
        // What a reference is to a model depends on the model.
        Some(model) if args.samples.is_some() => Err(Error::Usage(format!(
            "evaluate takes a model (here `{model}`), or --reference and --samples, and not both"
        ))),
        Some(model) => {
            let pairs_only =
                [("--features", args.features.is_some()), ("--save-statistics", args.save_statistics.is_some())];
            if let Some((option, _)) = pairs_only.iter().find(|(_, given)| *given) {
                return Err(Error::Usage(format!(
                    "{option} goes with --reference and --samples; a model is scored on its own"
                )));
            }
            model::run(model, &args)
        }
        None if args.scores.is_some() => {
            Err(Error::Usage("--scores goes with a model, which gives the scores".into()))
        }
        None if paths => pair::run(&args),
        None => Err(Error::Usage(
            "nothing to evaluate: give a model (a directory or owner/name), or --reference PATH and \
             --samples PATH; see --help"
                .into(),
        )),
    }
}
