//! The features of one side, streamed: rows, moments and logits, as far as the scores need them.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Seed,
    train::{Event, Observer},
};
use datasets::{arrays::Values, permutation};
use eval_metrics::{MomentAccumulator, Moments, Real, networks::FeatureExtractor};
use ndarray::{Array2, ArrayView2, Axis};

use super::{
    images::Images,
    input::{Data, Input, Rows},
};
use crate::error::{Error, Result};

/// What the scores need of a side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    /// All rows, `(n, d)`.
    pub(super) rows: bool,
    /// Mean and covariance, and those of two random halves.
    pub(super) moments: bool,
    /// What the network says of every image, `(n, classes)`.
    pub(super) logits: bool,
}

/// A side, computed.
pub(super) struct Side<T> {
    pub(super) n: usize,
    pub(super) width: usize,
    /// Columns in which all rows are equal.
    pub(super) constant: usize,
    pub(super) rows: Option<Array2<T>>,
    pub(super) moments: Option<Moments>,
    /// Of two random halves, if there are two rows in each.
    pub(super) halves: Option<[Moments; 2]>,
    /// Which half each row is in.
    pub(super) split: Vec<bool>,
    pub(super) logits: Option<Array2<f32>>,
    pub(super) seconds: f64,
}

/// How features are made.
pub(super) struct Pass<'a> {
    /// `reference` or `samples`, for the line of progress.
    pub(super) stage: &'a str,
    pub(super) need: Need,
    /// None: rows and pixels as they are.
    pub(super) extractor: Option<&'a dyn FeatureExtractor>,
    /// Where the network runs.
    pub(super) device: &'a Device,
    pub(super) batch: usize,
    /// Of the division into halves.
    pub(super) seed: Seed,
}

impl Pass<'_> {
    /// Features of an input, a batch at a time.
    ///
    /// # Errors
    /// [`Error::Usage`] for a number that is not finite and for rows that are all equal; those of
    /// the readers and of the network.
    pub(super) fn run<T: Real>(
        &self,
        input: &Input,
        observer: &mut dyn Observer,
    ) -> Result<Side<T>> {
        let started = Instant::now();
        let (n, width) = match &input.data {
            Data::Images(images) => {
                (images.n, self.extractor.map_or(images.pixels(), |extractor| extractor.dim()))
            }
            Data::Rows(rows) => (rows.info.rows(), rows.info.row_len()),
            _ => return Err(Error::Usage(format!("{}: has no rows", input.name))),
        };
        if width == 0 {
            return Err(Error::Usage(format!("{}: rows have no columns", input.name)));
        }
        let mut collector = Collector::new(&input.name, halves(n, self.seed), width, self.need);
        observer.observe(&Event::Started { stage: self.stage, step: 0, total: Some(n) })?;
        match &input.data {
            Data::Images(images) => self.images(images, &mut collector, observer)?,
            Data::Rows(rows) => self.rows(rows, &mut collector, observer)?,
            _ => {}
        }
        observer.observe(&Event::Finished { step: n })?;
        let mut side = collector.finish()?;
        side.seconds = started.elapsed().as_secs_f64();
        Ok(side)
    }

    fn images<T: Real>(
        &self,
        images: &Images,
        collector: &mut Collector<'_, T>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let [c, h, w] = images.shape;
        let mut batches = images.batches()?;
        loop {
            let pixels = batches.next(self.batch)?;
            if pixels.is_empty() {
                return Ok(());
            }
            let Some(extractor) = self.extractor else {
                let values: Vec<T> =
                    pixels.iter().map(|&pixel| T::from_f64(f64::from(pixel) / 255.0)).collect();
                collector.push(values)?;
                observer.observe(&Event::Scalars { step: collector.n, values: &[] })?;
                continue;
            };
            let b = pixels.len() / images.pixels();
            let pixels = Tensor::from_vec(pixels, (b, c, h, w), self.device)?;
            let found = extractor.activations(&pixels).map_err(|e| refused(extractor, e))?;
            let values: Vec<T> = host(&found.features, (b, extractor.dim()))?
                .into_iter()
                .map(|value| T::from_f64(value.into()))
                .collect();
            collector.push(values)?;
            if self.need.logits {
                collector.logits.extend(host(&found.logits, (b, extractor.classes()))?);
            }
            observer.observe(&Event::Scalars { step: collector.n, values: &[] })?;
        }
    }

    fn rows<T: Real>(
        &self,
        rows: &Rows,
        collector: &mut Collector<'_, T>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let mut stream = rows.file.stream(&rows.info.name)?;
        loop {
            let values = stream.next_rows(self.batch)?;
            if values.is_empty() {
                return Ok(());
            }
            collector.push(numbers(values))?;
            observer.observe(&Event::Scalars { step: collector.n, values: &[] })?;
        }
    }
}

/// Which of two random halves each of `n` rows is in. Neighbours in a file are not independent: the
/// writers of MNIST take turns.
pub(super) fn halves(n: usize, seed: Seed) -> Vec<bool> {
    let mut split = vec![false; n];
    permutation(n, seed).into_iter().take(n / 2).for_each(|row| split[row] = true);
    split
}

/// Images that a network does not take are bad input.
pub(super) fn refused(network: &dyn FeatureExtractor, error: chains_core::Error) -> Error {
    match error {
        error @ (chains_core::Error::Shape { .. } | chains_core::Error::Config { .. }) => {
            Error::Usage(format!("{}: {error}", network.id()))
        }
        error => error.into(),
    }
}

/// Values of a tensor of that shape.
fn host(tensor: &Tensor, shape: (usize, usize)) -> Result<Vec<f32>> {
    if tensor.dims() != [shape.0, shape.1] {
        let (got, expected) = (tensor.dims(), [shape.0, shape.1]);
        return Err(Error::Usage(format!("the network gave {got:?}, promised were {expected:?}")));
    }
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

fn numbers<T: Real>(values: Values) -> Vec<T> {
    fn each<S: Into<f64>, T: Real>(values: Vec<S>) -> Vec<T> {
        values.into_iter().map(|value| T::from_f64(value.into())).collect()
    }
    match values {
        Values::U8(values) => each(values),
        Values::I64(values) => values.into_iter().map(|value| T::from_f64(value as f64)).collect(),
        Values::F32(values) => each(values),
        Values::F64(values) => each(values),
    }
}

/// Takes rows as they come.
struct Collector<'a, T> {
    name: &'a str,
    width: usize,
    /// Rows so far.
    n: usize,
    /// All rows, if they are needed.
    rows: Option<Vec<T>>,
    /// Of the two halves, if they are needed.
    sums: Option<[MomentAccumulator; 2]>,
    split: Vec<bool>,
    logits: Vec<f32>,
    need: Need,
    /// The first row, and the columns in which another one differs from it.
    first: Vec<T>,
    varies: Vec<bool>,
}

impl<'a, T: Real> Collector<'a, T> {
    fn new(name: &'a str, split: Vec<bool>, width: usize, need: Need) -> Self {
        // Capacity by the length of the file, which its reader has checked.
        let rows = need.rows.then(|| Vec::with_capacity(split.len() * width));
        let sums =
            need.moments.then(|| [MomentAccumulator::new(width), MomentAccumulator::new(width)]);
        let (first, varies) = (Vec::new(), vec![false; width]);
        Self { name, width, n: 0, rows, sums, split, logits: Vec::new(), need, first, varies }
    }

    fn push(&mut self, values: Vec<T>) -> Result<()> {
        let width = self.width;
        let value = |at: usize| -> f64 { values[at].into() };
        if let Some(at) = (0..values.len()).find(|&at| !value(at).is_finite()) {
            return Err(Error::Usage(format!(
                "{}: row {}, column {} is {}; scores need finite numbers",
                self.name,
                self.n + at / width,
                at % width,
                value(at)
            )));
        }
        if self.first.is_empty() {
            self.first = values[..width.min(values.len())].to_vec();
        }
        for row in values.chunks(width) {
            for (varies, (&value, &first)) in
                self.varies.iter_mut().zip(row.iter().zip(&self.first))
            {
                let (value, first): (f64, f64) = (value.into(), first.into());
                *varies |= value.to_bits() != first.to_bits();
            }
        }
        let rows = values.len() / width;
        let view = ArrayView2::from_shape((rows, width), &values)
            .map_err(|error| Error::Usage(format!("{}: {error}", self.name)))?;
        if let Some(sums) = &mut self.sums {
            let split = &self.split[self.n..self.n + rows];
            for (half, sums) in [true, false].into_iter().zip(sums) {
                let members: Vec<usize> = (0..rows).filter(|&row| split[row] == half).collect();
                let pushed = sums.push(view.select(Axis(0), &members).view());
                pushed.map_err(|error| Error::Usage(format!("{}: {error}", self.name)))?;
            }
        }
        self.n += rows;
        if let Some(all) = &mut self.rows {
            all.extend(values);
        }
        Ok(())
    }

    fn finish(self) -> Result<Side<T>> {
        let Self { name, width, n, split, .. } = self;
        let fail = |error: &dyn std::fmt::Display| Error::Usage(format!("{name}: {error}"));
        let constant = self.varies.iter().filter(|varies| !**varies).count();
        if constant == width && n > 1 {
            return Err(fail(&format!(
                "all {n} rows are equal in all {width} columns; nothing can be compared with them"
            )));
        }
        let shaped = |values: Vec<T>| Array2::from_shape_vec((n, width), values);
        let rows = self.rows.map(shaped).transpose().map_err(|error| fail(&error))?;
        let (mut moments, mut halves) = (None, None);
        if let Some([first, second]) = self.sums {
            if first.n() > 1 {
                let finish = |sums: &MomentAccumulator| sums.clone().finish();
                let both = finish(&first).and_then(|first| Ok([first, finish(&second)?]));
                halves = Some(both.map_err(|error| fail(&error))?);
            }
            let mut all = first;
            all.merge(&second).map_err(|error| fail(&error))?;
            moments = Some(all.finish().map_err(|error| fail(&error))?);
        }
        let classes = self.logits.len().checked_div(n).unwrap_or(0);
        let logits = self
            .need
            .logits
            .then(|| Array2::from_shape_vec((n, classes), self.logits))
            .transpose()
            .map_err(|error| fail(&error))?;
        Ok(Side { n, width, constant, rows, moments, halves, split, logits, seconds: 0.0 })
    }
}
