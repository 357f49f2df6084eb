//! Many small trainings that do not depend on each other, one on each core.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
};

use chains_core::train::Event;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    name,
    place::{DONE_FILE, place},
};
use crate::{
    error::{Error, Result},
    results::{read_json, write_json},
    run::Run,
};

/// What a cell does on its thread.
type Work<'a, R> = Box<dyn Fn(&Ticker) -> Result<R> + Send + Sync + 'a>;

/// One training and its evaluation.
pub(crate) struct Cell<'a, R> {
    /// JSON of everything that determines the result besides seed, device and build.
    pub(crate) key: String,
    /// Updates that it makes, for the progress of all.
    pub(crate) updates: usize,
    /// Does it, on one thread.
    pub(crate) work: Work<'a, R>,
}

/// How a cell tells of its progress, and where it may keep what it needs to go on.
pub(crate) struct Ticker {
    dir: PathBuf,
    sender: Sender<Tick>,
    cell: usize,
    told: AtomicUsize,
}

struct Tick {
    cell: usize,
    more: usize,
    values: Vec<(&'static str, f64)>,
}

impl Ticker {
    /// The folder of the cell, which need not exist yet. With `--resume` it is as an earlier command left
    /// it, else empty.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// `update` updates are done.
    pub(crate) fn at(&self, update: usize, values: &[(&'static str, f64)]) {
        let more = update.saturating_sub(self.told.swap(update, Ordering::Relaxed));
        // Nobody listens any more if another cell has failed.
        self.sender.send(Tick { cell: self.cell, more, values: values.to_vec() }).ok();
    }
}

/// Runs the cells, as many at a time as there are threads (one on an accelerator), those of
/// the processor each on a single thread, and gives their results in order. What an earlier command finished is taken from the disk
/// with `--resume`; `stage` names the loop in `metrics.jsonl`.
///
/// # Errors
/// The first error of a cell; results of finished ones stay on the disk.
pub(crate) fn cells<R>(run: &mut Run<'_>, stage: &str, cells: Vec<Cell<'_, R>>) -> Result<Vec<R>>
where
    R: Serialize + DeserializeOwned + Send,
{
    let mut dirs = Vec::with_capacity(cells.len());
    for cell in &cells {
        let name = name(run.request, std::slice::from_ref(&cell.key))?;
        let dir = place(run, &name)?;
        run.request.trained.borrow_mut().insert(name, dir.clone());
        dirs.push(dir);
    }
    // Small networks gain nothing from a second thread; the other core has the next cell. On an
    // accelerator one cell has all threads, for what it does on the host.
    let (workers, threads) = match run.request.device.is_cpu() {
        true => (rayon::current_num_threads().min(cells.len()).max(1), 1),
        false => (1, 0),
    };
    let total: usize = cells.iter().map(|cell| cell.updates).sum();
    let observer = run.observer()?;
    observer.observe(&Event::Started { stage, step: 0, total: Some(total) })?;
    let shared = Shared {
        cells: &cells,
        dirs: &dirs,
        threads,
        next: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        results: Mutex::new(cells.iter().map(|_| None).collect()),
        error: Mutex::new(None),
    };
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, shared) = (sender.clone(), &shared);
            scope.spawn(move || shared.work(&sender));
        }
        drop(sender);
        follow(&receiver, observer, &shared.failed)
    })?;
    observer.observe(&Event::Finished { step: total })?;
    if let Some(error) = shared.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let results = shared.results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let missing = || Error::Usage("a training ended without a result".into());
    results.into_iter().map(|result| result.ok_or_else(missing)).collect()
}

/// Passes ticks on until all workers are gone.
fn follow(
    receiver: &Receiver<Tick>,
    observer: &mut dyn chains_core::train::Observer,
    failed: &AtomicBool,
) -> Result<()> {
    let (mut step, mut outcome) = (0, Ok(()));
    for Tick { cell, more, values } in receiver {
        step += more;
        let mut all = vec![("cell", cell as f64)];
        all.extend(values);
        if outcome.is_ok() {
            outcome = observer.observe(&Event::Scalars { step, values: &all });
            failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
        }
    }
    Ok(outcome?)
}

struct Shared<'a, 'b, R> {
    cells: &'a [Cell<'b, R>],
    dirs: &'a [PathBuf],
    /// Threads of a cell; 0 for as many as there are.
    threads: usize,
    next: AtomicUsize,
    failed: AtomicBool,
    results: Mutex<Vec<Option<R>>>,
    error: Mutex<Option<Error>>,
}

impl<R: Serialize + DeserializeOwned + Send> Shared<'_, '_, R> {
    fn work(&self, sender: &Sender<Tick>) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(cell) = self.cells.get(index) else { return };
            if self.failed.load(Ordering::Relaxed) {
                return;
            }
            let told = AtomicUsize::new(0);
            let dir = self.dirs[index].clone();
            let ticker = Ticker { dir, sender: sender.clone(), cell: index, told };
            let outcome = self.one(cell, &self.dirs[index], &ticker);
            ticker.at(cell.updates, &[]);
            match outcome {
                Ok(result) => {
                    let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
                    results[index] = Some(result);
                }
                Err(error) => {
                    self.failed.store(true, Ordering::Relaxed);
                    let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(error);
                    return;
                }
            }
        }
    }

    fn one(&self, cell: &Cell<'_, R>, dir: &Path, ticker: &Ticker) -> Result<R> {
        let done = dir.join(DONE_FILE);
        if done.is_file() {
            return read_json(&done);
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads)
            .build()
            .map_err(|error| Error::Usage(format!("threads: {error}")))?;
        let result = pool.install(|| (cell.work)(ticker))?;
        fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
        write_json(&done, &result)?;
        Ok(result)
    }
}
