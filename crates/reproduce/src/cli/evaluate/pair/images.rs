//! Images of any origin, as bytes in batches.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use datasets::{
    Colour, Crop, FolderOptions, ImageSet,
    arrays::{ArrayFile, ArrayInfo, ArrayStream, Values},
    read_images, scan_folder,
};
use serde_json::Value;

use super::settings::Settings;
use crate::error::{Error, Result};

/// Images that tell whether grey digits were saved in colour.
const PEEK: usize = 64;
/// Side of a digit.
const DIGIT: usize = 28;

/// Images of one size, read anew by every pass.
pub(super) struct Images {
    /// As the command line has it.
    name: String,
    reader: Reader,
    /// Number of images.
    pub(super) n: usize,
    /// Channels, height, width.
    pub(super) shape: [usize; 3],
    /// Three equal planes are stored for one.
    tripled: bool,
    /// Settings of every result.
    pub(super) facts: BTreeMap<&'static str, Value>,
    /// What a reader of the result should know.
    pub(super) notes: Vec<String>,
}

enum Reader {
    Folder { files: Vec<PathBuf>, options: FolderOptions },
    Array { file: ArrayFile, array: String, channels_last: bool },
    Set(ImageSet),
}

impl Images {
    /// A folder of images.
    pub(super) fn folder(name: &str, dir: &Path, settings: &Settings) -> Result<Self> {
        let mut scan = scan_folder(dir)?;
        let crop = match settings.crop {
            Some(side) => Crop::Window { height: side, width: side },
            None if settings.square => Crop::Square,
            None => Crop::Whole,
        };
        if crop == Crop::Square {
            scan.sizes.iter_mut().for_each(|size| *size = (size.0.min(size.1), size.0.min(size.1)));
        }
        let (height, width) = match settings.resize.or(settings.crop) {
            Some(side) => (side, side),
            None => scan.common_size().map_err(|error| {
                Error::Usage(format!(
                    "{error}: --set resize=SIDE, --set crop=SIDE or --set square=true"
                ))
            })?,
        };
        let colour = if scan.colour { Colour::Rgb } else { Colour::Grey };
        let channels = if scan.colour { 3 } else { 1 };
        let format = if scan.lossy { "JPEG among them" } else { "PNG" };
        let mut facts = BTreeMap::new();
        facts.insert("decoder", format!("image 0.25, {format}").into());
        facts.insert("resized", settings.resizing().into());
        let mut notes = Vec::new();
        if scan.lossy {
            notes.push(format!(
                "{name}: JPEG images; scores against lossless images measure the compression too"
            ));
        }
        let options = FolderOptions { height, width, crop, colour, limit: None };
        let shape = [channels, height as usize, width as usize];
        let n = scan.files.len();
        let reader = Reader::Folder { files: scan.files, options };
        Self { name: name.into(), reader, n, shape, tripled: false, facts, notes }.untripled()
    }

    /// An array of bytes `(n, h, w)`, `(n, c, h, w)` or `(n, h, w, c)`, `c` being 1 or 3.
    pub(super) fn array(name: &str, file: ArrayFile, info: &ArrayInfo) -> Result<Self> {
        let (shape, channels_last) = match info.dims[..] {
            [_, h, w] => ([1, h, w], false),
            [_, c @ (1 | 3), h, w] => ([c, h, w], false),
            [_, h, w, c @ (1 | 3)] => ([c, h, w], true),
            _ => {
                return Err(Error::Usage(format!(
                    "{name}: `{}` is u8 {:?}; images are (n, h, w), (n, c, h, w) or (n, h, w, c) \
                     with one or three channels",
                    info.name, info.dims
                )));
            }
        };
        if shape.contains(&0) {
            let (array, dims) = (&info.name, &info.dims);
            return Err(Error::Usage(format!("{name}: `{array}` is {dims:?}: there is no pixel")));
        }
        let order = match (info.dims.len(), channels_last) {
            (3, _) => "n, h, w",
            (_, false) => "n, c, h, w",
            (_, true) => "n, h, w, c",
        };
        let facts = BTreeMap::from([("layout", order.into())]);
        let reader = Reader::Array { file, array: info.name.clone(), channels_last };
        let (n, notes) = (info.rows(), Vec::new());
        Self { name: name.into(), reader, n, shape, tripled: false, facts, notes }.untripled()
    }

    /// A data set in its own format.
    pub(super) fn set(name: &str, set: ImageSet) -> Self {
        let facts = BTreeMap::from([("digest", set.digest().into())]);
        let (n, shape) = (set.len(), [set.channels, set.height, set.width]);
        let reader = Reader::Set(set);
        Self { name: name.into(), reader, n, shape, tripled: false, facts, notes: Vec::new() }
    }

    /// Numbers in one image.
    pub(super) fn pixels(&self) -> usize {
        self.shape.iter().product()
    }

    /// Is this a folder, whose images can be cut and resized?
    pub(super) fn is_folder(&self) -> bool {
        matches!(self.reader, Reader::Folder { .. })
    }

    /// A pass over all images.
    pub(super) fn batches(&self) -> Result<Batches<'_>> {
        let stream = match &self.reader {
            Reader::Array { file, array, .. } => Some(file.stream(array)?),
            _ => None,
        };
        Ok(Batches { images: self, stream, at: 0 })
    }

    /// Digits saved in colour, as common tools save them, become grey again.
    fn untripled(mut self) -> Result<Self> {
        if self.shape == [3, DIGIT, DIGIT] {
            let some = self.batches()?.next(PEEK)?;
            if !some.is_empty() && some.chunks(3 * DIGIT * DIGIT).all(is_tripled) {
                self.tripled = true;
                self.shape[0] = 1;
                self.facts.insert("channels", "three equal ones taken as one".into());
            }
        }
        Ok(self)
    }
}

/// Do three planes hold the same?
fn is_tripled(image: &[u8]) -> bool {
    let plane = image.len() / 3;
    image[..plane] == image[plane..2 * plane] && image[..plane] == image[2 * plane..]
}

/// A pass over images.
pub(super) struct Batches<'a> {
    images: &'a Images,
    stream: Option<ArrayStream>,
    /// Images given out.
    at: usize,
}

impl Batches<'_> {
    /// Pixels `(b, c, h, w)` of the next `n` images, fewer at the end, none after it.
    pub(super) fn next(&mut self, n: usize) -> Result<Vec<u8>> {
        let begin = self.at;
        self.at = (begin + n).min(self.images.n);
        let range = begin..self.at;
        let pixels = match (&self.images.reader, &mut self.stream) {
            (Reader::Folder { files, options }, _) => read_images(&files[range], options)?,
            (Reader::Set(set), _) => {
                set.images[range.start * set.pixels()..range.end * set.pixels()].to_vec()
            }
            (Reader::Array { channels_last, .. }, Some(stream)) => {
                let pixels = match stream.next_rows(range.len())? {
                    Values::U8(pixels) => pixels,
                    // Opened as bytes.
                    _ => Vec::new(),
                };
                if *channels_last { self.planar(&pixels) } else { pixels }
            }
            (Reader::Array { .. }, None) => Vec::new(),
        };
        if self.images.tripled { self.first_planes(&pixels, begin) } else { Ok(pixels) }
    }

    /// `(b, h, w, c)` as `(b, c, h, w)`.
    fn planar(&self, pixels: &[u8]) -> Vec<u8> {
        let [_, height, width] = self.images.shape;
        let plane = height * width;
        let channels = if self.images.tripled { 3 } else { self.images.shape[0] };
        let mut planar = Vec::with_capacity(pixels.len());
        for image in pixels.chunks(plane * channels) {
            for channel in 0..channels {
                planar.extend(image.iter().skip(channel).step_by(channels));
            }
        }
        planar
    }

    fn first_planes(&self, pixels: &[u8], begin: usize) -> Result<Vec<u8>> {
        let mut planes = Vec::with_capacity(pixels.len() / 3);
        for (at, image) in pixels.chunks(3 * self.images.pixels()).enumerate() {
            if !is_tripled(image) {
                return Err(Error::Usage(format!(
                    "{}: image {} has colour, the first {} have none; keep one kind",
                    self.images.name,
                    begin + at,
                    PEEK.min(self.images.n)
                )));
            }
            planes.extend_from_slice(&image[..self.images.pixels()]);
        }
        Ok(planes)
    }
}
