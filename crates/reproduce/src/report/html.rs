//! `report.html`: one file, no scripts, nothing fetched.

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Align, Block, Cell, Report, Table};
use crate::{
    error::{Error, Result},
    results::Check,
};

const STYLE: &str = include_str!("style.css");

pub(super) fn render(report: &Report, dir: &Path) -> Result<String> {
    let title = escape(&report.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    for block in &report.blocks {
        match block {
            Block::Heading(text) => out += &format!("<h2>{}</h2>\n", escape(text)),
            Block::Subheading(text) => out += &format!("<h3>{}</h3>\n", escape(text)),
            Block::Paragraph(text) => out += &format!("<p>{}</p>\n", marked(text)),
            Block::Table(table) => out += &table_html(table),
            Block::Plot(path, caption) => out += &figure(&svg(&dir.join(path))?, caption),
            Block::Sheet(path, caption) => out += &figure(&png(&dir.join(path), caption)?, caption),
            Block::Checks(checks) => out += &checks_html(checks),
            Block::Settings(pairs) => {
                out += "<dl class=\"settings\">\n";
                for (key, value) in pairs {
                    out +=
                        &format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(key), escape(value));
                }
                out += "</dl>\n";
            }
        }
    }
    out += "</main>\n</body>\n</html>\n";
    Ok(out)
}

/// Bytes of a number that stands in one line.
const LONG: usize = 24;

fn table_html(table: &Table) -> String {
    let class = |column: usize| match table.columns[column].1 {
        Align::Left => "",
        Align::Centre => " class=\"centre\"",
        Align::Right => " class=\"right\"",
    };
    let mut out = "<div class=\"wide\"><table>\n<thead><tr>".to_owned();
    for (column, (name, _)) in table.columns.iter().enumerate() {
        out += &format!("<th scope=\"col\"{}>{}</th>", class(column), escape(name));
    }
    out += "</tr></thead>\n<tbody>\n";
    for row in &table.rows {
        out += "<tr>";
        for (column, Cell { text, bold }) in row.iter().enumerate() {
            let mut text = escape(text);
            // A list of seeds has a line of its own: columns of them would not fit beside each other.
            if table.columns[column].1 == Align::Right && text.len() > LONG {
                text = text.replacen(" (", "<br>(", 1);
            }
            let text = if *bold { format!("<strong>{text}</strong>") } else { text };
            out += &format!("<td{}>{text}</td>", class(column));
        }
        out += "</tr>\n";
    }
    out + "</tbody>\n</table></div>\n"
}

fn checks_html(checks: &[Check]) -> String {
    let mut out = "<ul class=\"checks\">\n".to_owned();
    for Check { name, passed, detail } in checks {
        let (class, word) = if *passed { ("passed", "passed") } else { ("failed", "failed") };
        let (name, detail) = (marked(name), escape(detail));
        out += &format!(
            "<li><span class=\"{class}\">{word}</span> {name} <code>{detail}</code></li>\n"
        );
    }
    out + "</ul>\n"
}

fn figure(picture: &str, caption: &str) -> String {
    format!("<figure>\n{picture}\n<figcaption>{}</figcaption>\n</figure>\n", marked(caption))
}

/// A plot as it stands in its file, after a look that it is one.
fn svg(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
    let start = text.find("<svg").ok_or_else(|| Error::format(path, "is not an SVG document"))?;
    // Plots are drawn by this crate and have neither; anything else is not put into a page.
    let lower = text.to_ascii_lowercase();
    if lower.contains("<script") || lower.contains("<foreignobject") {
        return Err(Error::format(
            path,
            "holds a script or foreign object; only plain SVG is embedded",
        ));
    }
    Ok(text[start..].trim_end().to_owned())
}

fn png(path: &Path, caption: &str) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Err(Error::format(path, "byte 0: the signature of a PNG file is missing"));
    }
    let (alt, data) = (escape(caption), STANDARD.encode(bytes));
    Ok(format!("<img alt=\"{alt}\" src=\"data:image/png;base64,{data}\">"))
}

/// Text in which what stands between backquotes is code, as in Markdown.
fn marked(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    // Of an odd number of quotes the last is a mark like others.
    let last = parts.len() - 1;
    let part = |(at, part): (usize, &&str)| match at % 2 {
        1 if at < last => format!("<code>{}</code>", escape(part)),
        1 => format!("`{}", escape(part)),
        _ => escape(part),
    };
    parts.iter().enumerate().map(part).collect()
}

/// Text that HTML reads as text, between tags and inside double quotes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
