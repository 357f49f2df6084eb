//! Folders of PNG and JPEG images, as CelebA, LSUN and sample sheets come.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Cursor, Seek},
    path::{Path, PathBuf},
};

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, imageops};
use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    image_set::ImageSet,
};

/// File name endings that are read, in lower case.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// No image of a data set is wider or higher; a header that says so is not believed.
const LARGEST_SIDE: u32 = 1 << 14;
/// Memory that one image may take while it is decoded, in bytes.
const LARGEST_IMAGE: u64 = 256 << 20;

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
/// too small for the crop; [`Error::Argument`] if the size is zero or above 16,384, images lie beside folders of
/// images, or there are more than 256 classes.
pub fn read_folder(dir: &Path, options: &FolderOptions) -> Result<Folder> {
    check_size(options)?;
    let (files, labels, classes) = list(dir)?;
    let n = options.limit.unwrap_or(files.len()).min(files.len());
    let files = files[..n].to_vec();
    let labels = labels[..n.min(labels.len())].to_vec();
    let (pixels, lossy) = decode_all(&files, options)?;
    let channels = match options.colour {
        Colour::Grey => 1,
        Colour::Rgb => 3,
    };
    let name = dir.file_name().map_or_else(|| "folder".into(), |name| name.to_string_lossy());
    let shape = [channels, options.height as usize, options.width as usize];
    Ok(Folder { set: ImageSet::new(name, pixels, labels, shape)?, files, classes, lossy })
}

/// What the headers of a folder's images say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderScan {
    /// The images, sorted by path; those of class folders in the order of the classes.
    pub files: Vec<PathBuf>,
    /// Height and width of every image.
    pub sizes: Vec<(u32, u32)>,
    /// Has any image a colour channel?
    pub colour: bool,
    /// Is any image a JPEG? Scores against lossless images then measure the compression too.
    pub lossy: bool,
}

impl FolderScan {
    /// The size of all images, if they have one.
    ///
    /// # Errors
    /// [`Error::Argument`] naming two images of different sizes.
    pub fn common_size(&self) -> Result<(u32, u32)> {
        let first = self.sizes.first().copied().unwrap_or_default();
        let other = self.sizes.iter().position(|size| *size != first);
        other.map_or(Ok(first), |at| {
            let name = |at: usize| {
                let (height, width) = self.sizes[at];
                format!("{} is {width}x{height}", self.files[at].display())
            };
            let reason = format!(
                "{}, {} (width x height); resize or crop them to one size",
                name(0),
                name(at)
            );
            Err(Error::argument("image sizes differ", reason))
        })
    }
}

/// Reads the headers of all images of a folder, which is laid out as for [`read_folder`].
///
/// # Errors
/// As [`read_folder`].
pub fn scan_folder(dir: &Path) -> Result<FolderScan> {
    let (files, _, _) = list(dir)?;
    let headers: Vec<((u32, u32), bool, bool)> =
        files.par_iter().map(|file| read_header(file)).collect::<Result<_>>()?;
    Ok(FolderScan {
        sizes: headers.iter().map(|(size, ..)| *size).collect(),
        colour: headers.iter().any(|(_, colour, _)| *colour),
        lossy: headers.iter().any(|(.., lossy)| *lossy),
        files,
    })
}

/// Pixels `(n, c, h, w)` of image files, for reading a folder a few images at a time.
///
/// # Errors
/// [`Error::Format`] naming a file that is no image or is too small for the crop.
pub fn read_images(files: &[PathBuf], options: &FolderOptions) -> Result<Vec<u8>> {
    check_size(options)?;
    Ok(decode_all(files, options)?.0)
}

/// Pixels `(c, h, w)` of one image in memory, a PNG or JPEG file; the name is for errors.
///
/// # Errors
/// As [`read_images`].
pub fn decode_image(name: &Path, bytes: &[u8], options: &FolderOptions) -> Result<Vec<u8>> {
    check_size(options)?;
    Ok(decode(name, bytes, options)?.0)
}

fn check_size(options: &FolderOptions) -> Result<()> {
    if (1..=LARGEST_SIDE).contains(&options.height) && (1..=LARGEST_SIDE).contains(&options.width) {
        return Ok(());
    }
    let reason = format!("height and width must be from 1 to {LARGEST_SIDE}");
    Err(Error::argument("image size", reason))
}

/// Pixels of all images one after the other, and whether any was a JPEG.
fn decode_all(files: &[PathBuf], options: &FolderOptions) -> Result<(Vec<u8>, bool)> {
    let read =
        |path: &PathBuf| decode(path, &fs::read(path).map_err(|e| Error::io(path, e))?, options);
    let images: Vec<(Vec<u8>, bool)> = files.par_iter().map(read).collect::<Result<_>>()?;
    let lossy = images.iter().any(|(_, lossy)| *lossy);
    let size = images.first().map_or(0, |(pixels, _)| pixels.len());
    let mut pixels = Vec::with_capacity(images.len() * size);
    images.into_iter().for_each(|(image, _)| pixels.extend(image));
    Ok((pixels, lossy))
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
    for entry in fs::read_dir(dir).map_err(|e| Error::io(dir, e))? {
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

fn open(path: &Path) -> Result<BufReader<File>> {
    File::open(path).map(BufReader::new).map_err(|e| Error::io(path, e))
}

/// A reader that believes no header of a larger image, and whether the image is a JPEG.
fn bounded<R: BufRead + Seek>(path: &Path, reader: R) -> Result<(ImageReader<R>, bool)> {
    let mut reader =
        ImageReader::new(reader).with_guessed_format().map_err(|e| Error::io(path, e))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    limits.max_alloc = Some(LARGEST_IMAGE);
    reader.limits(limits);
    let lossy = reader.format() == Some(ImageFormat::Jpeg);
    Ok((reader, lossy))
}

fn broken(path: &Path, error: &image::ImageError) -> Error {
    Error::format(path, 0, format!("is no readable PNG or JPEG: {error}"))
}

/// Height and width, whether there is colour, and whether it is a JPEG.
fn read_header(path: &Path) -> Result<((u32, u32), bool, bool)> {
    let (reader, lossy) = bounded(path, open(path)?)?;
    let decoder = reader.into_decoder().map_err(|error| broken(path, &error))?;
    let (width, height) = decoder.dimensions();
    Ok(((height, width), decoder.color_type().has_color(), lossy))
}

/// Planar pixels of one image, and whether it was a JPEG.
fn decode(path: &Path, bytes: &[u8], options: &FolderOptions) -> Result<(Vec<u8>, bool)> {
    let (reader, lossy) = bounded(path, Cursor::new(bytes))?;
    if lossy && !is_whole_jpeg(bytes) {
        let reason = "the JPEG has no end marker: the file is cut short; fetch it again";
        return Err(Error::format(path, bytes.len() as u64, reason));
    }
    let image = reader.decode().map_err(|error| broken(path, &error))?;
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

/// Is there an end marker behind the header? The decoder fills what is missing with grey.
fn is_whole_jpeg(bytes: &[u8]) -> bool {
    let mut at = 2;
    // Segments up to the start of the scan; a preview inside one has an end marker of its own.
    while let Some(&[0xff, kind]) = bytes.get(at..at + 2) {
        at += match kind {
            0xda => break,
            0xff => 1,
            0x01 | 0xd0..=0xd8 => 2,
            _ => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        };
    }
    bytes.get(at..).is_some_and(|rest| rest.windows(2).rev().any(|pair| pair == [0xff, 0xd9]))
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
