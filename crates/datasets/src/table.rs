//! Tables of numbers with labels.

use candle_core::{Device, Tensor};

use crate::error::{Error, Result};

/// Rows of features with at most one label each.
///
/// Fields are public to be read; [`Table::new`] checks what they promise together.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Name for reports.
    pub name: String,
    /// Names of the features, `x3=A34` for the value `A34` of the categorical column `x3`.
    pub columns: Vec<String>,
    /// Features `(n, d)`, row after row.
    pub features: Vec<f32>,
    /// Class of each row, `None` if it is not labelled.
    pub labels: Vec<Option<u32>>,
    /// Names of the classes in the order of their numbers.
    pub classes: Vec<String>,
}

impl Table {
    /// A table from finished parts.
    ///
    /// # Errors
    /// If there are no columns, the features are not one row for each label, or a label has no class.
    pub fn new(
        name: impl Into<String>,
        columns: Vec<String>,
        features: Vec<f32>,
        labels: Vec<Option<u32>>,
        classes: Vec<String>,
    ) -> Result<Self> {
        if columns.is_empty() || columns.len().checked_mul(labels.len()) != Some(features.len()) {
            let reason = format!(
                "{} numbers are not {} rows of {} columns",
                features.len(),
                labels.len(),
                columns.len()
            );
            return Err(Error::argument("table features", reason));
        }
        if let Some(label) = labels.iter().flatten().find(|&&l| l as usize >= classes.len()) {
            let reason = format!("label {label} has no name, there are {}", classes.len());
            return Err(Error::argument("table labels", reason));
        }
        Ok(Self { name: name.into(), columns, features, labels, classes })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Is there no row?
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Number of features, `d`.
    pub fn dim(&self) -> usize {
        self.columns.len()
    }

    /// Features `(d,)` of one row.
    ///
    /// # Panics
    /// If `index` is not below [`Table::len`], like a slice.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.features[index * self.dim()..(index + 1) * self.dim()]
    }

    /// The rows with these numbers, in this order; repetitions are kept.
    ///
    /// # Panics
    /// If an index is not below [`Table::len`], like a slice.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            name: self.name.clone(),
            columns: self.columns.clone(),
            features: self.gather(indices),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
            classes: self.classes.clone(),
        }
    }

    /// Numbers of the rows that have a label: those that can be scored.
    pub fn labelled_rows(&self) -> Vec<usize> {
        (0..self.len()).filter(|&i| self.labels[i].is_some()).collect()
    }

    /// The table without the columns in which all rows agree.
    #[must_use]
    pub fn without_constant_columns(&self) -> Self {
        let value = |i: usize, j: usize| self.features[i * self.dim() + j].to_bits();
        let constant = |j: &usize| (1..self.len()).all(|i| value(i, *j) == value(0, *j));
        let dropped: Vec<usize> = (0..self.dim()).filter(constant).collect();
        self.clone().drop_columns(&dropped)
    }

    /// The table without the columns of these numbers, in any order; no second copy is made.
    #[must_use]
    pub fn drop_columns(mut self, dropped: &[usize]) -> Self {
        let kept: Vec<usize> = (0..self.dim()).filter(|j| !dropped.contains(j)).collect();
        if kept.len() == self.dim() {
            return self;
        }
        let (dim, mut end) = (self.dim(), 0);
        for start in (0..self.len()).map(|i| i * dim) {
            for &j in &kept {
                self.features[end] = self.features[start + j];
                end += 1;
            }
        }
        self.features.truncate(end);
        self.features.shrink_to_fit();
        self.columns = kept.iter().map(|&j| std::mem::take(&mut self.columns[j])).collect();
        self
    }

    /// Cuts the table in two; the part from row `at` on is returned.
    ///
    /// # Panics
    /// If `at` is beyond [`Table::len`], like a vector.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        Self {
            name: self.name.clone(),
            columns: self.columns.clone(),
            features: self.features.split_off(at * self.dim()),
            labels: self.labels.split_off(at),
            classes: self.classes.clone(),
        }
    }

    /// The rows with these numbers as a tensor on the CPU.
    ///
    /// # Shapes
    /// `(b, d)`.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    ///
    /// # Panics
    /// If an index is not below [`Table::len`], like a slice.
    pub fn tensor(&self, indices: &[usize]) -> Result<Tensor> {
        let shape = (indices.len(), self.dim());
        Ok(Tensor::from_vec(self.gather(indices), shape, &Device::Cpu)?)
    }

    fn gather(&self, indices: &[usize]) -> Vec<f32> {
        let mut values = Vec::with_capacity(indices.len() * self.dim());
        indices.iter().for_each(|&index| values.extend_from_slice(self.row(index)));
        values
    }
}

/// Shift and scale that give every column mean 0 and variance 1 on the rows it was fitted to.
#[derive(Clone, Debug, PartialEq)]
pub struct Standardiser {
    /// Mean of each column.
    pub mean: Vec<f64>,
    /// Population standard deviation of each column, 1 if the column is constant.
    pub std: Vec<f64>,
}

impl Standardiser {
    /// Fits mean and standard deviation on some rows of a table, in f64; fit on training rows only.
    ///
    /// # Errors
    /// If there are no rows.
    ///
    /// # Panics
    /// If an index is not below [`Table::len`], like a slice.
    pub fn fit(table: &Table, rows: &[usize]) -> Result<Self> {
        if rows.is_empty() {
            return Err(Error::argument("standardiser", "no rows to fit to"));
        }
        let n = rows.len() as f64;
        let column = |j: usize| rows.iter().map(move |&i| f64::from(table.row(i)[j]));
        let mean: Vec<f64> = (0..table.dim()).map(|j| column(j).sum::<f64>() / n).collect();
        let std = (0..table.dim())
            .map(|j| {
                let first = table.row(rows[0])[j].to_bits();
                if rows.iter().all(|&i| table.row(i)[j].to_bits() == first) {
                    return 1.0;
                }
                let std = (column(j).map(|v| (v - mean[j]).powi(2)).sum::<f64>() / n).sqrt();
                if std > 0.0 { std } else { 1.0 }
            })
            .collect();
        Ok(Self { mean, std })
    }

    /// The table with every feature replaced by `(value - mean) / std`.
    ///
    /// # Errors
    /// If the table has another number of columns than the one fitted to.
    pub fn apply(&self, table: &Table) -> Result<Table> {
        let mut table = table.clone();
        self.apply_in_place(&mut table)?;
        Ok(table)
    }

    /// As [`Standardiser::apply`], without a copy.
    ///
    /// # Errors
    /// As [`Standardiser::apply`]; the table is unchanged then.
    pub fn apply_in_place(&self, table: &mut Table) -> Result<()> {
        if self.mean.len() != table.dim() || self.std.len() != table.dim() {
            let reason = format!("fitted to {} columns, got {}", self.mean.len(), table.dim());
            return Err(Error::argument("standardiser", reason));
        }
        for row in table.features.chunks_exact_mut(self.mean.len().max(1)) {
            for (value, (mean, std)) in row.iter_mut().zip(self.mean.iter().zip(&self.std)) {
                *value = ((f64::from(*value) - mean) / std) as f32;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let columns = ["a", "b", "c"].map(String::from).to_vec();
        let features = vec![1.0, 0.1, 5.0, 2.0, 0.1, 7.0, 6.0, 0.1, 9.0];
        let classes = vec!["n".into(), "y".into()];
        Table::new("t", columns, features, vec![Some(1), None, Some(0)], classes).unwrap()
    }

    #[test]
    fn rows_columns_and_labels_go_together() {
        let table = table();
        assert_eq!((table.len(), table.dim()), (3, 3));
        let picked = table.select(&[2, 0]);
        assert_eq!((picked.row(0), picked.labels[0]), (&[6.0, 0.1, 9.0][..], Some(0)));
        let x = table.tensor(&[1]).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(x, [[2.0, 0.1, 7.0]]);
        let kept = table.without_constant_columns();
        assert_eq!(kept.columns, ["a", "c"]);
        assert_eq!(kept.features, [1.0, 5.0, 2.0, 7.0, 6.0, 9.0]);
        assert_eq!(table.clone().drop_columns(&[1, 7]), kept);
        assert_eq!(table.clone().drop_columns(&[]), table);
        assert_eq!(table.labelled_rows(), [0, 2]);
        let mut head = table.clone();
        let tail = head.split_off(1);
        assert_eq!((head, tail), (table.select(&[0]), table.select(&[1, 2])));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let columns = vec!["a".to_owned()];
        let new = |features, labels| Table::new("t", columns.clone(), features, labels, vec![]);
        assert!(new(vec![1.0], vec![None]).is_ok());
        assert!(new(vec![1.0, 2.0], vec![None]).is_err());
        assert!(new(vec![1.0], vec![Some(0)]).is_err());
        assert!(Table::new("t", vec![], vec![], vec![], vec![]).is_err());
    }

    #[test]
    fn standardiser_uses_the_fitted_rows_only_and_leaves_constants_at_zero() {
        let table = table();
        let fit = Standardiser::fit(&table, &[0, 1]).unwrap();
        // Column a: 1 and 2, population standard deviation 1/2.
        assert!((fit.mean[0] - 1.5).abs() < 1e-12 && (fit.std[0] - 0.5).abs() < 1e-12);
        assert!((fit.std[1] - 1.0).abs() < 1e-12);
        let out = fit.apply(&table).unwrap();
        assert_eq!(out.features, [-1.0, 0.0, -1.0, 1.0, 0.0, 1.0, 9.0, 0.0, 3.0]);
        assert!(Standardiser::fit(&table, &[]).is_err());
        assert!(fit.apply(&table.without_constant_columns()).is_err());
    }
}
