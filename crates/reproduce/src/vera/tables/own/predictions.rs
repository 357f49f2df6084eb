//! `predictions.csv`: what the model says of every row of the file.

use std::{fmt::Write, path::Path};

use super::prepare::Own;
use crate::{error::Result, results::write_atomic, vera::scores::Scores};

/// The file's name in a run directory.
pub(super) const FILE: &str = "predictions.csv";

/// Writes one line a row, in the order of the file.
pub(super) fn write(path: &Path, own: &Own, scores: &Scores) -> Result<()> {
    let classes = &own.table.classes;
    let mut header = vec!["row".into(), "use".into(), own.card.label.clone(), "predicted".into()];
    header.extend(classes.iter().map(|class| format!("probability of {class}")));
    header.push("log density".into());
    let mut text = line(&header);
    for (i, (class, _)) in scores.answers().into_iter().enumerate() {
        let label = own.table.labels[i].map(|label| classes[label as usize].clone());
        let mut cells = vec![
            (i + 1).to_string(),
            own.uses[i].word().to_owned(),
            label.unwrap_or_default(),
            classes[class].clone(),
        ];
        cells.extend(scores.probabilities.row(i).iter().map(|p| format!("{p:.6}")));
        cells.push(format!("{:.5}", scores.log_density[i]));
        text += &line(&cells);
    }
    write_atomic(path, text.as_bytes())
}

/// A line of CSV; cells are quoted where they must be.
pub(crate) fn line(cells: &[String]) -> String {
    let mut text = String::new();
    for (i, cell) in cells.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        if cell.contains([',', '"', '\n', '\r']) || cell.trim() != cell {
            // Writing to a string does not fail.
            write!(text, "\"{}\"", cell.replace('"', "\"\"")).ok();
        } else {
            text += cell;
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let cells = ["a", "b,c", "say \"x\"", " d"].map(String::from);
        assert_eq!(line(&cells), "a,\"b,c\",\"say \"\"x\"\"\",\" d\"\n");
    }
}
