//! Sheets of images as PNG files, and PNG files as images.

#[cfg(test)]
mod tests;

use std::{fs::File, io::BufReader, path::Path};

use candle_core::{DType, Tensor};
use image::{ImageDecoder, ImageFormat, Rgb, RgbImage};

use crate::{
    error::{Error, Result},
    results::write_atomic,
};

/// The shorter side, in pixels, at which a small image is still easy to see.
const EASY: usize = 56;
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
/// A colour that no data set has much of: pixels that are not numbers.
const NOT_A_NUMBER: Rgb<u8> = Rgb([255, 0, 255]);

/// How images are laid out, row by row.
///
/// # Example
/// ```
/// use reproduce::sheet::Sheet;
/// let sheet = Sheet { columns: 2, gap: 1, scale: 1, ..Sheet::new(1, 2, 2) };
/// let image = sheet.render(&[0.0; 3 * 4])?;
/// assert_eq!(image.dimensions(), (7, 7));
/// # Ok::<(), reproduce::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Height of an image.
    pub height: usize,
    /// Width of an image.
    pub width: usize,
    /// Images in a row.
    pub columns: usize,
    /// White pixels around each image.
    pub gap: usize,
    /// Screen pixels along the side of an image's pixel.
    pub scale: usize,
    /// Leading columns set apart by four more gaps, for inputs beside outputs; 0 for none.
    pub lead: usize,
}

impl Sheet {
    /// Ten columns, and small images enlarged so that their shorter side has at least 56 pixels.
    pub fn new(channels: usize, height: usize, width: usize) -> Self {
        let scale = EASY.div_ceil(height.min(width).max(1));
        Self { channels, height, width, columns: 10, gap: 2, scale, lead: 0 }
    }

    /// A sheet, about square, for a batch `(n, c, h, w)` or `(n, h, w)`.
    ///
    /// # Errors
    /// [`Error::Usage`] for any other shape.
    pub fn of(images: &Tensor) -> Result<Self> {
        let (n, channels, height, width) = match *images.dims() {
            [n, h, w] => (n, 1, h, w),
            [n, c, h, w] => (n, c, h, w),
            _ => {
                let expected = "(n, c, h, w) or (n, h, w)";
                return Err(Error::Usage(format!(
                    "images: expected {expected}, got {:?}",
                    images.dims()
                )));
            }
        };
        let columns = (n as f64).sqrt().ceil().max(1.0) as usize;
        let sheet = Self { columns, ..Self::new(channels, height, width) };
        sheet.validate()?;
        Ok(sheet)
    }

    /// Draws images given as planes, `(n, c, h, w)` in row-major order, pixels in `[0, 1]`.
    ///
    /// Values outside are clipped for display; values that are not numbers are magenta. The last
    /// row may be short.
    ///
    /// # Errors
    /// [`Error::Usage`] if the length is no multiple of an image, or if the sheet has no columns,
    /// no scale, or other than 1 or 3 channels.
    pub fn render(&self, images: &[f32]) -> Result<RgbImage> {
        self.validate()?;
        let size = self.channels * self.height * self.width;
        if !images.len().is_multiple_of(size) {
            return Err(Error::Usage(format!(
                "a sheet of {}x{}x{} images cannot hold {} numbers: {size} an image",
                self.channels,
                self.height,
                self.width,
                images.len()
            )));
        }
        let n = images.len() / size;
        let columns = self.columns.min(n.max(1));
        let rows = n.div_ceil(columns).max(1);
        let mut out = RgbImage::from_pixel(
            self.origin(columns, self.width) + self.lead_gap(columns),
            self.origin(rows, self.height),
            PAPER,
        );
        for (index, image) in images.chunks_exact(size).enumerate() {
            let (row, column) = (index / columns, index % columns);
            let left = self.origin(column, self.width) + self.lead_gap(column);
            self.draw(&mut out, image, left, self.origin(row, self.height));
        }
        Ok(out)
    }

    /// Draws a tensor of any float type: `(n, c, h, w)`, `(n, h, w)` or flat `(n, d)` with
    /// `d = c h w`.
    ///
    /// # Errors
    /// As [`Sheet::render`], and if the shape is another.
    pub fn render_tensor(&self, images: &Tensor) -> Result<RgbImage> {
        self.render(&self.values(images)?)
    }

    /// Draws chains: one row a chain, one column a step; `steps[t]` holds step `t` of all chains.
    /// `columns` is the number of steps.
    ///
    /// # Errors
    /// As [`Sheet::render_tensor`], and if steps hold different numbers of chains.
    pub fn render_chains(&self, steps: &[Tensor]) -> Result<RgbImage> {
        let size = (self.channels * self.height * self.width).max(1);
        let steps = steps.iter().map(|step| self.values(step)).collect::<Result<Vec<_>>>()?;
        let chains = steps.first().map_or(0, |step| step.len() / size);
        if let Some(odd) = steps.iter().position(|step| step.len() != chains * size) {
            let n = steps[odd].len() / size;
            return Err(Error::Usage(format!("step {odd} has {n} chains, step 0 has {chains}")));
        }
        let by_chain: Vec<f32> = (0..chains)
            .flat_map(|chain| steps.iter().map(move |step| &step[chain * size..(chain + 1) * size]))
            .flatten()
            .copied()
            .collect();
        Self { columns: steps.len().max(1), ..self.clone() }.render(&by_chain)
    }

    fn values(&self, images: &Tensor) -> Result<Vec<f32>> {
        let (c, h, w) = (self.channels, self.height, self.width);
        let fits = match *images.dims() {
            [_, d] => d == c * h * w,
            [_, ih, iw] => (1, ih, iw) == (c, h, w),
            [_, ic, ih, iw] => (ic, ih, iw) == (c, h, w),
            _ => false,
        };
        if !fits {
            let got = images.dims();
            return Err(Error::Usage(format!(
                "images: expected (n, {c}, {h}, {w}) or (n, {}), got {got:?}",
                c * h * w
            )));
        }
        Ok(images.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    }

    fn validate(&self) -> Result<()> {
        let channels = self.channels == 1 || self.channels == 3;
        if channels && [self.height, self.width, self.columns, self.scale].iter().all(|v| *v > 0) {
            return Ok(());
        }
        let wanted = "1 or 3 channels and a positive height, width, number of columns and scale";
        Err(Error::Usage(format!("a sheet needs {wanted}; this is {self:?}")))
    }

    /// Pixels before the image number `index` along an axis.
    fn origin(&self, index: usize, side: usize) -> u32 {
        (self.gap + index * (side * self.scale + self.gap)) as u32
    }

    fn lead_gap(&self, column: usize) -> u32 {
        if self.lead > 0 && column >= self.lead { 4 * self.gap as u32 } else { 0 }
    }

    fn draw(&self, out: &mut RgbImage, image: &[f32], left: u32, top: u32) {
        let (plane, scale) = (self.height * self.width, self.scale as u32);
        for at in 0..plane {
            let colour = match self.channels {
                1 => [image[at]; 3],
                _ => [image[at], image[plane + at], image[2 * plane + at]],
            };
            let colour = if colour.iter().any(|v| v.is_nan()) {
                NOT_A_NUMBER
            } else {
                Rgb(colour.map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8))
            };
            let (x, y) = ((at % self.width) as u32 * scale, (at / self.width) as u32 * scale);
            for (dx, dy) in (0..scale).flat_map(|dx| (0..scale).map(move |dy| (dx, dy))) {
                out.put_pixel(left + x + dx, top + y + dy, colour);
            }
        }
    }
}

/// Writes a PNG file: under a temporary name first, then renamed.
///
/// # Errors
/// [`Error::Io`].
pub fn save_png(image: &RgbImage, path: &Path) -> Result<()> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let encoded = image.write_to(&mut bytes, ImageFormat::Png);
    encoded.map_err(|error| Error::io(path, std::io::Error::other(error)))?;
    write_atomic(path, &bytes.into_inner())
}

/// Reads a PNG file as planes `(c, h, w)` in row-major order, pixels in `[0, 1]`.
///
/// Colour becomes grey by its luma, grey becomes three equal planes, transparency is ignored.
/// Nothing is resized.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] if it is no PNG or has another size, both sizes named;
/// [`Error::Usage`] for other than 1 or 3 channels.
pub fn read_png(path: &Path, channels: usize, height: usize, width: usize) -> Result<Vec<f32>> {
    let file = File::open(path).map_err(|source| Error::io(path, source))?;
    let bad =
        |error: image::ImageError| Error::format(path, format!("is not a readable PNG: {error}"));
    let decoder = image::codecs::png::PngDecoder::new(BufReader::new(file)).map_err(bad)?;
    // The size is known from the header, before any pixel is decoded.
    let (w, h) = decoder.dimensions();
    if (h as usize, w as usize) != (height, width) {
        return Err(Error::format(
            path,
            format!(
                "is {w}x{h} pixels (width x height), the model has {width}x{height}; \
                 resize the file, it is not done silently"
            ),
        ));
    }
    let image = image::DynamicImage::from_decoder(decoder).map_err(bad)?;
    match channels {
        1 => Ok(image.to_luma32f().into_raw()),
        3 => {
            let pixels = image.to_rgb32f().into_raw();
            Ok((0..3).flat_map(|c| pixels[c..].iter().step_by(3).copied()).collect())
        }
        _ => Err(Error::Usage(format!("images have 1 or 3 channels, not {channels}"))),
    }
}

/// Reads a mask, `(h, w)` in row-major order: white (at least half bright) is known, true.
///
/// # Errors
/// As [`read_png`].
pub fn read_mask(path: &Path, height: usize, width: usize) -> Result<Vec<bool>> {
    Ok(read_png(path, 1, height, width)?.into_iter().map(|v| v >= 0.5).collect())
}
