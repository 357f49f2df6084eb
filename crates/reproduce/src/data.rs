//! Data sets that experiments of several papers read.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use datasets::{Mnist, find_mnist};

use crate::{
    error::{Error, Result},
    request::Request,
};

/// The files last read: the experiments of a command ask for the same ones.
static MNIST: Mutex<Option<(PathBuf, Arc<Mnist>)>> = Mutex::new(None);

/// MNIST from `--data` or the repository, read once.
///
/// # Errors
/// [`Error::Missing`] that names the places searched and the files to put there; [`Error::Data`] with
/// file and byte for a malformed one.
pub fn mnist(request: &Request) -> Result<Arc<Mnist>> {
    let dir = find_mnist(request.data.as_deref(), &request.root).map_err(usage)?;
    let mut last = MNIST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, files)) = last.as_ref().filter(|(place, _)| *place == dir) {
        return Ok(Arc::clone(files));
    }
    let files = Arc::new(Mnist::load(&dir)?);
    *last = Some((dir, Arc::clone(&files)));
    Ok(files)
}

/// A data set's error as bad input; one that is nowhere is [`Error::Missing`].
pub(crate) fn usage(error: datasets::Error) -> Error {
    match error {
        datasets::Error::Missing { .. } => Error::Missing(error.to_string()),
        _ => Error::Usage(error.to_string()),
    }
}
