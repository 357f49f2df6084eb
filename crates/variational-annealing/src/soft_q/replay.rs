//! The pool of transitions.

use candle_core::{DType, Device, Tensor};
use chains_core::{Error, Noise, Result};

use super::{ACTIONS, OBSERVED};

/// Numbers of a transition: state, action, reward, the state after, and whether an episode ended there.
const ROW: usize = 2 * OBSERVED + ACTIONS + 2;

/// What happened in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// What was seen.
    pub state: [f64; OBSERVED],
    /// What was done.
    pub action: [f64; ACTIONS],
    /// What it gave.
    pub reward: f64,
    /// What was seen then.
    pub next_state: [f64; OBSERVED],
    /// Has the task ended there? Running out of time is no end: the value goes on.
    pub done: bool,
}

/// Transitions drawn for an update, f32.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `(b, 13)`.
    pub states: Tensor,
    /// `(b, 2)`.
    pub actions: Tensor,
    /// `(b,)`.
    pub rewards: Tensor,
    /// `(b, 13)`.
    pub next_states: Tensor,
    /// 1 where the task ended, `(b,)`.
    pub done: Tensor,
}

/// The newest transitions, as many as fit; 1e6 in the paper.
#[derive(Clone, Debug, PartialEq)]
pub struct Transitions {
    capacity: usize,
    /// Row after row, as many as there are.
    rows: Vec<f32>,
    /// Where the next one goes.
    next: usize,
}

impl Transitions {
    /// An empty pool. Memory is taken as it fills.
    ///
    /// # Errors
    /// [`Error::Config`] for no room.
    pub fn new(capacity: usize) -> Result<Self> {
        if capacity == 0 || u32::try_from(capacity).is_err() {
            let reason = format!("{capacity} is not from 1 to {}", u32::MAX);
            return Err(Error::Config { field: "capacity", reason });
        }
        Ok(Self { capacity, rows: Vec::new(), next: 0 })
    }

    /// Transitions in it.
    pub fn len(&self) -> usize {
        self.rows.len() / ROW
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds one, in the place of the oldest if the pool is full.
    pub fn push(&mut self, transition: &Transition) {
        let Transition { state, action, reward, next_state, done } = transition;
        let last = [*reward, f64::from(u8::from(*done))];
        let row = state.iter().chain(action).chain(next_state).chain(&last);
        let row = row.map(|value| *value as f32);
        if self.len() < self.capacity {
            self.rows.extend(row);
        } else {
            let slots = &mut self.rows[ROW * self.next..ROW * (self.next + 1)];
            slots.iter_mut().zip(row).for_each(|(slot, value)| *slot = value);
        }
        self.next = (self.next + 1) % self.capacity;
    }

    /// `b` transitions, uniformly with replacement.
    ///
    /// # Errors
    /// [`Error::Config`] if the pool is empty; of the device.
    pub fn sample(&self, b: usize, noise: &mut dyn Noise, device: &Device) -> Result<Batch> {
        if self.is_empty() {
            let reason = "the pool holds no transition".into();
            return Err(Error::Config { field: "batch_size", reason });
        }
        let n = self.len();
        let drawn: Vec<f64> = noise.uniform(&b.into(), DType::F64, &Device::Cpu)?.to_vec1()?;
        let mut rows = Vec::with_capacity(b * ROW);
        for u in drawn {
            let at = ((u * n as f64) as usize).min(n - 1);
            rows.extend_from_slice(&self.rows[ROW * at..ROW * (at + 1)]);
        }
        let part = |start: usize, len: usize| -> Result<Tensor> {
            let each = rows.chunks_exact(ROW).flat_map(|row| &row[start..start + len]);
            Ok(Tensor::from_vec(each.copied().collect::<Vec<f32>>(), (b, len), device)?)
        };
        Ok(Batch {
            states: part(0, OBSERVED)?,
            actions: part(OBSERVED, ACTIONS)?,
            next_states: part(OBSERVED + ACTIONS, OBSERVED)?,
            rewards: part(ROW - 2, 1)?.squeeze(1)?,
            done: part(ROW - 1, 1)?.squeeze(1)?,
        })
    }

    /// Everything in it, `(n, 30)`, for a saved state; with [`Transitions::cursor`] the whole of it.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn tensor(&self) -> Result<Tensor> {
        Ok(Tensor::from_slice(&self.rows, (self.len(), ROW), &Device::Cpu)?)
    }

    /// Where the next transition goes.
    pub fn cursor(&self) -> usize {
        self.next
    }

    /// The pool that [`Transitions::tensor`] and [`Transitions::cursor`] were taken of.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Config`] for something else.
    pub fn restore(capacity: usize, rows: &Tensor, cursor: usize) -> Result<Self> {
        let mut pool = Self::new(capacity)?;
        let (n, width) = rows.dims2()?;
        if width != ROW || n > capacity {
            let expected = format!("(up to {capacity}, {ROW})");
            let got = rows.dims().to_vec();
            return Err(Error::Shape { what: "transitions", expected, got });
        }
        if cursor >= capacity || (n < capacity && cursor != n) {
            let reason = format!("{cursor} is not where {n} of {capacity} transitions end");
            return Err(Error::Config { field: "cursor", reason });
        }
        pool.rows = rows.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        pool.next = cursor;
        Ok(pool)
    }
}
