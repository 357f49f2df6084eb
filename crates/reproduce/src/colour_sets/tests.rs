use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::Device;
use chains_core::Seed;

use super::*;

fn request(scale: Scale, data: Option<&Path>) -> Request {
    let data = data.map(Path::to_owned);
    Request { data, root: PathBuf::new(), ..crate::testing::request(scale, &[]) }
}

fn cut([train, validation, test]: [usize; 3]) -> Cut {
    Cut { train, validation, test, pooled: false }
}

#[test]
fn synthetic_images_are_seeded_smooth_and_coloured() {
    let draw = |n, seed| synthetic::blobs("x", n, [3, 32, 32], Seed::new(seed)).unwrap();
    let set = draw(6, 1);
    assert_eq!(set, draw(6, 1));
    assert_eq!(set.range(0..3), draw(3, 1));
    assert_ne!(set, draw(6, 2));
    for index in 0..set.len() {
        let image = set.image(index);
        let range = image.iter().max().unwrap() - image.iter().min().unwrap();
        assert!(range > 40, "image {index} has a range of {range}");
        for row in image.chunks(32) {
            let step = row.windows(2).map(|w| w[0].abs_diff(w[1])).max().unwrap();
            assert!(step < 48, "image {index} jumps by {step}");
        }
        let (red, green) = (&image[..1024], &image[1024..2048]);
        assert!(red.iter().zip(green).any(|(r, g)| r.abs_diff(*g) > 20));
    }
}

#[test]
fn missing_data_are_described() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = [
        (
            Collection::Cifar10,
            vec!["data_batch_1.bin", "test_batch.bin", "Krizhevsky", "cifar-10-batches-bin"],
        ),
        (
            Collection::CelebA,
            vec!["img_align_celeba", "CelebFaces", "non-commercial", "DIR/celeba"],
        ),
        (
            Collection::Svhn,
            vec!["train_32x32.mat", "not read", "Stanford", "DIR/svhn/train", "DIR/svhn"],
        ),
        (Collection::CelebAClose, vec!["img_align_celeba", "DIR/celeba"]),
        (Collection::CelebAHq, vec!["30,000 faces", "Karras", "DIR/celeba-hq"]),
        (Collection::LsunChurch, vec!["church_outdoor", "LMDB", "DIR/lsun-church"]),
        (Collection::Tfd, vec!["48x48", "Susskind", "on request", "DIR/tfd"]),
    ];
    for (set, words) in wanted {
        set.ready(&request(Scale::Smoke, None)).unwrap();
        for scale in [Scale::Quick, Scale::Paper] {
            let error = set.ready(&request(scale, None)).unwrap_err();
            assert_eq!(error.exit_status(), 2);
            let message = error.to_string();
            assert!(message.contains("no --data DIR was given"), "{message}");
            let message = set.ready(&request(scale, Some(dir.path()))).unwrap_err().to_string();
            for word in words.iter().copied().chain([dir.path().to_str().unwrap(), "--data"]) {
                assert!(message.contains(word), "`{word}` is not in: {message}");
            }
        }
    }
}

/// Two records a batch; the red plane counts columns, the green one rows, blue is the record.
fn write_cifar(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let names = (1..=5).map(|i| format!("data_batch_{i}.bin")).chain(["test_batch.bin".into()]);
    for (batch, name) in names.enumerate() {
        let mut bytes = Vec::new();
        for record in 2 * batch..2 * batch + 2 {
            bytes.push(0);
            bytes.extend((0..1024).map(|at| (at % 32) as u8));
            bytes.extend((0..1024).map(|at| (at / 32) as u8));
            bytes.extend([record as u8; 1024]);
        }
        fs::write(dir.join(name), bytes).unwrap();
    }
}

#[test]
fn cifar_parts_follow_each_other_and_keep_rows_columns_and_colours() {
    let dir = tempfile::tempdir().unwrap();
    write_cifar(&dir.path().join("cifar-10-batches-bin"));
    let request = request(Scale::Quick, Some(dir.path()));
    Collection::Cifar10.ready(&request).unwrap();
    let images = Collection::Cifar10.images(&request, &cut([7, 3, 1]), "images").unwrap();
    assert_eq!((images.train.len(), images.validation.len(), images.test.len()), (7, 3, 1));
    assert_eq!(images.event(), [3, 32, 32]);
    for (set, first) in [(&images.train, 0), (&images.validation, 7), (&images.test, 10)] {
        let x = images.scaled(set, 1, &Device::Cpu).unwrap().reshape((3, 32, 32)).unwrap();
        let x = (x * 256.0).unwrap().to_vec3::<f32>().unwrap();
        // Row 5, column 9.
        assert_eq!([x[0][5][9], x[1][5][9], x[2][5][9]].map(|v| v as usize), [9, 5, first]);
    }
    let many = Collection::Cifar10.images(&request, &cut([8, 3, 1]), "examples");
    let message = many.unwrap_err().to_string();
    assert!(message.contains("has 10 images") && message.contains("`train_examples`"), "{message}");
}

#[test]
fn faces_are_cut_to_the_central_square() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("celeba").join("img_align_celeba");
    fs::create_dir_all(&folder).unwrap();
    for index in 0..3_u8 {
        // As the aligned faces: 178x218. Black outside the central square, red above blue in it.
        let face = image::RgbImage::from_fn(178, 218, |_, y| match y {
            20..109 => image::Rgb([200, 50 * index, 0]),
            109..198 => image::Rgb([0, 50 * index, 200]),
            _ => image::Rgb([0, 0, 0]),
        });
        face.save(folder.join(format!("{index:06}.jpg"))).unwrap();
    }
    let request = request(Scale::Quick, Some(dir.path()));
    Collection::CelebA.ready(&request).unwrap();
    let read = |train| Collection::CelebA.images(&request, &cut([train, 1, 1]), "images");
    let images = read(1).unwrap();
    assert_eq!(images.event(), [3, 64, 64]);
    for (index, set) in [&images.train, &images.validation, &images.test].into_iter().enumerate() {
        let at =
            |channel: usize, row: usize| f64::from(set.image(0)[(channel * 64 + row) * 64 + 30]);
        // JPEG is lossy.
        for (got, want) in [
            (at(0, 2), 200.0),
            (at(2, 2), 0.0),
            (at(0, 61), 0.0),
            (at(2, 61), 200.0),
            (at(1, 30), 50.0 * index as f64),
        ] {
            assert!((got - want).abs() < 25.0, "{got} instead of {want}");
        }
    }
    assert!(read(2).is_err());
}

#[test]
fn toronto_faces_keep_every_grey() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tfd")).unwrap();
    for index in 0..3_u32 {
        let face =
            image::GrayImage::from_fn(48, 48, |x, y| image::Luma([(4 * y + x + index) as u8]));
        face.save(dir.path().join("tfd").join(format!("{index}.png"))).unwrap();
    }
    let request = request(Scale::Quick, Some(dir.path()));
    let images = Collection::Tfd.images(&request, &cut([1, 1, 1]), "images").unwrap();
    assert_eq!(images.event(), [1, 48, 48]);
    assert_eq!(images.test.image(0)[48 * 7 + 11], 4 * 7 + 11 + 2);
}

/// A digit of one grey.
fn write_digit(dir: &Path, name: &str, grey: u8) {
    fs::create_dir_all(dir).unwrap();
    image::RgbImage::from_pixel(32, 32, image::Rgb([grey; 3])).save(dir.join(name)).unwrap();
}

#[test]
fn house_numbers_keep_their_test_file_apart_if_they_have_two_folders() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("svhn");
    let request = request(Scale::Quick, Some(dir.path()));
    let greys = |sizes| -> Result<[Vec<u8>; 3]> {
        let images = Collection::Svhn.images(&request, &cut(sizes), "examples")?;
        assert_eq!(images.event(), [3, 32, 32]);
        let greys = |set: &ImageSet| (0..set.len()).map(|at| set.image(at)[0]).collect();
        Ok([&images.train, &images.validation, &images.test].map(greys))
    };
    for index in 0..4_u8 {
        write_digit(&folder, &format!("{index}.png"), 10 * index);
    }
    Collection::Svhn.ready(&request).unwrap();
    assert_eq!(greys([2, 1, 1]).unwrap(), [vec![0, 10], vec![20], vec![30]]);
    fs::remove_dir_all(&folder).unwrap();
    for index in 0..3_u8 {
        write_digit(&folder.join("test"), &format!("{index}.png"), 100 + index);
        write_digit(&folder.join("train"), &format!("{index}.png"), 200 + index);
    }
    assert_eq!(greys([2, 1, 2]).unwrap(), [vec![200, 201], vec![202], vec![100, 101]]);
    for sizes in [[3, 1, 2], [2, 1, 4]] {
        assert!(greys(sizes).unwrap_err().to_string().contains("has 3 images"));
    }
}
