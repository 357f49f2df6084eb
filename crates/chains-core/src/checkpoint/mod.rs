//! Model directories and tensor files that survive a crash and refuse foreign bytes politely.
//!
//! A published model is a directory with `config.json` (a [`ModelHeader`]) and `model.safetensors`;
//! `README.md` and `metrics.json` may lie beside them. Every file is written under a temporary
//! name, flushed to the disk and renamed, so that a reader sees the old file or the new one, never
//! half.

mod atomic;
mod model;
mod pth;
mod tensors;

#[cfg(feature = "hub")]
pub(crate) use atomic::{Staged, folder_of};
pub use atomic::{write_atomic, write_bytes_atomic};
pub use model::{
    CONFIG_FILE, FORMAT_VERSION, ModelHeader, WEIGHTS_FILE, load_model, read_config, read_header,
    save_model,
};
pub use pth::PthFile;
pub use tensors::{check_names, check_shapes, load_metadata, load_tensors, save_tensors};
