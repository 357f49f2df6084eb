use super::*;
use crate::{
    plots::{Plot, Series},
    sheet::{Sheet, save_png},
};

const NASTY: &str = "<script>alert('x')</script> & \"a|b\" *c* _d_ [e](f) `g` \\";

fn results() -> Results {
    Results {
        paper: "infusion".into(),
        experiment: "mnist-likelihood".into(),
        anchor: "Table 2".into(),
        scale: "quick".into(),
        seed: 0,
        metrics: vec![
            Metric::new("lower_bound_test", 1093.2417, "nats")
                .std_error(1.1)
                .n(1000)
                .published(1350.598)
                .setting("k", 100)
                .setting("network", "fc"),
            Metric::new("modes", 25.0, ""),
        ],
        checks: vec![
            Check::at_most("bound <= estimate", 1093.2, 1310.7),
            Check::new("b", false, ""),
        ],
        wall_s: 412.0,
        peak_rss_mb: 640,
    }
}

/// A run directory with a plot and a sheet, and a report that uses every block.
fn sample(dir: &Path, text: &str) -> Report {
    std::fs::create_dir_all(dir.join("plots")).unwrap();
    std::fs::create_dir_all(dir.join("samples")).unwrap();
    let mut plot = Plot::new(text, text, text);
    plot.series(Series::line(text, [(0.0, 1.0), (1.0, 2.0)]));
    plot.save(&dir.join("plots/a.svg")).unwrap();
    save_png(&Sheet::new(1, 2, 2).render(&[0.5; 4]).unwrap(), &dir.join("samples/a.png")).unwrap();
    let mut table = Table::new([(text, Align::Left), (text, Align::Centre), (text, Align::Right)]);
    table.row([Cell::from(text), Cell::bold(text)]);
    let mut config = toml::Table::new();
    config.insert(
        "net".into(),
        toml::Value::Table(toml::Table::from_iter([("width".into(), 64.into())])),
    );
    config.insert("name".into(), text.into());
    let mut report = Report::new(text);
    report.heading(text).subheading(text).paragraph(text).table(table);
    report.plot("plots/a.svg", text).sheet("samples/a.png", text);
    report.checks(&[Check::new(text, false, text)]).settings(&config).results(&results());
    report
}

#[test]
fn html_has_no_unescaped_input_and_no_external_resource() {
    let dir = tempfile::tempdir().unwrap();
    let html = sample(dir.path(), NASTY).to_html(dir.path()).unwrap();
    assert!(!html.contains("<script") && !html.contains("alert('x')"));
    assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;a|b&quot;"));
    let without_namespace = html.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http:", "https:", "src=\"/", "href", "@import", "url("] {
        assert!(!without_namespace.contains(outside), "{outside}");
    }
    assert_eq!(html.matches("data:image/png;base64,iVBORw0KGgo").count(), 1);
    assert_eq!(html.matches("<svg").count(), 1);
}

#[test]
fn html_closes_what_it_opens() {
    let dir = tempfile::tempdir().unwrap();
    let html = sample(dir.path(), NASTY).to_html(dir.path()).unwrap();
    let mut open: Vec<&str> = Vec::new();
    let style = html.find("</style>").unwrap();
    for tag in html[style..].split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        let name = tag.trim_start_matches('/').split_whitespace().next().unwrap();
        if let Some(closed) = tag.strip_prefix('/') {
            if !["style", "head", "body", "html"].contains(&closed) || open.last() == Some(&closed)
            {
                assert!(
                    matches!(open.pop(), Some(last) if last == closed) || closed == "style",
                    "{tag}"
                );
            }
        } else if !tag.ends_with('/') && !["img", "meta"].contains(&name) {
            open.push(name);
        }
    }
    assert!(open.iter().all(|name| ["html", "head"].contains(name)), "{open:?}");
}

#[test]
fn markdown_tables_are_well_formed_whatever_is_in_them() {
    let dir = tempfile::tempdir().unwrap();
    let text = sample(dir.path(), NASTY).to_markdown();
    // Bars that are not escaped, counted on every line of a table.
    let bars = |line: &str| line.replace("\\\\", "").replace("\\|", "").matches('|').count();
    let mut tables = 0;
    let lines: Vec<_> = text.lines().collect();
    for (i, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("| :")) {
        tables += 1;
        let columns = bars(line);
        assert!(lines[i - 2].is_empty(), "a table needs a blank line before it");
        assert_eq!(bars(lines[i - 1]), columns);
        for row in lines[i + 1..].iter().take_while(|row| row.starts_with('|')) {
            assert_eq!(bars(row), columns, "{row}");
        }
    }
    assert_eq!(tables, 3);
    assert!(
        text.contains("![") && text.contains("](plots/a.svg)") && text.contains("](samples/a.png)")
    );
    assert!(!text.contains("<script") && text.contains("\\*c\\*") && text.contains("\\_d\\_"));
    assert!(text.contains("| :-- | :-: | --: |"));
}

#[test]
fn line_beginnings_and_links_stay_plain() {
    let mut report = Report::new("- not a list");
    report.paragraph("1. one\n2. two").paragraph("---").sheet("samples/a b(1).png", "");
    let text = report.to_markdown();
    assert!(text.contains("# \\- not a list\n\n1\\. one 2. two\n\n\\---\n"), "{text}");
    assert!(text.contains("](samples/a%20b%281%29.png)"), "{text}");
}

#[test]
fn metrics_stand_beside_the_published_numbers() {
    let mut report = Report::new("t");
    report.results(&results());
    let text = report.to_markdown();
    let expected = "\
| metric | ours | published | n | settings |
| :-- | --: | --: | --: | :-- |
| lower\\_bound\\_test (nats) | **1093.2 ± 1.1** | 1350.598 | 1000 | k = 100, network = fc |
| modes | **25** |  |  |  |
";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("seed 0: 6.9 min, at most 640 MiB of memory."));
    assert!(
        text.contains("- passed: bound &lt;= estimate (1093.2 &lt;= 1310.7)\n- **FAILED**: b\n")
    );
    let bare = Table::of_metrics(&[Metric::new("a", 1.0, "")]);
    assert_eq!(bare.columns.len(), 2, "columns that would be empty are left out");
}

#[test]
fn a_long_setting_of_several_metrics_is_a_note() {
    let text = "grey bytes / 255; 28x28 as they are, never resized";
    let metric = |name: &str, k: u64| {
        let mut metric = Metric::new(name, 1.0, "");
        metric.settings.insert("k".into(), k.into());
        metric.settings.insert("preprocessing".into(), text.into());
        metric
    };
    let metrics = [metric("a", 1), metric("b", 2), metric("c", 2)];
    let mut report = Report::new("t");
    report.results(&Results { metrics: metrics.to_vec(), ..results() });
    let shown = report.to_markdown();
    assert_eq!(shown.matches("never resized").count(), 1, "{shown}");
    assert_eq!(shown.matches("note 1").count(), 3, "{shown}");
    assert!(shown.contains("Note 1: preprocessing = grey bytes"), "{shown}");
    assert!(shown.contains("k = 2, note 1"), "{shown}");
    // Of two metrics it stays where it is.
    assert!(Table::notes(&metrics[..2]).is_empty());
}

#[test]
fn long_rows_widen_the_table() {
    let mut table = Table::new([("a", Align::Left)]);
    table.row(["1"]).row(["1", "2"]);
    assert_eq!(table.columns.len(), 2);
    assert!(table.rows.iter().all(|row| row.len() == 2));
}

#[test]
fn a_missing_or_foreign_picture_is_an_error_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut report = Report::new("t");
    report.plot("plots/none.svg", "");
    assert!(report.write(dir.path()).unwrap_err().to_string().contains("none.svg"));
    for (name, contents) in
        [("a.svg", "<svg><script/></svg>"), ("b.svg", "text"), ("c.png", "text")]
    {
        std::fs::write(dir.path().join(name), contents).unwrap();
        let mut report = Report::new("t");
        if name.ends_with("svg") {
            report.plot(name, "")
        } else {
            report.sheet(name, "")
        };
        let message = report.to_html(dir.path()).unwrap_err().to_string();
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn both_files_are_written() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path(), "plain").write(dir.path()).unwrap();
    let html = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("net.width"));
    assert!(dir.path().join("report.md").exists());
}
