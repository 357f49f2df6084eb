use candle_core::{DType, Device, Var};
use chains_core::{Noise, ParamStore, Seed};

use super::*;

fn store() -> ParamStore {
    ParamStore::new(Seed::new(0), DType::F64, &Device::Cpu)
}

fn build(store: &ParamStore) -> Build<'static> {
    Build { vb: store.builder(), fixed: false, squeeze: true }
}

fn normal(label: &str, shape: &[usize]) -> Tensor {
    let mut noise = Seed::new(0).child(label).host_noise();
    noise.normal(&shape.into(), DType::F64, &Device::Cpu).unwrap()
}

fn values(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn close(got: &Tensor, want: &Tensor) {
    assert_eq!(got.dims(), want.dims());
    for (got, want) in values(got).iter().zip(values(want)) {
        assert!((got - want).abs() < 1e-10 * want.abs().max(1.0), "{got} {want}");
    }
}

fn set(store: &ParamStore, name: &str, value: f64) {
    let var = store.get(name).unwrap();
    var.set(&Tensor::full(value, var.shape(), &Device::Cpu).unwrap()).unwrap();
}

#[test]
fn a_factorised_reduction_picks_the_four_pixels_of_a_square_in_its_order() -> Result<()> {
    let store = store();
    // Two channels to four: one for each shift.
    let reduction = FactorisedReduction::new(2, &build(&store))?;
    for i in 1..=4 {
        let weight = store.get(&format!("conv_{i}.weight")).unwrap();
        weight.set(&Tensor::new(&[1.0, 0.0], &Device::Cpu)?.reshape((1, 2, 1, 1))?)?;
        set(&store, &format!("conv_{i}.log_weight_norm"), (1.0 + 1e-5_f64).ln());
        set(&store, &format!("conv_{i}.bias"), 0.0);
    }
    let x: Vec<f64> = (0..32).map(f64::from).collect();
    let x = Tensor::from_vec(x, (1, 2, 4, 4), &Device::Cpu)?;
    let y = reduction.forward(&x, &mut Pass::evaluation())?;
    let want = [
        [0.0, 2.0, 8.0, 10.0],
        [5.0, 7.0, 13.0, 15.0],
        [1.0, 3.0, 9.0, 11.0],
        [4.0, 6.0, 12.0, 14.0],
    ];
    let want = Tensor::new(&want, &Device::Cpu)?.reshape((1, 4, 2, 2))?;
    close(&y, &want);
    Ok(())
}

#[test]
fn a_cell_is_its_skip_and_a_tenth_of_its_branch() -> Result<()> {
    let store = store();
    let x = normal("x", &[2, 8, 4, 4]);
    for (name, cell) in [
        ("a", Cell::encoder(8, Scale::Same, &build(&store).pp("a"))?),
        ("b", Cell::decoder(8, 6, Scale::Same, &build(&store).pp("b"))?),
    ] {
        let pass = &mut Pass::evaluation();
        let branch = match &cell.branch {
            Branch::Dense(layers) => {
                let [(first, one), (second, two)] = &**layers;
                let h = one.forward(&first.swish(&x, 1, pass)?, pass)?;
                two.forward(&second.swish(&h, 1, pass)?, pass)?
            }
            Branch::Inverted(inner) => inner.forward(&x, pass)?,
        };
        let get =
            |leaf: &str| store.get(&format!("{name}.se.se.{leaf}")).unwrap().as_tensor().clone();
        let s = branch.mean((2, 3))?;
        let h = s.matmul(&get("0.weight").t()?)?.broadcast_add(&get("0.bias"))?.relu()?;
        assert_eq!(h.dims(), [2, 4]);
        let gate = h.matmul(&get("2.weight").t()?)?.broadcast_add(&get("2.bias"))?;
        let gate = candle_nn::ops::sigmoid(&gate)?.reshape((2, 8, 1, 1))?;
        let want = (&x + (branch.broadcast_mul(&gate)? * 0.1)?)?;
        close(&cell.forward(&x, pass)?, &want);
    }
    Ok(())
}

#[test]
fn a_doubling_cell_is_the_published_order_of_its_layers() -> Result<()> {
    let store = store();
    let cell = Cell::decoder(8, 3, Scale::Up, &build(&store).pp("q"))?;
    let x = normal("x", &[2, 8, 3, 4]);
    let (Skip::Up(skip), Branch::Inverted(inner)) = (&cell.skip, &cell.branch) else {
        panic!("another cell")
    };
    for training in [false, true] {
        let of = || if training { Pass::training() } else { Pass::evaluation() };
        // Doubled first, as published.
        let mut pass = of();
        let wide = ops::upsample2(&x)?;
        let [before, first, second, after] = &inner.norms;
        let [expand, depthwise, reduce] = &inner.convs;
        let h = expand.forward(&before.forward(&wide, 1, &mut pass)?, &mut pass)?;
        let h = first.swish(&h, 1, &mut pass)?;
        let h = second.swish(&depthwise.forward(&h, &mut pass)?, 1, &mut pass)?;
        let h = after.forward(&reduce.forward(&h, &mut pass)?, 1, &mut pass)?;
        let gate = cell.squeeze.as_ref().unwrap().gate(&h)?;
        let branch =
            (h.broadcast_mul(&gate.reshape((gate.dims()[0], gate.dims()[1], 1, 1))?)? * 0.1)?;
        let want = (skip.forward(&ops::bilinear2(&x)?, &mut of())? + branch)?;
        let mut mine = of();
        close(&cell.forward(&x, &mut mine)?, &want);
        // So are the running moments.
        let moved = |pass: &Pass| -> Result<Vec<Vec<f64>>> {
            let fresh = self::store();
            Cell::decoder(8, 3, Scale::Up, &build(&fresh).pp("q"))?;
            pass.follow(&fresh)?;
            Ok(fresh
                .tensors()
                .iter()
                .filter(|(n, _)| n.contains("running"))
                .map(|(_, t)| values(t))
                .collect())
        };
        for (got, want) in moved(&mine)?.iter().flatten().zip(moved(&pass)?.iter().flatten()) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
    }
    Ok(())
}

#[test]
fn a_doubling_gives_every_pixel_the_gradients_of_its_square() -> Result<()> {
    let x = Var::from_tensor(&normal("x", &[1, 2, 2, 3]))?;
    let weights = normal("weights", &[1, 2, 4, 6]);
    // Used twice, as in a cell.
    let y = (ops::upsample2(x.as_tensor())? + (ops::bilinear2(x.as_tensor())? * 0.0)?)?;
    let grads = y.mul(&weights)?.sum_all()?.backward()?;
    let want = weights.reshape((1, 2, 2, 2, 3, 2))?.sum((3, 5))?;
    close(grads.get(x.as_tensor()).unwrap(), &want);
    Ok(())
}

#[test]
fn a_norm_is_that_of_the_batch_and_remembers_a_twentieth_of_it() -> Result<()> {
    let store = store();
    let norm = Norm::new(1, &build(&store).pp("bn"))?;
    let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0], &Device::Cpu)?.reshape((4, 1, 1, 1))?;
    let mut pass = Pass::training();
    let y = norm.forward(&x, 1, &mut pass)?;
    let want = (x.affine(1.0, -2.5)? / (1.25_f64 + 1e-5).sqrt())?;
    close(&y, &want);
    close(&norm.swish(&x, 1, &mut Pass::training())?, &ops::silu(&want)?);
    pass.follow(&store)?;
    let get = |leaf: &str| values(store.get(&format!("bn.{leaf}")).unwrap().as_tensor())[0];
    assert!((get("running_mean") - 0.125).abs() < 1e-12);
    assert!((get("running_var") - 1.033_333).abs() < 1e-6);
    let want = (x.affine(1.0, -0.125)? / (get("running_var") + 1e-5).sqrt())?;
    close(&norm.forward(&x, 1, &mut Pass::evaluation())?, &want);
    Ok(())
}
