//! Folders of PNG and JPEG images, as CelebA, LSUN and sample sheets come.

use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageFormat, ImageReader, imageops};
use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    image_set::ImageSet,
};

/// File name endings that are read, in lower case.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// What is cut out of the middle of an image before it is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crop {
    /// Nothing: the whole image, whatever its aspect.
    Whole,
    /// The largest square.
    Square,
    /// A window of this size; a smaller image is an error.
    Window {
        /// Height in pixels.
        height: u32,
        /// Width in pixels.
        width: u32,
    },
}

/// The colours that a set keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// One channel: `0.2126 r + 0.7152 g + 0.0722 b` of the values as they are stored.
    Grey,
    /// Three channels; a grey image is repeated.
    Rgb,
}

/// How images of a folder become a set; part of the settings of every result.
///
/// Transparency is dropped without blending, 16-bit samples are rounded to 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderOptions {
    /// Height of the set's images.
    pub height: u32,
    /// Width of the set's images.
    pub width: u32,
    /// Cut before resizing, about the centre; odd margins leave the smaller half left and above.
    pub crop: Crop,
    /// Channels.
    pub colour: Colour,
    /// Read only so many images, the first in order.
    pub limit: Option<usize>,
}

/// The images of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// The images, in the order of `files`; labels are class folders, if there are any.
    pub set: ImageSet,
    /// The files.
    pub files: Vec<PathBuf>,
    /// Names of the class folders.
    pub classes: Vec<String>,
    /// Was any image a JPEG? Scores against lossless images then measure the compression too.
    pub lossy: bool,
}

/// Reads all PNG and JPEG images of a folder, sorted by path.
///
/// If the folder has no image of its own, its child folders are the classes, in order of their
/// names, and each image is labelled with the number of its child. Hidden and other files are
/// ignored. Images are cut, then resized with the triangle filter (bilinear, its support widened by
/// the scale when it shrinks), unless they have the size already.
///
/// # Errors
/// [`Error::Missing`] if there is no image; [`Error::Format`] naming a file that is no image or is
/// too small for the crop; [`Error::Argument`] if the size is zero, images lie beside folders of
/// images, or there are more than 256 classes.
pub fn read_folder(dir: &Path, options: &FolderOptions) -> Result<Folder> {
    if options.height == 0 || options.width == 0 {
        return Err(Error::argument("image size", "height and width must be positive"));
    }
    let (files, labels, classes) = list(dir)?;
    let n = options.limit.unwrap_or(files.len()).min(files.len());
    let files = files[..n].to_vec();
    let labels = labels[..n.min(labels.len())].to_vec();
    let images: Vec<(Vec<u8>, bool)> =
        files.par_iter().map(|file| read_image(file, options)).collect::<Result<_>>()?;
    let lossy = images.iter().any(|(_, lossy)| *lossy);
    let channels = match options.colour {
        Colour::Grey => 1,
        Colour::Rgb => 3,
    };
    let name = dir.file_name().map_or_else(|| "folder".into(), |name| name.to_string_lossy());
    let size = images.first().map_or(0, |(pixels, _)| pixels.len());
    let mut pixels = Vec::with_capacity(n * size);
    images.into_iter().for_each(|(image, _)| pixels.extend(image));
    let shape = [channels, options.height as usize, options.width as usize];
    Ok(Folder { set: ImageSet::new(name, pixels, labels, shape)?, files, classes, lossy })
}

/// Files, their labels (none without class folders), names of the classes.
fn list(dir: &Path) -> Result<(Vec<PathBuf>, Vec<u8>, Vec<String>)> {
    let (own, children) = entries(dir)?;
    let (mut files, mut labels, mut classes) = (Vec::new(), Vec::new(), Vec::new());
    for child in children {
        let (images, _) = entries(&child)?;
        if images.is_empty() {
            continue;
        }
        let label = u8::try_from(classes.len()).map_err(|_| {
            Error::argument("image folder", format!("{} has over 256 classes", dir.display()))
        })?;
        labels.extend(vec![label; images.len()]);
        files.extend(images);
        classes.push(child.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    match (own.is_empty(), files.is_empty()) {
        (false, true) => Ok((own, Vec::new(), Vec::new())),
        (true, false) => Ok((files, labels, classes)),
        (true, true) => Err(Error::Missing {
            what: "image".into(),
            searched: vec![dir.to_owned()],
            advice: "put .png or .jpg files there, or in one folder for each class".into(),
        }),
        (false, false) => {
            let reason = format!(
                "{} has images of its own and in folders (`{}`); keep one kind",
                dir.display(),
                classes.join("`, `")
            );
            Err(Error::argument("image folder", reason))
        }
    }
}

/// Images and folders of a folder, each sorted, hidden ones left out.
fn entries(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut images, mut folders) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))? {
        let path = entry.map_err(|e| Error::io(dir, e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            folders.push(path);
        } else if ENDINGS.contains(&ending.as_str()) {
            images.push(path);
        }
    }
    images.sort();
    folders.sort();
    Ok((images, folders))
}

/// Planar pixels of one image, and whether it was a JPEG.
fn read_image(path: &Path, options: &FolderOptions) -> Result<(Vec<u8>, bool)> {
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let reader = reader.map_err(|e| Error::io(path, e))?;
    let lossy = reader.format() == Some(ImageFormat::Jpeg);
    let image = reader.decode().map_err(|e| Error::format(path, 0, e.to_string()))?;
    let image = crop(path, image, options.crop)?;
    let (width, height) = (options.width, options.height);
    let filter = imageops::FilterType::Triangle;
    let same = (image.width(), image.height()) == (width, height);
    Ok(match options.colour {
        Colour::Grey if same => (image.into_luma8().into_raw(), lossy),
        Colour::Grey => {
            (imageops::resize(&image.into_luma8(), width, height, filter).into_raw(), lossy)
        }
        Colour::Rgb if same => (planar(&image.into_rgb8()), lossy),
        Colour::Rgb => {
            (planar(&imageops::resize(&image.into_rgb8(), width, height, filter)), lossy)
        }
    })
}

fn crop(path: &Path, image: DynamicImage, crop: Crop) -> Result<DynamicImage> {
    let (w, h) = (image.width(), image.height());
    let (width, height) = match crop {
        Crop::Whole => return Ok(image),
        Crop::Square => (w.min(h), w.min(h)),
        Crop::Window { height, width } => (width, height),
    };
    if width > w || height > h || width == 0 || height == 0 {
        let reason = format!("a window of {width}x{height} does not fit into {w}x{h}");
        return Err(Error::format(path, 0, reason));
    }
    Ok(image.crop_imm((w - width) / 2, (h - height) / 2, width, height))
}

fn planar(image: &image::RgbImage) -> Vec<u8> {
    (0..3).flat_map(|channel| image.pixels().map(move |pixel| pixel.0[channel])).collect()
}
