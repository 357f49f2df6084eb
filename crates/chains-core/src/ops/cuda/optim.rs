//! Steps of optimisers, many tensors at once.

use candle_core::{Tensor, Var};

use crate::{
    cuda::{Arg, Grid, TENSORS, Tensors, device, launch},
    error::Result,
    ops::{AdamStep, AdamaxStep},
};

/// A parameter, its gradient and both moments.
type Quadruple<'a> = (&'a Var, &'a Tensor, [&'a Var; 2]);

/// Launches a kernel on chunks of tensors; `numbers` and `flags` are its constants.
fn step(name: &'static str, all: &[Quadruple<'_>], numbers: &[f64], flags: &[bool]) -> Result<()> {
    let grads = all.iter().map(|(_, grad, _)| grad.contiguous());
    let grads = grads.collect::<candle_core::Result<Vec<_>>>()?;
    let tensors: Vec<[&Tensor; 4]> = all
        .iter()
        .zip(&grads)
        .map(|((var, _, [first, second]), grad)| {
            [var.as_tensor(), grad, first.as_tensor(), second.as_tensor()]
        })
        .collect();
    for chunk in tensors.chunks(TENSORS) {
        let (table, blocks) = Tensors::new(chunk)?;
        let mut args = vec![Arg::Tensors(Box::new(table))];
        args.extend(numbers.iter().map(|number| Arg::Number(*number as f32)));
        args.extend(flags.iter().map(|flag| Arg::from(*flag)));
        args.push(chunk.len().into());
        launch(device(chunk[0][0])?, name, Grid::Blocks(blocks), &args)?;
    }
    Ok(())
}

pub(in crate::ops) fn adam(all: &[Quadruple<'_>], by: AdamStep) -> Result<()> {
    let AdamStep { beta1, beta2, step_size, correction, eps, nan_as_zero } = by;
    let numbers = [beta1, 1.0 - beta1, beta2, 1.0 - beta2, step_size, correction, eps];
    step("adam", all, &numbers, &[nan_as_zero])
}

pub(in crate::ops) fn adamax(all: &[Quadruple<'_>], by: AdamaxStep) -> Result<()> {
    let AdamaxStep { beta1, beta2, step_size, eps, weight_decay } = by;
    let numbers = [beta1, 1.0 - beta1, beta2, step_size, eps, weight_decay];
    step("adamax", all, &numbers, &[])
}
