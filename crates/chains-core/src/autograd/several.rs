//! Several losses of one pass, each differentiated in variables of its own.

use std::collections::{HashMap, HashSet};

use candle_core::{Tensor, TensorId, Var, backprop::GradStore};

use super::{Record, Tape, empty};
use crate::error::{Error, Result};

/// The values of `f` and of each the gradients in the variables that are wanted of it, all detached.
///
/// For players whose losses share passes: what `f` computes is computed once, and each way back computes
/// what leads to its own variables only. A generator's loss passes the critic without a gradient of the
/// critic's weights, and the critic's loss ends at the generated images. What
/// [`value_and_gradients`](super::value_and_gradients) says of tensors inside of `f` holds here.
///
/// # Errors
/// Those of `f`; [`Error::Shape`] if there are not as many lists of variables as values.
pub fn values_and_gradients(
    f: impl FnOnce() -> Result<Vec<Tensor>>,
    wanted: &[&[Var]],
) -> Result<Vec<(Tensor, GradStore)>> {
    let (values, tape) = Tape::record(f)?;
    if values.len() != wanted.len() {
        let expected = format!("variables of {} values", values.len());
        return Err(Error::Shape { what: "wanted variables", expected, got: vec![wanted.len()] });
    }
    let mut all = Vec::with_capacity(values.len());
    for (value, wanted) in values.iter().zip(wanted) {
        let reach = Reach::new(&tape.records, &tape.views, wanted);
        let found = tape.back_to(&reach, value.backward()?)?;
        let mut grads = empty()?;
        for var in *wanted {
            if let Some(grad) = found.get(var) {
                grads.insert(var, grad.clone());
            }
        }
        all.push((value.detach(), grads));
    }
    Ok(all)
}

/// The tensors of a tape from which a way leads to a wanted variable.
pub(super) struct Reach {
    wanted: HashSet<TensorId>,
    values: HashSet<TensorId>,
}

impl Reach {
    fn new(records: &[Record], views: &HashMap<TensorId, Tensor>, wanted: &[Var]) -> Self {
        let wanted = wanted.iter().map(|var| var.as_tensor().id()).collect();
        let mut reach = Self { wanted, values: HashSet::new() };
        for record in records {
            if record.operands.iter().any(|x| reach.leads(views, x)) {
                reach.values.insert(record.value.id());
            }
        }
        reach
    }

    /// Of a tensor of candle's graph, whose operands are not known, it is assumed.
    pub(super) fn leads(&self, views: &HashMap<TensorId, Tensor>, x: &Tensor) -> bool {
        if !x.track_op() {
            return false;
        }
        match views.get(&x.id()) {
            Some(source) => self.leads(views, source),
            None if x.is_variable() => {
                self.wanted.contains(&x.id()) || self.values.contains(&x.id())
            }
            None => true,
        }
    }
}
