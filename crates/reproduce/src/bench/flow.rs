//! W12: a masked autoregressive flow of 8 blocks in 60 dimensions.

use std::hint::black_box;

use candle_core::{DType, Tensor};
use chains_core::{
    ParamStore, Seed,
    autograd::value_and_gradients,
    density::Sample,
    ops,
    optim::{Adam, AdamConfig},
};
use datasets::{Standardiser, load_table};
use variational_annealing::{Maf, MafConfig};

use super::{Bed, Workload};
use crate::error::Result;

const DIM: usize = 60;
const HIDDEN: usize = 512;
const BLOCKS: usize = 8;
/// Multiply-adds of a row in a block, masked matrices counted as dense.
const ROW: usize = DIM * HIDDEN + HIDDEN * HIDDEN + HIDDEN * 2 * DIM;

pub(super) fn workloads() -> Vec<Workload> {
    let gflop = |row: usize| Some(2e-9 * row as f64);
    vec![
        Workload {
            id: "W12a",
            title: "ugan-maf-train: 1 update, batch 128",
            gflop: gflop(128 * (3 * BLOCKS * ROW - DIM * HIDDEN)),
            repeats: 60,
            host: false,
            build: |bed| {
                let mut update = updates(bed)?;
                Ok(Box::new(move || update().map(drop)))
            },
        },
        Workload {
            id: "W12b",
            title: "ugan-maf-sample, 60 passes a block: 1,000 samples",
            gflop: gflop(1000 * DIM * BLOCKS * ROW),
            repeats: 3,
            host: false,
            build: |bed| {
                let (_, flow) = flow(bed)?;
                let v = bed.values("flow", &[1000, DIM])?;
                Ok(Box::new(move || {
                    black_box(by_passes(&flow, &v)?);
                    Ok(())
                }))
            },
        },
        Workload {
            id: "W12c",
            title: "ugan-maf-sample, incremental: 1,000 samples",
            gflop: gflop(1000 * BLOCKS * ROW),
            repeats: 20,
            host: false,
            build: |bed| {
                let (_, flow) = flow(bed)?;
                let mut noise = bed.noise("sample");
                Ok(Box::new(move || {
                    black_box(flow.sample(1000, &mut *noise)?);
                    Ok(())
                }))
            },
        },
    ]
}

fn flow(bed: &Bed) -> Result<(ParamStore, Maf)> {
    let store = ParamStore::new(Seed::new(0), DType::F32, &bed.device);
    let config = MafConfig::new(DIM, BLOCKS, &[HIDDEN, HIDDEN]);
    let flow = Maf::new(&config, store.builder())?;
    Ok((store, flow))
}

/// Updates by maximum likelihood on 128 rows of optdigits, the first 60 columns with a little noise.
pub(super) fn updates(bed: &Bed) -> Result<impl FnMut() -> Result<f64> + use<>> {
    let table = load_table("optdigits", None, &bed.root)?;
    let rows: Vec<usize> = (0..128).collect();
    let table = Standardiser::fit(&table, &rows)?.apply(&table)?;
    let x = table.tensor(&rows)?.narrow(1, 0, DIM)?.contiguous()?.to_device(&bed.device)?;
    let x = (x + (bed.values("blur", &[128, DIM])? * 0.05)?)?;
    let (store, flow) = flow(bed)?;
    let mut adam = Adam::new(AdamConfig { beta1: 0.5, beta2: 0.9, eps: 1e-8 });
    Ok(move || {
        let loss = || Ok(flow.log_prob_given(&x, None)?.mean_all()?.neg()?);
        let (loss, grads) = value_and_gradients(loss)?;
        adam.step(&store, &grads, 1e-3)?;
        Ok(f64::from(loss.to_scalar::<f32>()?))
    })
}

/// Sampling by one pass of a block's whole network for each coordinate.
pub(super) fn by_passes(flow: &Maf, v: &Tensor) -> Result<Tensor> {
    let [low, high] = flow.config().log_scale;
    let reversed: Vec<u32> = (0..DIM as u32).rev().collect();
    let reversed = Tensor::new(reversed, v.device())?;
    let mut v = v.t()?.contiguous()?;
    for block in flow.blocks().iter().rev() {
        let u = v.index_select(&reversed, 0)?;
        let mut x: Vec<Tensor> =
            (0..DIM).map(|i| u.narrow(0, i, 1)?.zeros_like()).collect::<Result<_, _>>()?;
        for i in 0..DIM {
            let mut h = Tensor::cat(&x, 0)?;
            for (l, layer) in block.layers().iter().enumerate() {
                let [weight, bias] = [&layer.weight, &layer.bias].map(Tensor::detach);
                h = ops::prefix_linear(&h, &weight, &bias, &layer.prefixes, l < 2)?;
            }
            let scale = h.narrow(0, 2 * i + 1, 1)?.clamp(low, high)?.exp()?;
            x[i] = (u.narrow(0, i, 1)?.mul(&scale)? + h.narrow(0, 2 * i, 1)?)?;
        }
        v = Tensor::cat(&x, 0)?;
    }
    Ok(v.t()?.contiguous()?)
}
