//! Folders of images: order, labels, crops, filters, errors.

use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};

use datasets::{Colour, Crop, FolderOptions, decode_image, read_folder, read_images, scan_folder};

fn options(height: u32, width: u32) -> FolderOptions {
    let (crop, colour) = (Crop::Whole, Colour::Rgb);
    FolderOptions { height, width, crop, colour, limit: None }
}

/// Red tells the column, green the row, blue the image.
fn picture(height: u32, width: u32, blue: u8) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([10 * x as u8, 10 * y as u8, blue]))
}

#[test]
fn files_are_sorted_planar_and_without_labels() {
    let dir = tempfile::tempdir().unwrap();
    picture(2, 3, 20).save(dir.path().join("b.png")).unwrap();
    picture(2, 3, 10).save(dir.path().join("a.PNG")).unwrap();
    std::fs::write(dir.path().join("notes.txt"), "no image").unwrap();
    std::fs::write(dir.path().join(".hidden.png"), "no image").unwrap();
    let folder = read_folder(dir.path(), &options(2, 3)).unwrap();
    assert_eq!((folder.set.len(), folder.lossy), (2, false));
    assert!(folder.set.labels.is_empty() && folder.classes.is_empty());
    for (image, blue) in [(0, 10), (1, 20)] {
        for row in 0..2_usize {
            for column in 0..3 {
                let at = |channel: usize| folder.set.image(image)[(channel * 2 + row) * 3 + column];
                let expected = [10 * column as u8, 10 * row as u8, blue];
                assert_eq!([at(0), at(1), at(2)], expected);
            }
        }
    }
    let first = FolderOptions { limit: Some(1), ..options(2, 3) };
    assert_eq!(read_folder(dir.path(), &first).unwrap().set, folder.set.range(0..1));
}

#[test]
fn class_folders_give_labels_and_a_jpeg_is_reported_whatever_its_name() {
    let dir = tempfile::tempdir().unwrap();
    for (class, blue) in [("dog", 200), ("cat", 100)] {
        std::fs::create_dir(dir.path().join(class)).unwrap();
        picture(2, 2, blue).save(dir.path().join(class).join("x.png")).unwrap();
    }
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let folder = read_folder(dir.path(), &options(2, 2)).unwrap();
    assert_eq!(folder.classes, ["cat", "dog"]);
    assert_eq!(folder.set.labels, [0, 1]);
    assert_eq!((folder.set.image(0)[8], folder.set.image(1)[8]), (100, 200));
    let jpeg = dir.path().join("cat").join("y.png");
    picture(2, 2, 0).save_with_format(&jpeg, ImageFormat::Jpeg).unwrap();
    assert!(read_folder(dir.path(), &options(2, 2)).unwrap().lossy);
    picture(2, 2, 0).save(dir.path().join("z.png")).unwrap();
    let error = read_folder(dir.path(), &options(2, 2)).unwrap_err().to_string();
    assert!(error.contains("`cat`, `dog`"), "{error}");
}

#[test]
fn crops_are_central_and_one_that_does_not_fit_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    picture(4, 7, 0).save(dir.path().join("a.png")).unwrap();
    let square = FolderOptions { crop: Crop::Square, ..options(4, 4) };
    // Columns 1 to 4: the smaller half of three spare columns is on the left.
    let set = read_folder(dir.path(), &square).unwrap().set;
    assert_eq!(set.image(0)[..4], [10, 20, 30, 40]);
    let crop = Crop::Window { height: 2, width: 3 };
    let set = read_folder(dir.path(), &FolderOptions { crop, ..options(2, 3) }).unwrap().set;
    assert_eq!(set.image(0)[..3], [20, 30, 40]);
    assert_eq!(set.image(0)[6..9], [10, 10, 10]);
    let crop = Crop::Window { height: 5, width: 3 };
    let error = read_folder(dir.path(), &FolderOptions { crop, ..options(2, 3) });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("a.png") && error.contains("3x5"), "{error}");
}

#[test]
fn shrinking_to_half_weighs_four_pixels_by_a_triangle() {
    let dir = tempfile::tempdir().unwrap();
    // Columns 0, 40, 80, 120: the left output has its centre at 1, support 2, weights
    // 3/4, 3/4, 1/4 at distances 1/2, 1/2, 3/2: (0 + 30 + 20) / (7/4) = 28.57.
    GrayImage::from_fn(4, 4, |x, _| Luma([40 * x as u8])).save(dir.path().join("a.png")).unwrap();
    let grey = FolderOptions { colour: Colour::Grey, ..options(2, 2) };
    let set = read_folder(dir.path(), &grey).unwrap().set;
    assert_eq!(set.images, [29, 91, 29, 91]);
}

#[test]
fn grey_is_the_luminance_and_rgb_repeats_a_grey_image() {
    let dir = tempfile::tempdir().unwrap();
    RgbImage::from_pixel(1, 1, Rgb([0, 255, 0])).save(dir.path().join("a.png")).unwrap();
    GrayImage::from_pixel(1, 1, Luma([77])).save(dir.path().join("b.png")).unwrap();
    let grey = FolderOptions { colour: Colour::Grey, ..options(1, 1) };
    assert_eq!(read_folder(dir.path(), &grey).unwrap().set.images, [182, 77]);
    let set = read_folder(dir.path(), &options(1, 1)).unwrap().set;
    assert_eq!(set.images, [0, 255, 0, 77, 77, 77]);
}

#[test]
fn broken_and_missing_images_are_errors_that_name_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let error = read_folder(dir.path(), &options(1, 1)).unwrap_err().to_string();
    assert!(error.contains(&dir.path().display().to_string()), "{error}");
    let path = dir.path().join("a.png");
    picture(8, 8, 0).save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(read_folder(dir.path(), &options(0, 1)).is_err());
    for n in 0..bytes.len() - 12 {
        std::fs::write(&path, &bytes[..n]).unwrap();
        let error = read_folder(dir.path(), &options(1, 1)).unwrap_err().to_string();
        assert!(error.contains("a.png"), "{n}: {error}");
    }
}

#[test]
fn a_jpeg_cut_anywhere_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jpg");
    picture(20, 20, 90).save_with_format(&path, ImageFormat::Jpeg).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for n in 0..bytes.len() - 1 {
        std::fs::write(&path, &bytes[..n]).unwrap();
        let error = read_folder(dir.path(), &options(20, 20)).unwrap_err().to_string();
        assert!(error.contains("a.jpg: byte"), "{n}: {error}");
    }
    // A preview with an end marker of its own before the picture does not hide the cut, and what
    // cameras append does not matter.
    let preview = [&[0xff, 0xe1, 0, 6, 1, 2, 0xff, 0xd9][..], &bytes[2..]].concat();
    let (whole, cut) = ([&bytes[..2], &preview, b"more"].concat(), bytes.len() - 20);
    std::fs::write(&path, &whole).unwrap();
    let read = read_folder(dir.path(), &options(20, 20)).unwrap().set.images;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(read, read_folder(dir.path(), &options(20, 20)).unwrap().set.images);
    std::fs::write(&path, &whole[..cut]).unwrap();
    let error = read_folder(dir.path(), &options(20, 20)).unwrap_err().to_string();
    assert!(error.contains("no end marker"), "{error}");
}

#[test]
fn headers_tell_sizes_colour_and_loss_before_any_pixel_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    GrayImage::from_pixel(3, 2, Luma([9])).save(path("a.png")).unwrap();
    let scan = scan_folder(dir.path()).unwrap();
    assert_eq!((scan.colour, scan.lossy, scan.common_size().unwrap()), (false, false, (2, 3)));
    picture(2, 3, 0).save_with_format(path("b.png"), ImageFormat::Jpeg).unwrap();
    let scan = scan_folder(dir.path()).unwrap();
    assert_eq!((scan.colour, scan.lossy, scan.common_size().unwrap()), (true, true, (2, 3)));
    picture(3, 2, 0).save(path("c.png")).unwrap();
    let scan = scan_folder(dir.path()).unwrap();
    assert_eq!(scan.sizes, [(2, 3), (2, 3), (3, 2)]);
    let error = scan.common_size().unwrap_err().to_string();
    for part in ["a.png is 3x2", "c.png is 2x3", "resize or crop"] {
        assert!(error.contains(part), "{error}");
    }
    // A few at a time gives the pixels of all at once.
    let whole = read_folder(dir.path(), &options(2, 2)).unwrap().set.images;
    let parts: Vec<Vec<u8>> =
        scan.files.chunks(2).map(|files| read_images(files, &options(2, 2)).unwrap()).collect();
    assert_eq!(parts.concat(), whole);
    std::fs::write(path("b.png"), "no image").unwrap();
    let error = scan_folder(dir.path()).unwrap_err().to_string();
    assert!(error.contains("b.png: byte 0"), "{error}");
}

#[test]
fn a_header_that_promises_a_huge_image_is_not_believed() {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture(2, 2, 0).write_to(&mut bytes, ImageFormat::Png).unwrap();
    let mut bytes = bytes.into_inner();
    let name = std::path::Path::new("huge.png");
    assert_eq!(decode_image(name, &bytes, &options(2, 2)).unwrap().len(), 12);
    // Width and height of the first chunk, then its checksum as `zlib.crc32` has it.
    for (sides, crc) in [([20_000, 1], 0xb4d6_09d9_u32), ([16_384, 16_384], 0x26aa_87d3)] {
        bytes[16..20].copy_from_slice(&u32::to_be_bytes(sides[0]));
        bytes[20..24].copy_from_slice(&u32::to_be_bytes(sides[1]));
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        let error = decode_image(name, &bytes, &options(2, 2)).unwrap_err().to_string();
        assert!(error.contains("huge.png") && error.to_lowercase().contains("limit"), "{error}");
    }
}
