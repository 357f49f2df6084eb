//! Gradients without candle's accumulation.
//!
//! candle's backward pass adds every gradient to zeros that it writes first: three passes over memory
//! for each tensor of the graph. Inside [`value_and_gradients`] the fused operations of [`crate::ops`]
//! note themselves on a tape; their gradients are handed on as they are and added only where a tensor
//! was used twice. Between them candle's graph remains, so every tensor expression is
//! differentiated, with results equal to rounding.

#[cfg(feature = "cuda")]
mod device;
mod joined;
mod several;
mod stack;
mod weighted;

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Shape, Storage, Tensor, TensorId,
    Var, backprop::GradStore,
};

#[cfg(feature = "cuda")]
pub(crate) use self::device::{DeviceOp, apply_on_device};
pub(crate) use self::joined::{FusedOp, apply_all};
use self::several::Reach;
pub use self::several::values_and_gradients;
pub(crate) use self::stack::stack;
use self::weighted::graph_gradients;
use crate::{error::Result, ops};

/// The value of `f` and the gradients of its sum in the variables that it depends on, all detached.
///
/// Results of fused operations are variables while `f` runs, where candle's graph ends.
/// So no tensor may leave `f` but detached, `Tensor::backward` inside of `f` sees a part of the graph
/// only, and to differentiate at a point inside of another differentiation make it a variable of its
/// own, `Var::from_tensor(&x.detach())`. What `f` computes from variables is kept until it returns;
/// tasks that differentiate at the same time need a thread pool each, as a thread that waits in a
/// fused operation may take up another task of its pool.
///
/// # Errors
/// Those of `f`, and of the tensor library.
pub fn value_and_gradients(f: impl FnOnce() -> Result<Tensor>) -> Result<(Tensor, GradStore)> {
    let (value, tape) = Tape::record(f)?;
    let grads = value.backward()?;
    Ok((value.detach(), tape.back(grads)?))
}

/// As [`value_and_gradients`], of the sum of `weights * f` with constant weights.
///
/// # Shapes
/// `weights`: that of the value.
///
/// # Errors
/// As there, and if the shapes differ.
pub fn value_and_weighted_gradients(
    f: impl FnOnce() -> Result<Tensor>,
    weights: &Tensor,
) -> Result<(Tensor, GradStore)> {
    let (value, tape) = Tape::record(f)?;
    let weights = weights.detach();
    let grads = if value.is_variable() && value.shape() == weights.shape() {
        let mut grads = empty()?;
        grads.insert(&value, weights);
        grads
    } else {
        graph_gradients(&value, &weights)?
    };
    Ok((value.detach(), tape.back(grads)?))
}

/// Adds the gradients of `from` to those of `sum`, for a loss that is differentiated in parts.
///
/// # Errors
/// If two gradients of one variable differ in shape.
pub fn add_gradients(sum: &mut GradStore, from: &GradStore) -> Result<()> {
    for id in from.get_ids().copied() {
        let Some(grad) = from.get_id(id) else { continue };
        let total = match sum.get_id(id) {
            Some(before) => ops::sum_of_two(before, grad)?,
            None => grad.clone(),
        };
        sum.insert_id(id, total);
    }
    Ok(())
}

/// Notes that `y` shows the elements of `x` in another shape.
pub(crate) fn note_view(y: &Tensor, x: &Tensor) {
    if recording(&[x]) && y.id() != x.id() {
        with_tape(|tape| {
            tape.used(x);
            tape.views.insert(y.id(), x.clone());
        });
    }
}

/// Applies a fused operation, which is noted if there is a tape.
pub(crate) fn apply1(
    op: impl CustomOp1 + Send + Sync + 'static,
    x: &Tensor,
) -> candle_core::Result<Tensor> {
    if !recording(&[x]) {
        return x.apply_op1(op);
    }
    let result = {
        let (storage, layout) = x.storage_and_layout();
        op.cpu_fwd(host(&storage)?, layout)?
    };
    note(result, vec![x.clone()], move |args, y, grad| Ok(vec![op.bwd(&args[0], y, grad)?]))
}

/// As [`apply1`], of two operands.
pub(crate) fn apply2(
    op: impl CustomOp2 + Send + Sync + 'static,
    [a, b]: [&Tensor; 2],
) -> candle_core::Result<Tensor> {
    if !recording(&[a, b]) {
        return a.apply_op2(b, op);
    }
    let result = {
        let [(sa, la), (sb, lb)] = [a, b].map(Tensor::storage_and_layout);
        op.cpu_fwd(host(&sa)?, la, host(&sb)?, lb)?
    };
    note(result, vec![a.clone(), b.clone()], move |args, y, grad| {
        let (a, b) = op.bwd(&args[0], &args[1], y, grad)?;
        Ok(vec![a, b])
    })
}

/// As [`apply1`], of three operands.
pub(crate) fn apply3(
    op: impl CustomOp3 + Send + Sync + 'static,
    [a, b, c]: [&Tensor; 3],
) -> candle_core::Result<Tensor> {
    if !recording(&[a, b, c]) {
        return a.apply_op3(b, c, op);
    }
    let result = {
        let [(sa, la), (sb, lb), (sc, lc)] = [a, b, c].map(Tensor::storage_and_layout);
        op.cpu_fwd(host(&sa)?, la, host(&sb)?, lb, host(&sc)?, lc)?
    };
    note(result, vec![a.clone(), b.clone(), c.clone()], move |args, y, grad| {
        let (a, b, c) = op.bwd(&args[0], &args[1], &args[2], y, grad)?;
        Ok(vec![a, b, c])
    })
}

/// A gradient for each operand that tracks one.
pub(crate) type Gradients = candle_core::Result<Vec<Option<Tensor>>>;
/// Gradients of operands from operands, value and gradient of the value.
type Backward = Box<dyn Fn(&[Tensor], &Tensor, &Tensor) -> Gradients>;

struct Record {
    operands: Vec<Tensor>,
    /// A variable in candle's eyes, where its graph ends.
    value: Tensor,
    backward: Backward,
}

/// The operations of one scope in their order.
#[derive(Default)]
struct Tape {
    records: Vec<Record>,
    /// The tensor that each view shows in another shape.
    views: HashMap<TensorId, Tensor>,
    /// For tensors that operations and views have used the number of records before the first use:
    /// only values of those records can be part of such a tensor's graph.
    first_uses: HashMap<TensorId, usize>,
}

thread_local! {
    /// The innermost scope is the last.
    static TAPES: RefCell<Vec<Tape>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with the tape of the innermost scope.
fn with_tape<R>(f: impl FnOnce(&mut Tape) -> R) -> Option<R> {
    TAPES.with_borrow_mut(|tapes| tapes.last_mut().map(f))
}

/// Is there a tape, and anything to differentiate?
fn recording(operands: &[&Tensor]) -> bool {
    TAPES.with_borrow(|tapes| !tapes.is_empty()) && operands.iter().any(|x| x.track_op())
}

fn note(
    (values, shape): (CpuStorage, Shape),
    operands: Vec<Tensor>,
    backward: impl Fn(&[Tensor], &Tensor, &Tensor) -> Gradients + 'static,
) -> candle_core::Result<Tensor> {
    let CpuStorage::F32(values) = values else {
        candle_core::bail!("fused op: the result is not f32");
    };
    let value = Var::from_vec(values, shape, &Device::Cpu)?.into_inner();
    Ok(note_variable(value, operands, backward))
}

/// Notes an operation whose value is a variable.
fn note_variable(
    value: Tensor,
    operands: Vec<Tensor>,
    backward: impl Fn(&[Tensor], &Tensor, &Tensor) -> Gradients + 'static,
) -> Tensor {
    let record = Record { operands, value: value.clone(), backward: Box::new(backward) };
    with_tape(|tape| {
        record.operands.iter().for_each(|operand| tape.used(operand));
        tape.records.push(record);
    });
    value
}

fn host(storage: &Storage) -> candle_core::Result<&CpuStorage> {
    match storage {
        Storage::Cpu(storage) => Ok(storage),
        _ => candle_core::bail!("fused op: operand is not on the host"),
    }
}

/// Removes the tapes of its scope and of those inside it, also after a panic.
struct Scope {
    depth: usize,
}

impl Scope {
    fn begin() -> Self {
        TAPES.with_borrow_mut(|tapes| {
            tapes.push(Tape::default());
            Self { depth: tapes.len() - 1 }
        })
    }

    fn end(self) -> Tape {
        TAPES.with_borrow_mut(Vec::pop).unwrap_or_default()
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        TAPES.with_borrow_mut(|tapes| tapes.truncate(self.depth));
    }
}

impl Tape {
    fn record<T>(f: impl FnOnce() -> Result<T>) -> Result<(T, Self)> {
        let scope = Scope::begin();
        let value = f()?;
        Ok((value, scope.end()))
    }

    fn used(&mut self, x: &Tensor) {
        self.first_uses.entry(x.id()).or_insert(self.records.len());
    }

    /// Carries the gradients of the last values back to the first.
    fn back(self, grads: GradStore) -> Result<GradStore> {
        let Self { records, views, first_uses } = self;
        let mut back = Back {
            grads,
            views: &views,
            first_uses: &first_uses,
            reach: None,
            waiting: BTreeMap::new(),
        };
        for (index, record) in records.into_iter().enumerate().rev() {
            back.through(index, &record)?;
        }
        back.end()
    }

    /// As [`Tape::back`] to the variables that are within reach only; the tape stays.
    fn back_to(&self, reach: &Reach, grads: GradStore) -> Result<GradStore> {
        let Self { records, views, first_uses } = self;
        let mut back =
            Back { grads, views, first_uses, reach: Some(reach), waiting: BTreeMap::new() };
        for (index, record) in records.iter().enumerate().rev() {
            back.through(index, record)?;
        }
        back.end()
    }
}

/// A backward pass along a tape.
struct Back<'a> {
    grads: GradStore,
    views: &'a HashMap<TensorId, Tensor>,
    first_uses: &'a HashMap<TensorId, usize>,
    /// What leads to a wanted variable; none where all are wanted.
    reach: Option<&'a Reach>,
    /// Tensors of candle's graph with their gradients, by first use and then by age, until all their
    /// uses are behind: their graph is walked once.
    waiting: BTreeMap<usize, Vec<(Tensor, Tensor)>>,
}

impl Back<'_> {
    /// The gradients of one operation's operands.
    fn through(&mut self, index: usize, record: &Record) -> Result<()> {
        self.flush(index + 1)?;
        let Record { operands, value, backward } = record;
        let Some(grad) = self.grads.remove(value) else { return Ok(()) };
        let leads = |x: &Tensor| self.reach.is_none_or(|reach| reach.leads(self.views, x));
        if !leads(value) {
            return Ok(());
        }
        // Of an operand that does not track one no gradient is computed.
        let kept: Vec<_> =
            operands.iter().map(|x| if leads(x) { x.clone() } else { x.detach() }).collect();
        for (operand, grad) in operands.iter().zip(backward(&kept, value, &grad)?) {
            if let Some(grad) = grad {
                self.flow(operand, grad)?;
            }
        }
        Ok(())
    }

    fn end(mut self) -> Result<GradStore> {
        self.flush(0)?;
        let mut grads = self.grads;
        let ids: Vec<_> = grads.get_ids().copied().collect();
        for id in ids {
            // candle computes some gradients with tensors that have a graph.
            if let Some(grad) = grads.get_id(id).map(Tensor::detach) {
                grads.insert_id(id, grad);
            }
        }
        Ok(grads)
    }

    /// Adds to the gradient of an operand.
    fn flow(&mut self, x: &Tensor, grad: Tensor) -> Result<()> {
        if x.is_variable() {
            let sum = match self.grads.get(x) {
                Some(before) => ops::sum_of_two(before, &grad)?,
                None => grad,
            };
            self.grads.insert(x, sum);
            return Ok(());
        }
        if let Some(source) = self.views.get(&x.id()).cloned() {
            return self.flow(&source, grad.reshape(source.shape())?);
        }
        let first = self.first_uses.get(&x.id()).copied().unwrap_or(0);
        let waiting = self.waiting.entry(first).or_default();
        match waiting.iter_mut().find(|(other, _)| other.id() == x.id()) {
            Some((_, sum)) => *sum = ops::sum_of_two(sum, &grad)?,
            None => waiting.push((x.clone(), grad)),
        }
        Ok(())
    }

    /// Walks the graphs of waiting tensors whose first use was at `from` or later.
    fn flush(&mut self, from: usize) -> Result<()> {
        for (x, grad) in self.waiting.split_off(&from).into_values().flatten() {
            self.grads.extend(graph_gradients(&x, &grad)?)?;
        }
        Ok(())
    }
}

/// A store without gradients, which candle makes only in a backward pass.
fn empty() -> candle_core::Result<GradStore> {
    let none = Tensor::zeros((), DType::F32, &Device::Cpu)?;
    let mut grads = none.backward()?;
    grads.remove(&none);
    Ok(grads)
}

#[cfg(test)]
mod tests;
