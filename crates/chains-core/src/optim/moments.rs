//! What an optimiser remembers of every parameter.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::{
    error::{Error, Result},
    params::ParamStore,
};

/// How an optimiser calls its two tensors.
pub(super) struct Names {
    /// First part of the names, and the field of errors.
    pub(super) optimiser: &'static str,
    /// What follows it, of the first tensor and of the second: `optimiser.m.parameter`.
    pub(super) keys: [&'static str; 2],
    /// What they are.
    pub(super) words: [&'static str; 2],
}

impl Names {
    fn prefix(&self, at: usize) -> String {
        format!("{}.{}.", self.optimiser, self.keys[at])
    }
}

/// Two tensors of the shape of a parameter, by the parameter's name.
#[derive(Default)]
pub(super) struct Moments(BTreeMap<String, [Var; 2]>);

impl Moments {
    /// Those of a parameter; zeros at first.
    pub(super) fn of(&mut self, name: String, var: &Var) -> Result<&[Var; 2]> {
        if !self.0.contains_key(&name) {
            let zero = || Var::zeros(var.shape(), var.dtype(), var.device());
            self.0.insert(name.clone(), [zero()?, zero()?]);
        }
        Ok(&self.0[&name])
    }

    /// All of them, detached.
    pub(super) fn tensors(&self, names: &Names) -> Vec<(String, Tensor)> {
        let prefixes = [0, 1].map(|at| names.prefix(at));
        let all = self.0.iter().flat_map(|(name, pair)| {
            let named = |(prefix, var): (&String, &Var)| {
                (format!("{prefix}{name}"), var.as_detached_tensor())
            };
            prefixes.iter().zip(pair).map(named).collect::<Vec<_>>()
        });
        all.collect()
    }

    /// Takes those that [`Moments::tensors`] gave; other names are not looked at.
    ///
    /// # Errors
    /// [`Error::Config`] for a tensor without its parameter, partner or shape.
    pub(super) fn restore(
        names: &Names,
        tensors: &BTreeMap<String, Tensor>,
        store: &ParamStore,
    ) -> Result<Self> {
        let bad = |reason| Error::Config { field: names.optimiser, reason };
        let prefixes = [0, 1].map(|at| names.prefix(at));
        let lone = |of: usize, other: usize| {
            let mut found = tensors.keys().filter_map(|name| name.strip_prefix(&prefixes[of]));
            found.find(|name| !tensors.contains_key(&format!("{}{name}", prefixes[other])))
        };
        for (of, other) in [(1, 0), (0, 1)] {
            if let Some(name) = lone(of, other) {
                return Err(bad(format!("`{name}` has no {}", names.words[other])));
            }
        }
        let mut moments = BTreeMap::new();
        for (name, first) in tensors {
            let Some(name) = name.strip_prefix(&prefixes[0]) else { continue };
            let Some(second) = tensors.get(&format!("{}{name}", prefixes[1])) else { continue };
            let var = store.get(name).ok_or_else(|| bad(format!("`{name}` is no parameter")))?;
            if first.dims() != var.dims() || second.dims() != var.dims() {
                return Err(bad(format!("moments of `{name}` are not {:?}", var.dims())));
            }
            moments.insert(name.to_owned(), [Var::from_tensor(first)?, Var::from_tensor(second)?]);
        }
        Ok(Self(moments))
    }
}
