//! Trains a classifier on a table and looks at its accuracy on the way.

use std::{sync::Arc, time::Instant};

use candle_core::{D, Device};
use chains_core::{Seed, noise};
use datasets::{Batches, Shuffle, Table, legacy};
use serde::{Deserialize, Serialize};
use vera::{EnergyNetwork, ModelConfig, VeraModel};

use super::{
    data::{Parts, classes},
    methods::{Batch, Method},
};
use crate::{
    data::usage,
    error::Result,
    training::{Cell, Ticker, json},
};

/// Updates between two signs of life.
const TICK: usize = 100;
/// Rows that pass the network together.
const ROWS: usize = 2_048;
/// Looks at the end whose mean is reported.
const TAIL: usize = 5;

/// One training.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fit {
    /// Name of the set.
    pub(super) set: String,
    pub(super) model: ModelConfig,
    pub(super) method: Method,
    /// Decides which labels are known, the initial networks and all noise.
    pub(super) seed: u64,
    /// Known labels of a class; 0 for all.
    pub(super) labels_per_class: usize,
    pub(super) updates: usize,
    /// Examples of an update without labels, and at most as many with.
    pub(super) batch_size: usize,
    /// Looks at the accuracy, evenly spaced over the updates.
    pub(super) looks: usize,
}

/// A look at a classifier: shares of right answers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Look {
    pub(super) update: usize,
    pub(super) validation: Option<f64>,
    pub(super) test: Option<f64>,
}

/// What a training gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Fitted {
    pub(super) looks: Vec<Look>,
    /// The update whose loss was no number, or beyond 1e8, if one was.
    pub(super) diverged: Option<usize>,
    /// Updates done.
    pub(super) updates: usize,
    /// Time of the updates alone.
    pub(super) seconds: f64,
    /// Labels used.
    pub(super) labelled: usize,
}

impl Fitted {
    fn tail(&self, of: impl Fn(&Look) -> Option<f64>) -> f64 {
        let last = &self.looks[self.looks.len().saturating_sub(TAIL)..];
        let values: Vec<f64> = last.iter().filter_map(of).collect();
        values.iter().sum::<f64>() / values.len() as f64
    }

    /// Mean of the last five looks at the validation rows.
    pub(super) fn validation(&self) -> f64 {
        self.tail(|look| look.validation)
    }

    /// Mean of the last five looks at the test rows.
    pub(super) fn test(&self) -> f64 {
        self.tail(|look| look.test)
    }
}

impl Fit {
    /// The training as one of many.
    pub(super) fn cell(self, parts: &Arc<Parts>, device: Device) -> Result<Cell<'static, Fitted>> {
        let sizes = [parts.train.len(), parts.validation.len(), parts.train.dim()];
        let (key, updates) = (json(&(&self, sizes))?, self.updates);
        let parts = Arc::clone(parts);
        let work = move |ticker: &Ticker| Ok(self.run(&parts, &device, ticker)?.0);
        Ok(Cell { key, updates, work: Box::new(work) })
    }

    /// Trains; gives the model, too, as it was after the last update of a finite loss.
    pub(super) fn run(
        &self,
        parts: &Parts,
        device: &Device,
        ticker: &Ticker,
    ) -> Result<(Fitted, VeraModel)> {
        let seed = Seed::new(self.seed).child("vera").child(&self.set);
        let model = VeraModel::new(self.model.clone(), seed.child("model"), device)?;
        let mut step = self.method.begin(&model, seed.child("method"))?;
        let mut source = Source::new(self, &parts.train, device, seed.child("data"))?;
        let mut noise = noise::of_device(seed.child("noise"), device);
        let every = (self.updates / self.looks.max(1)).max(1);
        let mut fitted = Fitted {
            looks: Vec::new(),
            diverged: None,
            updates: 0,
            seconds: 0.0,
            labelled: source.labelled.len(),
        };
        for update in 1..=self.updates {
            let started = Instant::now();
            let batch = source.next()?;
            match step(&batch, &mut *noise) {
                Ok(loss) if update.is_multiple_of(TICK) => ticker.at(update, &[("loss", loss)]),
                Ok(_) => {}
                Err(chains_core::Error::NonFinite { .. }) => {
                    fitted.diverged = Some(update);
                    break;
                }
                Err(error) => return Err(error.into()),
            }
            fitted.seconds += started.elapsed().as_secs_f64();
            fitted.updates = update;
            if update.is_multiple_of(every) {
                fitted.looks.push(look(&model, parts, update)?);
            }
        }
        drop(step);
        if fitted.looks.is_empty() {
            fitted.looks.push(look(&model, parts, fitted.updates)?);
        }
        Ok((fitted, model))
    }
}

fn look(model: &VeraModel, parts: &Parts, update: usize) -> Result<Look> {
    let test = parts.test.as_ref().map(|test| accuracy(model, test)).transpose()?.flatten();
    Ok(Look { update, validation: accuracy(model, &parts.validation)?, test })
}

/// Share of right answers to the labelled rows, if there are any.
fn accuracy(model: &VeraModel, table: &Table) -> Result<Option<f64>> {
    let (rows, device) = (table.labelled_rows(), model.store().device());
    let mut right = 0.0;
    for rows in rows.chunks(ROWS) {
        let x = table.tensor(rows).map_err(usage)?.to_device(device)?;
        let answers = model.energy().logits(&x, &[])?.argmax(D::Minus1)?;
        let hits = answers.eq(&classes(table, rows, device)?)?;
        right += f64::from(hits.to_dtype(candle_core::DType::F32)?.sum_all()?.to_scalar::<f32>()?);
    }
    Ok((!rows.is_empty()).then(|| right / rows.len() as f64))
}

/// Batches of a training.
struct Source<'a> {
    table: &'a Table,
    device: &'a Device,
    /// Rows whose labels are known.
    labelled: Vec<usize>,
    all: Batches,
    few: Batches,
    /// Do batches of all rows have their labels?
    every_label: bool,
}

impl<'a> Source<'a> {
    fn new(fit: &Fit, table: &'a Table, device: &'a Device, seed: Seed) -> Result<Self> {
        let every_label = fit.method.uses_all_labels();
        let labelled = match fit.labels_per_class {
            0 => table.labelled_rows(),
            n => legacy::labelled_subset(&table.labels, n, fit.seed as u32).map_err(usage)?,
        };
        let batches = |n: usize, name: &str| {
            let batch_size = fit.batch_size.min(n);
            Shuffle { n, batch_size, seed: seed.child(name), drop_last: true }
                .batches()
                .map_err(usage)
        };
        let (all, few) = (batches(table.len(), "all")?, batches(labelled.len(), "labelled")?);
        Ok(Self { table, device, labelled, all, few, every_label })
    }

    fn next(&mut self) -> Result<Batch> {
        let (table, device) = (self.table, self.device);
        let rows = self.all.next_batch();
        let x = table.tensor(rows).map_err(usage)?.to_device(device)?;
        let own = if self.every_label { Some(classes(table, rows, device)?) } else { None };
        let few: Vec<usize> = self.few.next_batch().iter().map(|&i| self.labelled[i]).collect();
        let known = table.tensor(&few).map_err(usage)?.to_device(device)?;
        Ok(Batch { x, classes: own, labelled: (known, classes(table, &few, device)?) })
    }
}
