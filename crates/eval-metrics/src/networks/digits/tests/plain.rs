//! What the network computes, without a tensor.

use chains_core::ParamStore;

use super::{TINY, values};

/// The network in plain loops over f64.
pub(super) struct Plain<'a>(pub(super) &'a ParamStore);

impl Plain<'_> {
    fn get(&self, name: &str) -> Vec<f64> {
        let var = self.0.get(name).unwrap();
        values(var.as_tensor()).into_iter().map(f64::from).collect()
    }

    /// A 3x3 convolution within zeros, and its ReLU, on `side` x `side` pixels.
    fn convolution(&self, x: &[f64], layer: usize, [input, output, side]: [usize; 3]) -> Vec<f64> {
        let weight = self.get(&format!("convolutions.{layer}.weight"));
        let bias = self.get(&format!("convolutions.{layer}.bias"));
        let mut y = Vec::new();
        for (o, row, column) in (0..output).flat_map(|o| {
            (0..side).flat_map(move |row| (0..side).map(move |column| (o, row, column)))
        }) {
            let mut sum = bias[o];
            for (i, u, v) in
                (0..input).flat_map(|i| (0..3).flat_map(move |u| (0..3).map(move |v| (i, u, v))))
            {
                let (r, c) = (row + u, column + v);
                if (1..=side).contains(&r) && (1..=side).contains(&c) {
                    let pixel = x[i * side * side + (r - 1) * side + c - 1];
                    sum += weight[((o * input + i) * 3 + u) * 3 + v] * pixel;
                }
            }
            y.push(sum.max(0.0));
        }
        y
    }

    fn halved(x: &[f64], [channels, side]: [usize; 2]) -> Vec<f64> {
        let half = side / 2;
        let at = |c: usize, r: usize, k: usize| x[(c * side + r) * side + k];
        let mut y = Vec::new();
        for (c, r, k) in (0..channels)
            .flat_map(|c| (0..half).flat_map(move |r| (0..half).map(move |k| (c, r, k))))
        {
            let square = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(u, v)| at(c, 2 * r + u, 2 * k + v));
            y.push(square.into_iter().fold(f64::NEG_INFINITY, f64::max));
        }
        y
    }

    fn dense(&self, x: &[f64], name: &str) -> Vec<f64> {
        let weight = self.get(&format!("{name}.weight"));
        let bias = self.get(&format!("{name}.bias"));
        let one = |(b, row): (&f64, &[f64])| b + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
        bias.iter().zip(weight.chunks_exact(x.len())).map(one).collect()
    }

    /// Features, then logits, of one image of bytes.
    pub(super) fn activations(&self, image: &[u8]) -> Vec<f64> {
        let [first, second] = TINY.channels;
        let x: Vec<f64> = image.iter().map(|v| f64::from(*v) / 255.0).collect();
        let x = self.convolution(&x, 0, [1, first, 28]);
        let x = Self::halved(&self.convolution(&x, 1, [first, first, 28]), [first, 28]);
        let x = self.convolution(&x, 2, [first, second, 14]);
        let x = Self::halved(&self.convolution(&x, 3, [second, second, 14]), [second, 14]);
        let mut features = self.dense(&x, "features");
        features.iter_mut().for_each(|v| *v = v.max(0.0));
        let logits = self.dense(&features, "head");
        [features, logits].concat()
    }
}
