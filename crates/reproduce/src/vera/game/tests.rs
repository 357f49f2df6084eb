use chains_core::train::{Parts, StateDir};
use datasets::ImageSet;
use vera::{EnergyConfig, Entropy, GeneratorConfig};

use super::*;

/// Eight grey images of two pixels with classes.
struct Pairs(ImageSet);

impl Pairs {
    fn new() -> Self {
        let pixels = (0..16).map(|i| (i * 37) as u8).collect();
        Self(ImageSet::new("pairs", pixels, (0..8).map(|i| i % 2).collect(), [1, 1, 2]).unwrap())
    }
}

impl Examples for Pairs {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn digest(&self) -> String {
        self.0.digest()
    }

    fn batch(
        &self,
        indices: &[usize],
        _: &mut HostNoise,
        device: &Device,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let classes: Vec<u32> = indices.iter().map(|i| u32::from(self.0.labels[*i])).collect();
        Ok((self.0.symmetric(indices)?.to_device(device)?, Some(Tensor::new(classes, device)?)))
    }
}

fn recipe(entropy: Entropy) -> Recipe {
    let energy = EnergyConfig::Mlp { dim: 2, hidden: vec![5], outputs: 2, weight_norm: false };
    let train = TrainConfig {
        class_weight: 1.0,
        entropy,
        batch_size: 4,
        // Every second update only, so that steps and iterations differ.
        generator_every: 2,
        ..TrainConfig::density(0.5, [1e-2; 3])
    };
    Recipe { model: ModelConfig::of(energy, GeneratorConfig::toy(6)), train, epochs: 3 }
}

fn updates(game: &mut Game<'_, Pairs>, adam: &mut Adam, range: std::ops::Range<usize>) -> Vec<f64> {
    let indices = |update: usize| (0..4).map(|i| (update + i) % 8).collect::<Vec<_>>();
    range
        .map(|update| {
            let indices = indices(update);
            let at = UpdateAt { update, indices: &indices, learning_rate: 1.0 };
            game.update(adam, &at).unwrap()
        })
        .collect()
}

#[test]
fn a_resumed_game_gives_the_bits_of_one_that_was_never_stopped() {
    let pairs = Pairs::new();
    for entropy in
        [Entropy::ImportanceSampling { samples: 3 }, Entropy::Hmc(vera::HmcConfig::published())]
    {
        let recipe = recipe(entropy);
        let new = || Game::new(&pairs, &recipe, Seed::new(3), &Device::Cpu).unwrap();
        let (mut whole, mut adam) = (new(), Adam::new(recipe.train.adam));
        updates(&mut whole, &mut adam, 0..3);
        let temp = tempfile::tempdir().unwrap();
        let states = StateDir::new(temp.path());
        let carried = whole.carried_tensors().unwrap();
        assert!(carried.iter().any(|(name, _)| name.starts_with("generator.")));
        assert!(!carried.iter().any(|(name, _)| name.starts_with("energy.")), "saved by the loop");
        let parts = Parts { store: whole.store(), adam: &adam, average: None, carried: &carried };
        let at = states.save(3, parts, whole.carried().unwrap()).unwrap();
        let want = updates(&mut whole, &mut adam, 3..6);
        let mut other = new();
        let loaded = StateDir::load::<Value>(&at, other.store(), recipe.train.adam, None).unwrap();
        other.restore(loaded.progress.extra, loaded.carried).unwrap();
        let mut restored = loaded.adam;
        assert_eq!(updates(&mut other, &mut restored, 3..6), want);
        assert_eq!(bits(other.store()), bits(whole.store()));
        assert_eq!(other.sums, whole.sums);
        assert_eq!(other.state.iteration, whole.state.iteration);
    }
}

fn bits(store: &ParamStore) -> Vec<(String, Vec<u32>)> {
    let one = |(name, tensor): (String, Tensor)| {
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        (name, values.into_iter().map(f32::to_bits).collect())
    };
    store.tensors().into_iter().map(one).collect()
}

#[test]
fn an_epoch_has_the_means_of_its_updates_and_the_next_begins_anew() {
    let (pairs, recipe) = (Pairs::new(), recipe(Entropy::ImportanceSampling { samples: 3 }));
    let mut game = Game::new(&pairs, &recipe, Seed::new(4), &Device::Cpu).unwrap();
    let mut adam = Adam::new(recipe.train.adam);
    updates(&mut game, &mut adam, 0..2);
    let means = game.sums.clone().means();
    let dir = Path::new("");
    let end = EpochEnd { dir, epoch: 1, update: 2, loss: 0.25, curve: &[] };
    let found = game.end_epoch(&end).unwrap().unwrap();
    assert_eq!((found.epoch, found.accuracy), (1, None));
    assert_eq!((found.mean("data"), found.mean("sigma")), (means[0], means[6]));
    assert!(found.mean("sigma") >= 0.01 - 1e-9 && found.mean("nothing").is_nan());
    assert_eq!(game.sums, Sums::default());
}
