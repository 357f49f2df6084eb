//! The potentials and their gradients.

use candle_core::Tensor;
use chains_core::{
    Result, Seed,
    density::{Energy, value_and_grad},
};
use vaebm::{JointNoise, NoiseDecoder, NoiseSpace, Potential};

use crate::decoders::{Curved, Flat, Linear, Quadratic, Wavy, tensor, values};

fn draw(decoder: &impl NoiseDecoder, b: usize, scale: f64) -> JointNoise {
    let noise = decoder.draw_noise(b, &mut Seed::new(3).child("noise").host_noise()).unwrap();
    let flat = (noise.flat().unwrap() * scale).unwrap();
    JointNoise::from_flat(&flat, &decoder.noise_shapes()).unwrap()
}

fn assert_close(got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.dims(), want.dims());
    for (got, want) in values(got).iter().zip(values(want)) {
        assert!((got - want).abs() < tolerance * want.abs().max(1.0), "{got} {want}");
    }
}

/// `ln N(x; mean, scale)` of each row, written out.
fn log_normal(x: &Tensor, mean: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let ratio = x.sub(mean)?.div(scale)?;
    let constant = 0.5 * (2.0 * std::f64::consts::PI).ln();
    Ok(((ratio.sqr()? * -0.5)? - scale.log()?)?.affine(1.0, -constant)?.sum(1)?)
}

/// The published program's potential as its formula has it, every density written out.
fn official(decoder: &Curved, flat: &Tensor) -> Result<Tensor> {
    let part = |at, width| flat.narrow(1, at, width)?.contiguous();
    let noise = JointNoise { latents: vec![part(0, 2)?, part(2, 3)?], pixels: part(5, 4)? };
    let decoded = decoder.decode(&noise)?;
    let mut potential = Wavy.energy(&decoded.image)?;
    for group in &decoded.groups {
        potential = (potential - log_normal(&group.z, &group.mean, &group.scale)?)?;
    }
    let (law, y) = (&decoded.law, decoded.image.affine(2.0, -1.0)?);
    Ok((potential - log_normal(&y, &law.mean, &law.floored_scale)?)?)
}

/// The potential of the paper as its formula has it.
fn paper(decoder: &Curved, flat: &Tensor) -> Result<Tensor> {
    let part = |at, width| flat.narrow(1, at, width)?.contiguous();
    let noise = JointNoise { latents: vec![part(0, 2)?, part(2, 3)?], pixels: part(5, 4)? };
    let energy = Wavy.energy(&decoder.decode(&noise)?.image)?;
    Ok((energy + (flat.sqr()?.sum(1)? * 0.5)?)?)
}

#[test]
fn values_and_gradients_are_those_of_the_formulas_clamped_or_not() -> Result<()> {
    // Free pixels, floored scales, pixels beyond the range.
    for (shift, spread) in [(-1.5, 0.1), (-3.0, 0.1), (0.5, 2.0)] {
        let decoder = Curved { shift, spread };
        let flat = draw(&decoder, 6, 1.0).flat()?;
        for (potential, formula) in [
            (Potential::Official, official as fn(&Curved, &Tensor) -> Result<Tensor>),
            (Potential::Paper, paper),
        ] {
            let space = NoiseSpace::new(&decoder, Wavy, potential);
            let (value, grad) = space.energy_and_grad(&flat)?;
            let (want, want_grad) = value_and_grad(&flat, |flat| formula(&decoder, flat))?;
            assert_close(&value, &want, 1e-10);
            assert_close(&grad, &want_grad, 1e-10);
            // The same potential by the trait's own graph.
            let (value, by_graph) = value_and_grad(&flat, |flat| space.energy(flat))?;
            assert_close(&value, &want, 1e-10);
            assert_close(&by_graph, &want_grad, 1e-10);
        }
    }
    Ok(())
}

#[test]
fn gradients_agree_with_central_differences() -> Result<()> {
    for (potential, shift) in [(Potential::Paper, -1.5), (Potential::Official, -1.5)] {
        let decoder = Curved { shift, spread: 0.1 };
        let space = NoiseSpace::new(&decoder, Wavy, potential);
        let flat = draw(&decoder, 3, 0.5).flat()?;
        assert!(
            decoder.decode(&JointNoise::from_flat(&flat, space.shapes())?)?.clamped_share()? == 0.0
        );
        let grad = space.energy_and_grad(&flat)?.1.to_vec2::<f64>()?;
        let rows = flat.to_vec2::<f64>()?;
        let at = |row: usize, column: usize, step: f64| -> Result<f64> {
            let mut moved = rows.clone();
            moved[row][column] += step;
            let moved = Tensor::new(moved, flat.device())?;
            Ok(values(&space.energy(&moved)?)[row])
        };
        let h = 1e-5;
        for (row, column) in (0..3).flat_map(|row| (0..9).map(move |column| (row, column))) {
            let difference = (at(row, column, h)? - at(row, column, -h)?) / (2.0 * h);
            assert!((grad[row][column] - difference).abs() < 1e-7 * difference.abs().max(1.0));
        }
    }
    Ok(())
}

#[test]
fn without_clamping_the_potentials_differ_by_the_jacobian() -> Result<()> {
    let decoder = Curved { shift: -1.5, spread: 0.1 };
    let noise = draw(&decoder, 8, 0.5);
    assert_eq!(decoder.decode(&noise)?.clamped_share()?, 0.0);
    let flat = noise.flat()?;
    let grad = |potential| Ok(NoiseSpace::new(&decoder, Wavy, potential).energy_and_grad(&flat)?.1);
    let difference: Tensor = {
        let [official, paper]: [Result<Tensor>; 2] =
            [grad(Potential::Official), grad(Potential::Paper)];
        (official? - paper?)?
    };
    let (_, jacobian) = value_and_grad(&flat, |flat| {
        let part = |at, width| flat.narrow(1, at, width)?.contiguous();
        let noise = JointNoise { latents: vec![part(0, 2)?, part(2, 3)?], pixels: part(5, 4)? };
        let decoded = decoder.decode(&noise)?;
        let group = decoded.groups[1].scale.log()?.sum(1)?;
        Ok((group + decoded.law.scale.log()?.sum(1)?)?)
    })?;
    assert!(values(&jacobian).iter().any(|d| d.abs() > 0.1));
    assert_close(&difference, &jacobian, 1e-9);
    Ok(())
}

#[test]
fn a_clamped_pixel_pulls_its_noise_in_the_paper_and_not_in_the_program() -> Result<()> {
    let decoder = Curved { shift: 1.0, spread: 3.0 };
    let noise = draw(&decoder, 20, 1.0);
    let clamped =
        values(&decoder.decode(&noise)?.raw).iter().map(|y| y.abs() > 1.0).collect::<Vec<_>>();
    assert!(clamped.iter().any(|c| *c) && clamped.iter().any(|c| !c));
    let of = |potential| NoiseSpace::new(&decoder, Wavy, potential).evaluate(&noise);
    let (paper, official) = (of(Potential::Paper)?, of(Potential::Official)?);
    let pixels = values(&noise.pixels);
    let forces = values(&paper.grad.pixels).into_iter().zip(values(&official.grad.pixels));
    for ((clamped, noise), (paper, official)) in clamped.iter().zip(pixels).zip(forces) {
        if *clamped {
            assert!((paper - noise).abs() < 1e-12 && official.abs() < 1e-12);
        } else {
            assert!(official.abs() > 1e-9);
        }
    }
    Ok(())
}

#[test]
fn below_the_floor_the_program_pulls_pixel_noise_by_the_ratio_of_variances() -> Result<()> {
    let decoder = Curved { shift: -6.0, spread: 0.1 };
    let noise = draw(&decoder, 4, 1.0);
    let law = decoder.decode(&noise)?.law;
    let found = NoiseSpace::new(&decoder, Flat, Potential::Official).evaluate(&noise)?;
    let want = noise.pixels.mul(&law.scale.div(&law.floored_scale)?.sqr()?)?;
    assert_close(&found.grad.pixels, &want, 1e-10);
    // exp(-6 + ..) + 0.01 over exp(-2) + 0.01: about a hundredth.
    assert!(values(&law.floored_scale).iter().all(|s| (s - 0.145_335_283).abs() < 1e-8));
    assert!(values(&want).iter().zip(values(&noise.pixels)).all(|(f, e)| f.abs() < 0.03 * e.abs()));
    Ok(())
}

#[test]
fn the_linear_gaussian_model_has_its_precision_and_its_mean() -> Result<()> {
    let space = NoiseSpace::new(Linear, Quadratic, Potential::Paper);
    let points = tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
    let grads = space.energy_and_grad(&points)?.1.to_vec2::<f64>()?;
    let precision = [[3.425, 0.645, 0.165], [0.645, 1.18, 0.027], [0.165, 0.027, 1.045]];
    for (i, row) in precision.iter().enumerate() {
        for (j, want) in row.iter().enumerate() {
            assert!((grads[i + 1][j] - grads[0][j] - want).abs() < 1e-12);
        }
    }
    let mean = tensor([[0.036_629, 0.066_413, -0.110_849]]);
    assert_close(&space.energy_and_grad(&mean)?.1, &tensor([[0.0; 3]]), 3e-6);
    Ok(())
}

#[test]
fn noise_of_another_shape_is_refused_by_name() -> Result<()> {
    let space = NoiseSpace::new(Linear, Quadratic, Potential::Paper);
    let message = space.energy(&tensor([[0.0; 4]])).unwrap_err().to_string();
    assert!(message.contains("(b, 3)"), "{message}");
    let wrong =
        JointNoise { latents: vec![tensor([[0.0]]), tensor([[0.0]])], pixels: tensor([[0.0; 2]]) };
    let message = space.evaluate(&wrong).unwrap_err().to_string();
    assert!(message.contains("noise") && message.contains("[[1]]"), "{message}");
    Ok(())
}
