use candle_core::Device;

use super::*;

#[test]
fn every_pixel_is_where_the_layout_says() {
    // Three grey 2x3 images in two columns; image i has the value (10 i + pixel) / 255.
    let images: Vec<f32> = (0..18).map(|v| (10 * (v / 6) + v % 6) as f32 / 255.0).collect();
    let sheet = Sheet { columns: 2, gap: 1, scale: 2, ..Sheet::new(1, 2, 3) };
    let out = sheet.render(&images).unwrap();
    assert_eq!(out.dimensions(), (1 + 2 * 7, 1 + 2 * 5));
    for (x, y, pixel) in out.enumerate_pixels() {
        let (column, row) = ((x / 7) as usize, (y / 5) as usize);
        let (in_x, in_y) = (x as usize % 7, y as usize % 5);
        let image = 2 * row + column;
        let expected = if in_x == 0 || in_y == 0 || image >= 3 {
            255
        } else {
            (10 * image + 3 * ((in_y - 1) / 2) + (in_x - 1) / 2) as u8
        };
        assert_eq!(pixel.0, [expected; 3], "({x}, {y})");
    }
}

#[test]
fn colours_come_from_their_planes_and_are_clipped_for_display_only() {
    let sheet = Sheet { gap: 0, scale: 1, ..Sheet::new(3, 1, 2) };
    let planes = [-1.0, 0.2, 0.4, 0.6, 2.0, f32::NAN];
    let out = sheet.render(&planes).unwrap();
    assert_eq!(out.get_pixel(0, 0).0, [0, 102, 255]);
    assert_eq!(out.get_pixel(1, 0).0, NOT_A_NUMBER.0);
}

#[test]
fn leading_columns_stand_apart() {
    let sheet = Sheet { columns: 3, gap: 2, scale: 1, lead: 1, ..Sheet::new(1, 1, 1) };
    let out = sheet.render(&[0.0; 3]).unwrap();
    let dark: Vec<u32> = (0..out.width()).filter(|x| out.get_pixel(*x, 2).0[0] == 0).collect();
    assert_eq!(dark, [2, 2 + 3 + 8, 2 + 6 + 8]);
    assert_eq!(out.width(), 2 + 9 + 8);
}

#[test]
fn small_images_are_enlarged_by_whole_factors() {
    assert_eq!(Sheet::new(1, 28, 28).scale, 2);
    assert_eq!(Sheet::new(3, 32, 32).scale, 2);
    assert_eq!(Sheet::new(3, 64, 64).scale, 1);
    assert_eq!(Sheet::new(1, 8, 8).scale, 7);
}

#[test]
fn chains_are_rows_and_steps_are_columns() {
    let step = |values: &[f32]| Tensor::from_slice(values, (2, 1), &Device::Cpu).unwrap();
    let sheet = Sheet { gap: 0, scale: 1, ..Sheet::new(1, 1, 1) };
    let chains = [step(&[0.0, 1.0]), step(&[0.2, 0.8]), step(&[0.4, 0.6])];
    let out = sheet.render_chains(&chains).unwrap();
    let grey: Vec<u8> = out.pixels().map(|pixel| pixel.0[0]).collect();
    assert_eq!(grey, [0, 51, 102, 255, 204, 153]);
    let short = [step(&[0.0, 1.0]), Tensor::zeros((1, 1), DType::F32, &Device::Cpu).unwrap()];
    assert!(sheet.render_chains(&short).unwrap_err().to_string().contains("step 1 has 1 chains"));
}

#[test]
fn tensors_of_all_three_shapes_give_the_same_sheet() {
    let flat = Tensor::arange(0_f64, 24.0, &Device::Cpu).unwrap().reshape((4, 6)).unwrap();
    let flat = (flat / 24.0).unwrap();
    let cubes = flat.reshape((4, 2, 3)).unwrap();
    let sheet = Sheet::of(&cubes).unwrap();
    assert_eq!((sheet.channels, sheet.height, sheet.width, sheet.columns), (1, 2, 3, 2));
    let out = sheet.render_tensor(&flat).unwrap();
    assert_eq!(out, sheet.render_tensor(&cubes).unwrap());
    assert_eq!(out, sheet.render_tensor(&cubes.unsqueeze(1).unwrap()).unwrap());
    assert!(Sheet::of(&flat).is_err());
    assert!(Sheet::of(&cubes.unsqueeze(0).unwrap()).unwrap_err().to_string().contains("channels"));
    assert!(sheet.render(&[0.0; 7]).is_err());
}

#[test]
fn a_sheet_without_images_is_empty_paper() {
    let out = Sheet::new(1, 28, 28).render(&[]).unwrap();
    assert!(out.pixels().all(|pixel| *pixel == PAPER));
}

#[test]
fn a_png_comes_back_as_planes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    let planes = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];
    let sheet = Sheet { gap: 0, scale: 1, ..Sheet::new(3, 1, 2) };
    save_png(&sheet.render(&planes).unwrap(), &path).unwrap();
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    let back = read_png(&path, 3, 1, 2).unwrap();
    assert!(back.len() == 6 && close(&back, &planes), "{back:?}");
    let grey = Sheet { gap: 0, scale: 1, ..Sheet::new(1, 1, 2) };
    save_png(&grey.render(&[0.4, 0.6]).unwrap(), &path).unwrap();
    assert!(close(&read_png(&path, 1, 1, 2).unwrap(), &[0.4, 0.6]));
    assert!(close(&read_png(&path, 3, 1, 2).unwrap(), &[0.4, 0.6, 0.4, 0.6, 0.4, 0.6]));
    assert_eq!(read_mask(&path, 1, 2).unwrap(), [false, true]);
}

#[test]
fn a_png_of_another_size_is_an_error_with_both_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    save_png(&RgbImage::new(30, 20), &path).unwrap();
    let message = read_png(&path, 1, 28, 28).unwrap_err().to_string();
    assert!(message.contains("30x20") && message.contains("28x28"), "{message}");
    std::fs::write(&path, "not a picture").unwrap();
    let error = read_png(&path, 1, 28, 28).unwrap_err();
    assert_eq!(error.exit_status(), 2);
    assert!(error.to_string().contains("a.png"), "{error}");
}
