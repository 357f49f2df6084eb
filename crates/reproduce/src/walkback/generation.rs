//! Many generated chains, block by block.

use candle_core::Tensor;
use chains_core::Seed;
use walkback::{Generated, SampleOptions, Statistics, WalkbackModel, generate_from};

use crate::{error::Result, images::blocks};

/// Chains that run together. With the moments of their batch they see each other; the published code
/// has as many.
pub(super) const BLOCK: usize = 100;

/// Generated chains, `(n, D)` each.
pub(super) struct Ends {
    /// Where they start.
    pub(super) starts: Tensor,
    /// States after the last step.
    pub(super) states: Tensor,
    /// Means of the last step.
    pub(super) means: Tensor,
}

/// `n` chains in blocks of [`BLOCK`], block i with the noise of `seed.indexed(i)`. `visit` sees the
/// number of a block, a step, and the chains of the block after it; step 0 is the start, which is its
/// own mean.
///
/// With the moments of the batch a last block that is shorter runs as a whole one, and what is not
/// wanted is dropped: few chains have poor moments.
///
/// # Errors
/// As [`generate_from`], and of `visit`.
pub(super) fn in_blocks(
    model: &WalkbackModel,
    n: usize,
    options: &SampleOptions,
    seed: Seed,
    mut visit: impl FnMut(usize, usize, &Generated) -> chains_core::Result<()>,
) -> Result<Ends> {
    let whole = options.statistics == Statistics::Batch;
    let (mut starts, mut states, mut means) = (Vec::new(), Vec::new(), Vec::new());
    for (index, block) in blocks(n, BLOCK).enumerate() {
        let wanted = block.len();
        let mut noise = seed.indexed(index as u64).host_noise();
        let together = if whole { BLOCK } else { wanted };
        let start = model.start_of(options.start)?.sample(together, &mut noise)?;
        let first = start.narrow(0, 0, wanted)?;
        visit(index, 0, &Generated { position: first.clone(), mean: first.clone() })?;
        starts.push(first);
        let last = generate_from(model, start, options, &mut noise, |step, generated| {
            visit(index, step + 1, &narrowed(generated, wanted)?)
        })?;
        let last = narrowed(&last, wanted)?;
        states.push(last.position);
        means.push(last.mean);
    }
    let cat = |parts: &[Tensor]| Tensor::cat(parts, 0);
    Ok(Ends { starts: cat(&starts)?, states: cat(&states)?, means: cat(&means)? })
}

/// The first `n` chains.
fn narrowed(generated: &Generated, n: usize) -> candle_core::Result<Generated> {
    let (position, mean) = (generated.position.narrow(0, 0, n)?, generated.mean.narrow(0, 0, n)?);
    Ok(Generated { position, mean })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use walkback::{ModelConfig, NetworkConfig};

    use super::*;
    use crate::arrays::rows;

    #[test]
    fn the_last_block_is_as_if_it_were_whole() {
        // Layers with the moments of the batch, and an operator with a density beside it.
        let network = NetworkConfig::normalised_mlp([1, 2, 2], vec![8], 3);
        let sampling = ModelConfig { network: network.clone(), ..ModelConfig::mnist() };
        let bounding = ModelConfig::gaussian(network, [0.1, 1e-4], 2.0);
        for (config, whole) in [(sampling, true), (bounding, false)] {
            let model = WalkbackModel::new(config, Seed::new(1), &Device::Cpu).unwrap();
            let options = SampleOptions::of(&model);
            assert_eq!(options.statistics == Statistics::Batch, whole);
            let mut seen = Vec::new();
            let mut of = |n: usize| {
                in_blocks(&model, n, &options, Seed::new(2), |block, step, found| {
                    seen.push((block, step, found.position.dim(0)?));
                    Ok(())
                })
                .unwrap()
            };
            let (all, some) = (of(200), of(103));
            let steps = 1 + options.steps + options.extra;
            assert_eq!(seen.len(), 4 * steps);
            assert_eq!((seen[0], seen[4 * steps - 1]), ((0, 0, 100), (1, steps - 1, 3)));
            for (all, some) in [
                (&all.starts, &some.starts),
                (&all.states, &some.states),
                (&all.means, &some.means),
            ] {
                let same = |start: usize, n: usize| {
                    let [all, some] =
                        [all, some].map(|x| rows(&x.narrow(0, start, n).unwrap()).unwrap());
                    all == some
                };
                assert!(same(0, 100));
                assert!(!whole || same(100, 3));
            }
        }
    }
}
