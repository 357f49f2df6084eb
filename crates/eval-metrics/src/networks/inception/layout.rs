//! The layers of the network as data: names, shapes, order.

/// A part of the network.
#[derive(Clone, Debug)]
pub(super) enum Layout {
    /// Convolution without bias, batch normalisation, ReLU.
    Unit(Shape),
    /// One after the other.
    Chain(Vec<Layout>),
    /// All of one input, their results joined by channel in this order.
    Branches(Vec<Layout>),
    /// Maxima over 3x3 pixels.
    Max {
        /// Pixels from one window to the next.
        stride: usize,
        /// Pixels beyond the edge.
        padding: usize,
    },
    /// Means over 3x3 pixels, stride one, of those that lie in the image.
    Average,
}

/// What a unit's convolution looks like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Name within the stage; empty for the stage itself.
    pub(super) name: &'static str,
    /// Channels of the input and of the result.
    pub(super) channels: [usize; 2],
    /// Height and width of the kernel.
    pub(super) kernel: [usize; 2],
    pub(super) stride: usize,
    /// Zeros above and below, left and right.
    pub(super) padding: [usize; 2],
}

/// The stages in order, each with its name in the tensor file or, for pools, one of its own.
pub(super) fn stages() -> Vec<(&'static str, Layout)> {
    let stem = |input, output, stride, padding| {
        let kernel = [3, 3];
        let channels = [input, output];
        Layout::Unit(Shape { name: "", channels, kernel, stride, padding: [padding; 2] })
    };
    let halve = || Layout::Max { stride: 2, padding: 0 };
    vec![
        ("Conv2d_1a_3x3", stem(3, 32, 2, 0)),
        ("Conv2d_2a_3x3", stem(32, 32, 1, 0)),
        ("Conv2d_2b_3x3", stem(32, 64, 1, 1)),
        ("MaxPool_1", halve()),
        ("Conv2d_3b_1x1", same("", 64, 80, [1, 1])),
        ("Conv2d_4a_3x3", stem(80, 192, 1, 0)),
        ("MaxPool_2", halve()),
        ("Mixed_5b", block_5(192, 32)),
        ("Mixed_5c", block_5(256, 64)),
        ("Mixed_5d", block_5(288, 64)),
        ("Mixed_6a", block_6a()),
        ("Mixed_6b", block_6(128)),
        ("Mixed_6c", block_6(160)),
        ("Mixed_6d", block_6(160)),
        ("Mixed_6e", block_6(192)),
        ("Mixed_7a", block_7a()),
        ("Mixed_7b", block_7(1280, Layout::Average)),
        // The only average pool that the published graph replaces by a maximum.
        ("Mixed_7c", block_7(2048, Layout::Max { stride: 1, padding: 1 })),
    ]
}

/// Stride one, and as much padding as keeps height and width.
fn same(name: &'static str, input: usize, output: usize, kernel: [usize; 2]) -> Layout {
    let padding = kernel.map(|side| side / 2);
    Layout::Unit(Shape { name, channels: [input, output], kernel, stride: 1, padding })
}

/// 3x3, stride two, without padding.
fn halving(name: &'static str, input: usize, output: usize) -> Layout {
    let (channels, kernel) = ([input, output], [3, 3]);
    Layout::Unit(Shape { name, channels, kernel, stride: 2, padding: [0, 0] })
}

fn pooled(pool: Layout, input: usize, output: usize) -> Layout {
    Layout::Chain(vec![pool, same("branch_pool", input, output, [1, 1])])
}

fn block_5(input: usize, pool: usize) -> Layout {
    Layout::Branches(vec![
        same("branch1x1", input, 64, [1, 1]),
        Layout::Chain(vec![
            same("branch5x5_1", input, 48, [1, 1]),
            same("branch5x5_2", 48, 64, [5, 5]),
        ]),
        Layout::Chain(vec![
            same("branch3x3dbl_1", input, 64, [1, 1]),
            same("branch3x3dbl_2", 64, 96, [3, 3]),
            same("branch3x3dbl_3", 96, 96, [3, 3]),
        ]),
        pooled(Layout::Average, input, pool),
    ])
}

fn block_6a() -> Layout {
    Layout::Branches(vec![
        halving("branch3x3", 288, 384),
        Layout::Chain(vec![
            same("branch3x3dbl_1", 288, 64, [1, 1]),
            same("branch3x3dbl_2", 64, 96, [3, 3]),
            halving("branch3x3dbl_3", 96, 96),
        ]),
        Layout::Max { stride: 2, padding: 0 },
    ])
}

fn block_6(inner: usize) -> Layout {
    let (flat, tall) = ([1, 7], [7, 1]);
    Layout::Branches(vec![
        same("branch1x1", 768, 192, [1, 1]),
        Layout::Chain(vec![
            same("branch7x7_1", 768, inner, [1, 1]),
            same("branch7x7_2", inner, inner, flat),
            same("branch7x7_3", inner, 192, tall),
        ]),
        Layout::Chain(vec![
            same("branch7x7dbl_1", 768, inner, [1, 1]),
            same("branch7x7dbl_2", inner, inner, tall),
            same("branch7x7dbl_3", inner, inner, flat),
            same("branch7x7dbl_4", inner, inner, tall),
            same("branch7x7dbl_5", inner, 192, flat),
        ]),
        pooled(Layout::Average, 768, 192),
    ])
}

fn block_7a() -> Layout {
    Layout::Branches(vec![
        Layout::Chain(vec![
            same("branch3x3_1", 768, 192, [1, 1]),
            halving("branch3x3_2", 192, 320),
        ]),
        Layout::Chain(vec![
            same("branch7x7x3_1", 768, 192, [1, 1]),
            same("branch7x7x3_2", 192, 192, [1, 7]),
            same("branch7x7x3_3", 192, 192, [7, 1]),
            halving("branch7x7x3_4", 192, 192),
        ]),
        Layout::Max { stride: 2, padding: 0 },
    ])
}

fn block_7(input: usize, pool: Layout) -> Layout {
    Layout::Branches(vec![
        same("branch1x1", input, 320, [1, 1]),
        Layout::Chain(vec![
            same("branch3x3_1", input, 384, [1, 1]),
            Layout::Branches(vec![
                same("branch3x3_2a", 384, 384, [1, 3]),
                same("branch3x3_2b", 384, 384, [3, 1]),
            ]),
        ]),
        Layout::Chain(vec![
            same("branch3x3dbl_1", input, 448, [1, 1]),
            same("branch3x3dbl_2", 448, 384, [3, 3]),
            Layout::Branches(vec![
                same("branch3x3dbl_3a", 384, 384, [1, 3]),
                same("branch3x3dbl_3b", 384, 384, [3, 1]),
            ]),
        ]),
        pooled(pool, input, 192),
    ])
}

/// Every tensor of the Inception network with its shape, in PyTorch's names.
pub fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    for (stage, layout) in stages() {
        collect(stage, &layout, &mut all);
    }
    all.push(("fc.weight".into(), vec![super::CLASSES, super::WIDTH]));
    all.push(("fc.bias".into(), vec![super::CLASSES]));
    all
}

fn collect(stage: &str, layout: &Layout, into: &mut Vec<(String, Vec<usize>)>) {
    match layout {
        Layout::Unit(shape) => {
            let unit = shape.path(stage);
            let [input, output] = shape.channels;
            let [height, width] = shape.kernel;
            into.push((format!("{unit}.conv.weight"), vec![output, input, height, width]));
            for leaf in ["weight", "bias", "running_mean", "running_var"] {
                into.push((format!("{unit}.bn.{leaf}"), vec![output]));
            }
        }
        Layout::Chain(parts) | Layout::Branches(parts) => {
            parts.iter().for_each(|part| collect(stage, part, into));
        }
        Layout::Max { .. } | Layout::Average => {}
    }
}

impl Shape {
    /// Where the unit's tensors are.
    pub(super) fn path(&self, stage: &str) -> String {
        if self.name.is_empty() { stage.to_owned() } else { format!("{stage}.{}", self.name) }
    }

    /// One pixel of the result for each of the image, from that pixel alone.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == 1 && self.padding == [0, 0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_has_the_published_tensors() {
        let all = tensors();
        let names: std::collections::BTreeSet<&str> =
            all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((all.len(), names.len()), (472, 472));
        let count = |part: &dyn Fn(&str) -> bool| -> usize {
            let chosen = all.iter().filter(|(name, _)| part(name));
            chosen.map(|(_, shape)| shape.iter().product::<usize>()).sum()
        };
        assert_eq!(all.iter().filter(|(name, _)| name.ends_with("conv.weight")).count(), 94);
        assert_eq!(count(&|name| name.ends_with("conv.weight")), 21_751_136);
        let affine = |name: &str| name.ends_with("bn.weight") || name.ends_with("bn.bias");
        assert_eq!(count(&affine), 34_432);
        assert_eq!(count(&|name| name.starts_with("fc.")), 2_065_392);
    }
}
