//! Splits of a data set into parts, by seed or by position.

use std::ops::Range;

use chains_core::Seed;

use crate::{
    batches::permutation,
    error::{Error, Result},
};

/// The numbers `0..n` in random order, cut into parts of the given fractions.
///
/// Part `k` ends at `round(n * (f_0 + .. + f_k))`. Fractions that add up to less than one leave the
/// rest out.
///
/// # Errors
/// If a fraction is not in `[0, 1]` or they add up to more than one.
pub fn random_split(n: usize, fractions: &[f64], seed: Seed) -> Result<Vec<Vec<usize>>> {
    let order = permutation(n, seed);
    Ok(cut(n, fractions)?.into_iter().map(|range| order[range].to_vec()).collect())
}

/// Consecutive ranges of the given sizes, from the start; the rest is left out.
///
/// # Errors
/// If the sizes add up to more than `n`.
pub fn contiguous_split(n: usize, sizes: &[usize]) -> Result<Vec<Range<usize>>> {
    let mut end = 0_usize;
    sizes
        .iter()
        .map(|&size| {
            let start = end;
            end = start.checked_add(size).filter(|&end| end <= n).ok_or_else(|| {
                Error::argument("split sizes", format!("{sizes:?} add up to more than {n}"))
            })?;
            Ok(start..end)
        })
        .collect()
}

/// As [`random_split`] within each class, so that every part has the classes in the same shares up to
/// rounding. Rows without a label are treated as one more class. Each part is in random order.
///
/// # Errors
/// As [`random_split`].
pub fn stratified_split(
    labels: &[Option<u32>],
    fractions: &[f64],
    seed: Seed,
) -> Result<Vec<Vec<usize>>> {
    cut(0, fractions)?;
    let order = permutation(labels.len(), seed);
    let mut part_of = vec![None; labels.len()];
    for class in classes(labels) {
        let rows: Vec<usize> = order.iter().copied().filter(|&i| labels[i] == class).collect();
        for (part, range) in cut(rows.len(), fractions)?.into_iter().enumerate() {
            rows[range].iter().for_each(|&i| part_of[i] = Some(part));
        }
    }
    let part = |k| order.iter().copied().filter(|&i| part_of[i] == Some(k)).collect();
    Ok((0..fractions.len()).map(part).collect())
}

/// `per_class` rows of every class that occurs, chosen by seed, class after class.
///
/// # Errors
/// If a class has fewer rows.
pub fn labelled_subset(labels: &[Option<u32>], per_class: usize, seed: Seed) -> Result<Vec<usize>> {
    first_of_classes(&permutation(labels.len(), seed), labels, per_class)
}

/// The first `per_class` rows of every class in the given order, class after class.
pub(crate) fn first_of_classes(
    order: &[usize],
    labels: &[Option<u32>],
    per_class: usize,
) -> Result<Vec<usize>> {
    let mut chosen = Vec::new();
    for class in classes(labels).into_iter().flatten() {
        let before = chosen.len();
        let rows = order.iter().copied().filter(|&i| labels[i] == Some(class));
        chosen.extend(rows.take(per_class));
        let got = chosen.len() - before;
        if got < per_class {
            let reason = format!("{per_class} asked for, class {class} has {got} rows");
            return Err(Error::argument("labels per class", reason));
        }
    }
    Ok(chosen)
}

/// The different labels in order, `None` first.
fn classes(labels: &[Option<u32>]) -> Vec<Option<u32>> {
    let mut classes = labels.to_vec();
    classes.sort_unstable();
    classes.dedup();
    classes
}

fn cut(n: usize, fractions: &[f64]) -> Result<Vec<Range<usize>>> {
    let sum: f64 = fractions.iter().sum();
    // Rounding of sums such as 0.7 + 0.2 + 0.1 is forgiven.
    if !fractions.iter().all(|f| (0.0..=1.0).contains(f)) || sum > 1.0 + 1e-9 {
        let reason = format!("{fractions:?} must be in [0, 1] and add up to at most 1");
        return Err(Error::argument("split fractions", reason));
    }
    let (mut start, mut share) = (0, 0.0);
    let ranges = fractions.iter().map(|fraction| {
        share += fraction;
        let end = ((n as f64 * share).round() as usize).clamp(start, n);
        let range = start..end;
        start = end;
        range
    });
    Ok(ranges.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(parts: &[Vec<usize>]) -> Vec<usize> {
        let mut all = parts.concat();
        all.sort_unstable();
        all
    }

    #[test]
    fn random_parts_have_their_sizes_and_share_nothing() {
        let parts = random_split(103, &[0.7, 0.2, 0.1], Seed::new(1)).unwrap();
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [72, 21, 10]);
        assert_eq!(sorted(&parts), (0..103).collect::<Vec<_>>());
        assert_eq!(parts, random_split(103, &[0.7, 0.2, 0.1], Seed::new(1)).unwrap());
        assert_ne!(parts, random_split(103, &[0.7, 0.2, 0.1], Seed::new(2)).unwrap());
        assert_eq!(random_split(10, &[0.5], Seed::new(1)).unwrap()[0].len(), 5);
        for bad in [&[0.7, 0.4][..], &[-0.1], &[f64::NAN]] {
            assert!(random_split(10, bad, Seed::new(1)).is_err());
        }
    }

    #[test]
    fn contiguous_parts_follow_each_other() {
        assert_eq!(contiguous_split(10, &[4, 0, 5]).unwrap(), [0..4, 4..4, 4..9]);
        assert!(contiguous_split(10, &[4, 7]).is_err());
        assert!(contiguous_split(10, &[4, usize::MAX]).is_err());
    }

    fn labels() -> Vec<Option<u32>> {
        (0..200).map(|i| [Some(0), Some(0), Some(1), Some(0), None][i % 5]).collect()
    }

    #[test]
    fn stratified_parts_keep_the_shares_of_the_classes() {
        let labels = labels();
        let parts = stratified_split(&labels, &[0.75, 0.25], Seed::new(3)).unwrap();
        let count = |part: &[usize], class| part.iter().filter(|&&i| labels[i] == class).count();
        for (class, n) in [(Some(0), 120), (Some(1), 40), (None, 40)] {
            assert_eq!(count(&parts[0], class), n * 3 / 4);
            assert_eq!(count(&parts[1], class), n / 4);
        }
        assert_eq!(sorted(&parts), (0..200).collect::<Vec<_>>());
        assert!(!parts[0].is_sorted());
    }

    #[test]
    fn a_labelled_subset_has_as_many_rows_of_each_class() {
        let labels = labels();
        let rows = labelled_subset(&labels, 10, Seed::new(4)).unwrap();
        assert_eq!(rows.len(), 20);
        assert!(rows[..10].iter().all(|&i| labels[i] == Some(0)));
        assert!(rows[10..].iter().all(|&i| labels[i] == Some(1)));
        assert_eq!(sorted(&[rows]).windows(2).filter(|w| w[0] == w[1]).count(), 0);
        assert!(labelled_subset(&labels, 41, Seed::new(4)).is_err());
    }
}
