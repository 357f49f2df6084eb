//! Listeners of the training loops: the record, the progress line, the sample sheets.

mod image_files;
mod json_lines;
mod progress;

pub use image_files::ImageFiles;
pub use json_lines::JsonLines;
pub use progress::Progress;
