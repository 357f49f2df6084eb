//! The rules by which VERA's code leaves out columns of a table.

use crate::{
    error::Result,
    table::{Standardiser, Table},
};

/// A column is discrete if its smallest value occurs more often than this.
const MOST_REPEATS: u64 = 5;

/// A column is left out if its covariance with an earlier one is larger.
const LARGEST_COVARIANCE: f64 = 1.01;

/// The smallest value of every column and how often it occurs, row by row.
#[derive(Clone, Debug)]
pub(crate) struct SmallestValues(Vec<(f64, u64)>);

impl SmallestValues {
    pub(crate) fn new(columns: usize) -> Self {
        Self(vec![(f64::INFINITY, 0); columns])
    }

    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = f64>) {
        for (value, (smallest, count)) in row.into_iter().zip(&mut self.0) {
            if value < *smallest {
                (*smallest, *count) = (value, 1);
            } else if value <= *smallest {
                *count += 1;
            }
        }
    }

    pub(crate) fn discrete(&self) -> Vec<usize> {
        (0..self.0.len()).filter(|&j| self.0[j].1 > MOST_REPEATS).collect()
    }
}

/// Numbers of the columns whose smallest value occurs more than five times.
///
/// The paper leaves out columns in which "a value repeats more than five times"; its code looks at
/// the smallest value only, and that gives the published 15 columns of HEPMASS and 523 of HUMAN.
pub fn discrete_columns(table: &Table) -> Vec<usize> {
    let mut smallest = SmallestValues::new(table.dim());
    (0..table.len()).for_each(|i| smallest.push(table.row(i).iter().map(|&v| f64::from(v))));
    smallest.discrete()
}

/// Numbers of the columns `j` for which an earlier `i` has `|cov(i, j)| > 1.01`, covariances of the
/// standardised columns with the divisor `n - 1`: VERA's rule for CROP.
///
/// By the inequality of Cauchy and Schwarz no covariance exceeds `n / (n - 1)`: from 102 rows on no
/// column is left out.
///
/// # Errors
/// If the table has no rows.
pub fn correlated_columns(table: &Table) -> Result<Vec<usize>> {
    let n = table.len();
    // Rounding is far below the distance from the threshold.
    if n > 110 {
        return Ok(Vec::new());
    }
    let all: Vec<usize> = (0..n).collect();
    let Standardiser { mean, std } = Standardiser::fit(table, &all)?;
    let score = |row: usize, j: usize| (f64::from(table.row(row)[j]) - mean[j]) / std[j];
    let covariance =
        |i, j| (0..n).map(|row| score(row, i) * score(row, j)).sum::<f64>() / (n as f64 - 1.0);
    let follows = |j: &usize| (0..*j).any(|i| covariance(i, *j).abs() > LARGEST_COVARIANCE);
    Ok((0..table.dim()).filter(follows).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[Vec<f32>]) -> Table {
        let n = columns[0].len();
        let names = (0..columns.len()).map(|j| format!("x{j}")).collect();
        let features = (0..n).flat_map(|i| columns.iter().map(move |column| column[i])).collect();
        Table::new("t", names, features, vec![None; n], vec![]).unwrap()
    }

    #[test]
    fn only_repeats_of_the_smallest_value_make_a_column_discrete() {
        let five = vec![0.0, 1.0, 0.0, 2.0, 0.0, 0.0, 3.0, 0.0];
        let six = vec![9.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, 8.0];
        let largest = vec![0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        // A smaller value late starts the count again.
        let late = vec![1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0];
        let zeros = vec![0.0, -0.0, 0.0, -0.0, 0.0, -0.0, 1.0, 1.0];
        assert_eq!(discrete_columns(&table(&[five, six, largest, late, zeros])), [1, 4]);
    }

    #[test]
    fn equal_columns_of_few_rows_are_correlated_and_of_many_are_not() {
        let columns = |n: usize| {
            let first: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let minus = first.iter().map(|v| 3.0 - 2.0 * v).collect();
            let other = (0..n).map(|i| (i % 2) as f32).collect();
            table(&[first, minus, other, vec![5.0; n]])
        };
        // |cov| of the first two is n / (n - 1): 1.0101 at 100, 1.0099 at 102.
        assert_eq!(correlated_columns(&columns(20)).unwrap(), [1]);
        assert_eq!(correlated_columns(&columns(100)).unwrap(), [1]);
        assert_eq!(correlated_columns(&columns(102)).unwrap(), [0_usize; 0]);
        assert_eq!(correlated_columns(&columns(1000)).unwrap(), [0_usize; 0]);
        assert!(correlated_columns(&columns(0)).is_err());
    }
}
