use candle_core::{DType, Device, Var};
use chains_core::{Noise, ParamStore, Seed};

use super::*;

/// Derivatives `(output, input)` of a map of `(1, c, h, w)`.
fn jacobian(f: impl Fn(&Tensor) -> Result<Tensor>, z: &Tensor) -> Result<Vec<Vec<f64>>> {
    let z = Var::from_tensor(z)?;
    let y = f(z.as_tensor())?.flatten_all()?;
    (0..y.elem_count())
        .map(|j| {
            let grads = y.get(j)?.backward()?;
            Ok(grads.get(z.as_tensor()).unwrap().flatten_all()?.to_vec1()?)
        })
        .collect()
}

#[test]
fn a_cell_sees_nothing_at_or_behind_its_place() -> Result<()> {
    const SHAPE: [usize; 4] = [1, 4, 5, 5];
    let store = ParamStore::new(Seed::new(0), DType::F64, &Device::Cpu);
    let build = Build { vb: store.builder(), fixed: false, squeeze: true };
    let z = Seed::new(1).host_noise().normal(&(&SHAPE).into(), DType::F64, &Device::Cpu)?;
    for mirrored in [false, true] {
        let name = format!("{mirrored}");
        let cell = AutoregressiveCell::new(4, mirrored, &build.pp(name))?;
        let flow = Flow(vec![cell]);
        let rows = jacobian(|z| flow.forward(z, &mut Pass::evaluation()), &z)?;
        // The order of the mask: pixel by pixel, in a pixel channel by channel.
        let place = |at: usize| {
            let (channel, pixel) = (at / 25, at % 25);
            (if mirrored { 24 - pixel } else { pixel }, channel)
        };
        let mut seen = 0;
        for (j, row) in rows.iter().enumerate() {
            for (i, d) in row.iter().enumerate() {
                match place(i).cmp(&place(j)) {
                    std::cmp::Ordering::Less => seen += usize::from(d.abs() > 0.0),
                    std::cmp::Ordering::Equal => assert!((d - 1.0).abs() < 1e-15, "{i}: {d}"),
                    std::cmp::Ordering::Greater => assert!(d.abs() < 1e-300, "{j} {i}: {d}"),
                }
            }
        }
        // All but what is out of reach, three pixels away.
        assert!(seen > 2000, "{seen} places seen");
    }
    Ok(())
}

#[test]
fn masks_are_those_of_the_description() {
    // Three channels to six: blocks of two outputs; the centre is element 4.
    let hidden = mask([3, 6, 3], Own::Hidden, false);
    let centre = |o: usize, i: usize| hidden[(o * 3 + i) * 9 + 4];
    for o in 0..6 {
        for i in 0..3 {
            assert_eq!(centre(o, i) > 0.0, i < o / 2);
            let around = &hidden[(o * 3 + i) * 9..][..9];
            assert_eq!(around[..4], [1.0; 4]);
            assert_eq!(around[5..], [0.0; 4]);
        }
    }
    let back = mask([6, 3, 1], Own::Seen, true);
    for o in 0..3 {
        for i in 0..6 {
            assert_eq!(back[o * 6 + i] > 0.0, i < (o + 1) * 2);
        }
    }
    let depthwise = mask([6, 6, 3], Own::Depthwise, true);
    assert_eq!(depthwise[..9], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
}
