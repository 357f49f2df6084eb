//! Animated PNG files: browsers play them, other programs show the first frame.

use image::RgbImage;

use crate::error::{Error, Result};

/// Frames as an animated PNG that is repeated for ever.
///
/// # Example
/// ```
/// let frames = vec![image::RgbImage::new(8, 4); 3];
/// let bytes = reproduce::animation::encode(&frames, 20)?;
/// assert!(bytes.windows(4).any(|name| name == b"acTL"));
/// # Ok::<(), reproduce::Error>(())
/// ```
///
/// # Errors
/// [`Error::Usage`] unless there are frames, all of one size, and time passes between them.
pub fn encode(frames: &[RgbImage], per_second: u16) -> Result<Vec<u8>> {
    let size = frames.first().map(RgbImage::dimensions);
    let Some((width, height)) = size.filter(|(w, h)| *w > 0 && *h > 0) else {
        return Err(Error::Usage("an animation needs a frame with pixels".into()));
    };
    if let Some(other) = frames.iter().map(RgbImage::dimensions).find(|d| *d != (width, height)) {
        let message = format!("frames of {width}x{height} and {}x{} pixels", other.0, other.1);
        return Err(Error::Usage(message));
    }
    if per_second == 0 {
        return Err(Error::Usage("an animation needs one frame a second or more".into()));
    }
    let count = u32::try_from(frames.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::new();
    write(&mut bytes, frames, [width, height, count], per_second)
        .map_err(|error| Error::Usage(format!("animation: {error}")))?;
    Ok(bytes)
}

fn write(
    bytes: &mut Vec<u8>,
    frames: &[RgbImage],
    [width, height, count]: [u32; 3],
    per_second: u16,
) -> Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    // Flat colours repeat exactly, which filtered rows do not.
    encoder.set_filter(png::Filter::NoFilter);
    encoder.set_animated(count, 0)?;
    encoder.set_frame_delay(1, per_second)?;
    let mut writer = encoder.write_header()?;
    frames.iter().try_for_each(|frame| writer.write_image_data(frame.as_raw()))?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn every_frame_is_there_with_its_delay() {
        let frames: Vec<_> =
            (0..3).map(|i| RgbImage::from_pixel(5, 4, Rgb([10 * i, 0, 255]))).collect();
        let bytes = encode(&frames, 20).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
        let control = reader.info().animation_control.unwrap();
        assert_eq!((control.num_frames, control.num_plays), (3, 0));
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        for frame in &frames {
            reader.next_frame(&mut pixels).unwrap();
            assert_eq!(&pixels, frame.as_raw());
            let shown = reader.info().frame_control.unwrap();
            assert_eq!((shown.delay_num, shown.delay_den), (1, 20));
        }
        // A program that knows no animations sees the first frame.
        let still = image::load_from_memory(&bytes).unwrap().to_rgb8();
        assert_eq!(still, frames[0]);
    }

    #[test]
    fn what_is_no_animation_is_refused() {
        let frames = [RgbImage::new(2, 2), RgbImage::new(2, 3)];
        assert!(encode(&[], 20).is_err());
        assert!(encode(&frames[..1], 0).is_err());
        assert!(encode(&[RgbImage::new(0, 0)], 20).is_err());
        let message = encode(&frames, 20).unwrap_err().to_string();
        assert!(message.contains("2x2") && message.contains("2x3"), "{message}");
    }
}
