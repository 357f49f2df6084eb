//! Data for learned Markov chains and energy-based generative models: readers, toys, batches.
//!
//! * Images as bytes: [`Mnist`] and other IDX files, [`Cifar10`], [`Cifar100`], folders of images,
//!   [`StackedMnist`]. [`ImageSet`] turns them into dequantised, scaled or logit tensors, resizes them,
//!   and makes sets of outliers of them; [`Augmentation`] shifts and mirrors batches.
//! * [`arrays`]: `.npy`, `.npz` and safetensors files, row by row; stored statistics of features.
//! * Tables: any CSV or KEEL file, the [`TABLES`] of the repository, the larger [`UCI_TABLES`];
//!   [`tabular_split`], [`Standardiser`].
//! * [`toys`]: densities in the plane, exact where they can be.
//! * [`Shuffle`]: seeded batches that resume anywhere; splits by seed, by class or by position;
//!   [`legacy`], the random numbers of papers that used numpy's.
//!
//! The crate knows no model. Readers check magic numbers, sizes and digests, name the file and the
//! byte in an error, and never panic on foreign bytes.
//!
//! # Example
//! ```
//! use chains_core::Seed;
//! use datasets::{ImageSet, Shuffle};
//!
//! let set = ImageSet::new("tiny", vec![0; 10 * 4], vec![], [1, 2, 2])?;
//! let seed = Seed::new(0).child("data");
//! let shuffle = Shuffle { n: set.len(), batch_size: 5, seed, drop_last: true };
//! let mut batches = shuffle.batches()?;
//! let mut noise = seed.child("dequantise").host_noise();
//! let x = set.dequantised(batches.next_batch(), &mut noise)?;
//! assert_eq!(x.dims(), [5, 4]);
//! # Ok::<(), datasets::Error>(())
//! ```

pub mod arrays;
mod augment;
mod batches;
mod cifar;
mod columns;
mod csv_table;
mod dequantise;
mod digest;
mod error;
mod folder;
mod idx;
mod image_set;
mod keel;
pub mod legacy;
mod lines;
mod logit;
mod mnist;
mod outliers;
mod resize;
mod source;
mod splits;
mod stacked;
mod table;
mod table_split;
mod tables;
pub mod toys;
mod uci;

pub use augment::{Augmentation, scale_symmetric};
pub use batches::{Batches, Cursor, Shuffle, permutation};
pub use cifar::{CIFAR10_CLASSES, Cifar10, Cifar100, parse_cifar10};
pub use columns::{correlated_columns, discrete_columns};
pub use csv_table::read_csv;
pub use dequantise::{dequantise, dequantise_tensor, pool2, scale_256};
pub use error::{Error, Result};
pub use folder::{
    Colour, Crop, Folder, FolderOptions, FolderScan, decode_image, read_folder, read_images,
    scan_folder,
};
pub use idx::{parse_idx, read_idx, read_idx_images};
pub use image_set::ImageSet;
pub use keel::{read_keel, read_table, read_table_where};
pub use logit::{logit_counts, logit_pixels, sigmoid};
pub use mnist::{Mnist, find_mnist, mnist_split};
pub use splits::{contiguous_split, labelled_subset, random_split, stratified_split};
pub use stacked::{StackedImages, StackedMnist};
pub use table::{Standardiser, Table};
pub use table_split::{SPLIT_SEED, TableSplit, tabular_split};
pub use tables::{TABLES, TableInfo, load_table};
pub use uci::{UCI_TABLES, UciInfo, UciTable, load_uci};
