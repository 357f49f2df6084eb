use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::Init;
use chains_core::{ParamStore, Seed, optim::AdamConfig, schedule::LearningRate};

use super::*;
use crate::training::UpdateAt;

/// A number that walks by a momentum which is a tensor beside the optimiser.
struct Walk {
    store: ParamStore,
    momentum: Tensor,
    breaks: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Place(usize, f64);

impl Followed for Place {
    fn epoch(&self) -> usize {
        self.0
    }

    fn values(&self) -> Vec<(&'static str, f64)> {
        vec![("place", self.1)]
    }
}

impl Walk {
    fn new(breaks: Option<usize>) -> Self {
        let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
        store.builder().get_with_hints(1, "x", Init::Const(4.0)).unwrap();
        let momentum = Tensor::new(&[0.5_f32], &Device::Cpu).unwrap();
        Self { store, momentum, breaks }
    }

    fn place(&self) -> f32 {
        self.store.get("x").unwrap().to_vec1::<f32>().unwrap()[0]
    }
}

impl Learner for Walk {
    type Epoch = Place;

    fn store(&self) -> &ParamStore {
        &self.store
    }

    fn update(&mut self, adam: &mut Adam, at: &UpdateAt<'_>) -> Result<f64> {
        if self.breaks == Some(at.update) {
            let (what, step) = ("loss", at.update);
            return Err(chains_core::Error::NonFinite { what, step }.into());
        }
        let x = self.store.builder().get(1, "x")?;
        let loss = (&x * &self.momentum)?.sqr()?.sum_all()?;
        adam.step(&self.store, &loss.backward()?, at.learning_rate)?;
        self.momentum = ((&self.momentum * 0.9)? + (self.store.builder().get(1, "x")? * 0.1)?)?;
        self.momentum = self.momentum.detach();
        Ok(f64::from(loss.to_scalar::<f32>()?))
    }

    fn carried_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(vec![("momentum".into(), self.momentum.clone())])
    }

    fn restore(&mut self, _: Value, mut tensors: BTreeMap<String, Tensor>) -> Result<()> {
        self.momentum = tensors.remove("momentum").unwrap();
        assert!(tensors.is_empty());
        Ok(())
    }

    fn end_epoch(&mut self, at: &EpochEnd<'_, Place>) -> Result<Option<Place>> {
        Ok(Some(Place(at.epoch, f64::from(self.place()))))
    }

    fn finish(&mut self, _: &Path, _: &[Place], _: &mut dyn Observer) -> Result<()> {
        Ok(())
    }
}

fn plan() -> Plan {
    Plan {
        examples: 4,
        batch_size: 2,
        epochs: 5,
        learning_rate: LearningRate::Constant { value: 0.1 },
        adam: AdamConfig::standard(),
        weight_average: 0.0,
        order: Seed::new(1),
    }
}

fn go(walk: &mut Walk, dir: &Path) -> Result<f32> {
    let plan = plan();
    let mut session = Session::new(&plan, walk, dir);
    session.resume()?;
    session.run("walk", &mut ())?;
    Ok(walk.place())
}

#[test]
fn a_training_that_breaks_names_update_and_last_good_state_and_resumes_from_there() {
    let temp = tempfile::tempdir().unwrap();
    let want = go(&mut Walk::new(None), &temp.path().join("whole")).unwrap();
    let dir = temp.path().join("broken");
    // Two updates an epoch: the state after the second epoch is the last before update 5.
    let error = go(&mut Walk::new(Some(5)), &dir).unwrap_err();
    let message = error.to_string();
    let state = dir.join("states").join("step-00000004");
    assert!(state.is_dir());
    for words in ["loss at step 5", "last good state", &state.display().to_string(), "--resume"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert_eq!(error.exit_status(), 3);
    let resumed = go(&mut Walk::new(None), &dir).unwrap();
    assert_eq!(resumed.to_bits(), want.to_bits());
}

#[test]
fn a_training_that_breaks_at_once_says_that_there_is_no_state() {
    let temp = tempfile::tempdir().unwrap();
    let error = go(&mut Walk::new(Some(0)), temp.path()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("step 0") && message.contains("no state was saved"), "{message}");
    assert_eq!(error.exit_status(), 3);
}

#[test]
fn a_broken_training_is_put_back_to_its_last_state_and_other_errors_pass() {
    let temp = tempfile::tempdir().unwrap();
    let (plan, mut walk) = (plan(), Walk::new(Some(5)));
    let error = go(&mut walk, temp.path()).unwrap_err();
    // Update 4, after the last state, has moved it.
    let last = walk.place();
    let broken = rescue(error, &plan, &mut walk).unwrap();
    assert_eq!((broken.updates, broken.curve.len()), (4, 2));
    assert_eq!(broken.curve[1], Place(2, f64::from(walk.place())));
    assert_ne!(walk.place().to_bits(), last.to_bits());
    assert!(broken.reason.to_string().contains("step 5"), "{}", broken.reason);
    assert!(broken.seconds >= 0.0);
    let early = go(&mut Walk::new(Some(0)), &temp.path().join("early")).unwrap_err();
    assert!(matches!(rescue(early, &plan, &mut walk), Err(Error::Diverged { .. })));
    let other = Error::Usage("other".into());
    assert!(matches!(rescue(other, &plan, &mut walk), Err(Error::Usage(_))));
}

/// [`Walk`] whose losses come when they are asked for; that of one update may be no number.
struct Late {
    walk: Walk,
    lost: Option<usize>,
}

impl Learner for Late {
    type Epoch = Place;

    fn store(&self) -> &ParamStore {
        self.walk.store()
    }

    fn update(&mut self, adam: &mut Adam, at: &UpdateAt<'_>) -> Result<f64> {
        self.walk.update(adam, at)
    }

    fn update_later(&mut self, adam: &mut Adam, at: &UpdateAt<'_>) -> Result<Later> {
        let loss = self.update(adam, at)?;
        let told = if self.lost == Some(at.update) { f64::NAN } else { loss };
        Ok(Later::when_asked(move || Ok(told)))
    }

    fn end_epoch(&mut self, at: &EpochEnd<'_, Place>) -> Result<Option<Place>> {
        // The mean loss shows that all updates of the epoch were told.
        Ok(Some(Place(at.epoch, at.loss)))
    }

    fn finish(&mut self, _: &Path, _: &[Place], _: &mut dyn Observer) -> Result<()> {
        Ok(())
    }
}

/// Steps with their first number, as an observer has them.
#[derive(Default)]
struct Shown(Vec<(usize, f64)>);

impl Observer for Shown {
    fn observe(&mut self, event: &Event<'_>) -> chains_core::Result<()> {
        if let Event::Scalars { step, values } = event {
            self.0.extend(values.first().map(|(_, value)| (*step, *value)));
        }
        Ok(())
    }
}

#[test]
fn losses_that_come_later_are_those_of_their_updates() -> Result<()> {
    let temp = tempfile::tempdir().unwrap();
    let plan = Plan { batch_size: 1, ..plan() };
    let run = |late: &mut Late, dir: &str| -> (Result<()>, Vec<(usize, f64)>) {
        let mut session = Session::new(&plan, late, &temp.path().join(dir));
        let mut shown = Shown::default();
        let result = session.resume().and_then(|()| session.run("walk", &mut shown));
        (result, shown.0)
    };
    let (result, shown) = run(&mut Late { walk: Walk::new(None), lost: None }, "whole");
    result?;
    // Four updates and what is followed, in order, for each epoch.
    let steps: Vec<usize> = shown.iter().map(|(step, _)| *step).collect();
    let want: Vec<usize> = (1..=20).flat_map(|i| vec![i; 1 + usize::from(i % 4 == 0)]).collect();
    assert_eq!(steps, want);
    for epoch in shown.chunks(5) {
        let mean = epoch[..4].iter().map(|(_, loss)| loss).sum::<f64>() / 4.0;
        assert!((mean - epoch[4].1).abs() < 1e-12, "{epoch:?}");
    }
    // The first loss is that of the start, the square of 4 times the momentum 0.5.
    assert!((shown[0].1 - 4.0).abs() < 1e-6);
    let (result, until) = run(&mut Late { walk: Walk::new(None), lost: Some(5) }, "lost");
    let message = result.unwrap_err().to_string();
    assert!(message.contains("loss at step 5") && message.contains("step-00000004"), "{message}");
    assert_eq!(until, shown[..6], "updates 0 to 4, and the first epoch");
    Ok(())
}
