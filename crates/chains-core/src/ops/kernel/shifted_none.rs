//! Where there is no kernel of our own for patches: the caller copies them to columns.

/// Patches by run and tap.
#[derive(Clone, Copy)]
pub(crate) struct Patchwork<'a> {
    pub(crate) source: &'a [f32],
    pub(crate) bases: &'a [usize],
    pub(crate) offsets: &'a [usize],
}

/// There is none.
pub(crate) fn patch_kernel() -> bool {
    false
}

/// Does nothing.
pub(crate) fn patch_product(
    _: (&mut [f32], usize),
    _: (&[f32], usize),
    Patchwork { source, bases, offsets }: Patchwork<'_>,
    _: usize,
    _: bool,
) -> bool {
    let _ = (source, bases, offsets);
    false
}

/// Does nothing.
pub(crate) fn patch_sums(
    _: (&mut [f32], usize),
    _: (&[f32], usize),
    _: Patchwork<'_>,
    _: usize,
) -> bool {
    false
}
