//! Kernels of 4 x 4 taps at stride 2 with fewer products, by minimal filtering.
//!
//! Split by phases, see [`super::patches`], such a convolution is one with 2 x 2 taps at stride 1 and
//! four times the channels. Two results of two taps along an axis need three products instead of four:
//! `y0 = d0 g0 + d1 g1` and `y1 = d1 g0 + d2 g1` are `m0 + m1` and `m1 + m2` with `m0 = (d0 - d1) g0`,
//! `m1 = d1 (g0 + g1)`, `m2 = (d2 - d1) g1`, so 2 x 2 results of 2 x 2 taps need 9 instead of 16
//! (Winograd, Arithmetic Complexity of Computations, 1980; Lavin and Gray, 2016, arXiv:1509.09308). No
//! factor is other than 0, 1 or -1. The gradients are the same scheme transposed.
//!
//! For each of the nine products the sums over channels, or over tiles, are a product of matrices. Blocks
//! of tiles are widened, multiplied and folded before they leave the cache. Tasks and all orders of
//! summation depend on the shape alone.

mod filter;
mod gradient;
mod scheme;
mod side;
mod taps;

use std::cell::RefCell;

pub(super) use self::filter::Finish;
use self::side::Side;
use super::geometry::Geometry;

/// Values of the widest vectors.
const LANES: usize = 16;
/// Products for a tile.
const PRODUCTS: usize = 9;
/// Phases of the images.
const PHASES: usize = 4;
/// Tiles of a block, whole images where these are smaller.
const TILES: usize = 64;
/// Fewest tiles, and most of an image.
const BOUNDS: [usize; 2] = [64, 256];
/// Fewest channels of images and maps.
const CHANNELS: [usize; 2] = [24, 24];
/// Most tasks, enough to keep a few threads busy, and the sums of products that are worth one.
const TASKS: usize = 8;
const TASK: usize = 1 << 26;

/// A convolution that is computed this way.
pub(super) struct Minimal {
    batch: usize,
    image: Side,
    map: Side,
    /// Tiles of an image.
    tiles: usize,
}

/// Tiles down and across a map.
fn tiles(g: &Geometry) -> [usize; 2] {
    [g.map[1].div_ceil(2), g.map[2].div_ceil(2)]
}

impl Minimal {
    /// None for other kernels, and where the transforms cost more than the products that they save.
    pub(super) fn new(g: &Geometry) -> Option<Self> {
        let tiles: usize = tiles(g).iter().product();
        let channels = [g.image[0], g.map[0]];
        let idle = channels.iter().any(|n| 4 * n < 3 * n.next_multiple_of(LANES));
        let pays = g.kernel == [4, 4]
            && g.stride == 2
            && channels[0] >= CHANNELS[0]
            && channels[1] >= CHANNELS[1]
            && !idle
            && g.batch * tiles >= BOUNDS[0]
            && tiles <= BOUNDS[1]
            // Beyond that a transposition would be cut into tasks.
            && g.image[1] * g.image[2] <= 4096
            // A quarter of the products at least.
            && PRODUCTS * tiles <= 3 * g.positions();
        let sides = || (Side::image(g), Side::map(g));
        pays.then(sides).map(|(image, map)| Self { batch: g.batch, image, map, tiles })
    }

    /// Tasks to cut the work into, at least about.
    fn tasks(&self) -> usize {
        let [c, o] = [self.image.channels, self.map.channels];
        (self.batch * self.tiles * PRODUCTS * PHASES * c * o / TASK).clamp(1, TASKS)
    }

    /// Images of a block of tiles.
    fn images(&self) -> usize {
        (TILES / self.tiles).max(1)
    }
}

/// Buffers of a thread, see [`super::tasks::Scratch`].
#[derive(Default)]
struct Scratch {
    pixels: Vec<f32>,
    turned: Vec<f32>,
    from: Vec<f32>,
    to: Vec<f32>,
    taps: Vec<f32>,
    lines: [Vec<f32>; 2],
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    /// Lends the buffers of this thread; `f` must not wait for other tasks.
    fn with(f: impl FnOnce(&mut Self)) {
        SCRATCH.with_borrow_mut(f);
    }
}
