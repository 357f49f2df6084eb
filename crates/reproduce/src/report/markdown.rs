//! `report.md`.

use super::{Align, Block, Cell, Report, Table};

pub(super) fn render(report: &Report) -> String {
    let mut out = format!("# {}\n", escape(&report.title));
    for block in &report.blocks {
        out.push('\n');
        match block {
            Block::Heading(text) => out += &format!("## {}\n", escape(text)),
            Block::Subheading(text) => out += &format!("### {}\n", escape(text)),
            Block::Paragraph(text) => out += &format!("{}\n", escape(text)),
            Block::Table(table) => out += &table_lines(table),
            Block::Plot(path, caption) | Block::Sheet(path, caption) => {
                let caption = escape(caption);
                out += &format!("![{caption}]({})\n\n{caption}\n", link(&path.to_string_lossy()));
            }
            Block::Checks(checks) => {
                for check in checks {
                    let word = if check.passed { "passed" } else { "**FAILED**" };
                    out += &format!("- {word}: {}", escape(&check.name));
                    if !check.detail.is_empty() {
                        out += &format!(" ({})", escape(&check.detail));
                    }
                    out.push('\n');
                }
            }
            Block::Settings(pairs) => {
                let mut table = Table::new([("setting", Align::Left), ("value", Align::Left)]);
                for (key, value) in pairs {
                    table.row([key.as_str(), value.as_str()]);
                }
                out += &table_lines(&table);
            }
        }
    }
    out
}

fn table_lines(table: &Table) -> String {
    let names = table.columns.iter().map(|(name, _)| escape(name));
    let rules = table.columns.iter().map(|(_, align)| match align {
        Align::Left => ":--".to_owned(),
        Align::Centre => ":-:".to_owned(),
        Align::Right => "--:".to_owned(),
    });
    let mut out = line(names) + &line(rules);
    for row in &table.rows {
        out += &line(row.iter().map(cell));
    }
    out
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

fn cell(cell: &Cell) -> String {
    let text = escape(&cell.text);
    if cell.bold && !text.is_empty() { format!("**{text}**") } else { text }
}

/// Plain text on one line that Markdown reads as plain text, in a table as well.
fn escape(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '$' | '!' => {
                out.extend(['\\', c])
            }
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    // Marks that mean a list or a rule at the beginning of a line only.
    let (first, rest) = out.split_once(' ').unwrap_or((&out, ""));
    let digits = first.bytes().take_while(u8::is_ascii_digit).count();
    let numbered = digits > 0 && matches!(&first[digits..], "." | ")");
    let rule = rest.is_empty() && first.bytes().all(|b| b == b'-');
    if numbered {
        out.insert(digits, '\\');
    } else if matches!(first, "-" | "+") || (rule && !first.is_empty()) {
        out.insert(0, '\\');
    }
    out
}

/// A relative link: everything but plain characters percent-encoded, separators forward.
fn link(path: &str) -> String {
    let mut out = String::new();
    for byte in path.replace(std::path::MAIN_SEPARATOR, "/").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => {
                out.push(byte as char)
            }
            other => out += &format!("%{other:02X}"),
        }
    }
    out
}
