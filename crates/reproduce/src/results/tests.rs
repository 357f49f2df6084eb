use super::*;

/// The example of the command-line contract, as it stands there.
const CONTRACT: &str = r#"
{ "paper": "infusion", "experiment": "mnist-likelihood", "anchor": "Table 2", "scale": "quick", "seed": 0,
  "metrics": [ { "name": "lower_bound_test", "value": 1093.2, "std_error": 1.1, "unit": "nats", "n": 1000,
                 "published": 1350.598, "settings": { "k": 100 } } ],
  "checks": [ { "name": "lower bound <= importance-sampled estimate", "passed": true, "detail": "1093.2 <= 1310.7" } ],
  "wall_s": 412.0, "peak_rss_mb": 640 }
"#;

fn example() -> Results {
    Results {
        paper: "infusion".into(),
        experiment: "mnist-likelihood".into(),
        anchor: "Table 2".into(),
        scale: "quick".into(),
        seed: 0,
        metrics: vec![
            Metric::new("lower_bound_test", 1093.2, "nats")
                .std_error(1.1)
                .n(1000)
                .published(1350.598)
                .setting("k", 100),
        ],
        checks: vec![Check::at_most("lower bound <= importance-sampled estimate", 1093.2, 1310.7)],
        wall_s: 412.0,
        peak_rss_mb: 640,
    }
}

/// Without the blanks between tokens; those inside strings stay.
fn compact(json: &str) -> String {
    let mut inside = false;
    let keep = |c: &char| {
        inside ^= *c == '"';
        inside || !c.is_whitespace()
    };
    json.chars().filter(keep).collect()
}

#[test]
fn json_is_that_of_the_contract_token_by_token() {
    assert_eq!(serde_json::to_string(&example()).unwrap(), compact(CONTRACT));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results.json");
    example().save(&path).unwrap();
    assert_eq!(compact(&std::fs::read_to_string(&path).unwrap()), compact(CONTRACT));
    std::fs::write(&path, CONTRACT).unwrap();
    assert_eq!(Results::load(&path).unwrap(), example());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
}

#[test]
fn absent_fields_are_left_out_and_come_back_absent() {
    let metric = Metric::new("modes", 25.0, "");
    let json = serde_json::to_string(&metric).unwrap();
    assert_eq!(json, r#"{"name":"modes","value":25.0,"unit":"","settings":{}}"#);
    assert_eq!(serde_json::from_str::<Metric>(&json).unwrap(), metric);
}

#[test]
fn metrics_alone_make_the_file_of_an_evaluation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.json");
    save_metrics(&path, &[Metric::new("fid", 12.5, "").n(100)]).unwrap();
    let text = compact(&std::fs::read_to_string(&path).unwrap());
    assert_eq!(
        text,
        r#"{"metrics":[{"name":"fid","value":12.5,"unit":"","n":100,"settings":{}}]}"#
    );
}

#[test]
fn non_finite_numbers_are_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results.json");
    let broken = [
        Metric::new("a", f64::NAN, ""),
        Metric::new("a", 1.0, "").std_error(f64::INFINITY),
        Metric::new("a", 1.0, "").published(f64::NEG_INFINITY),
        Metric::new("a", 1.0, "").setting("rate", f64::NAN),
        Metric::new("a", 1.0, "").setting("rates", vec![1.0, f64::NAN]),
    ];
    for metric in broken {
        let error = Results { metrics: vec![metric], ..example() }.save(&path).unwrap_err();
        assert!(matches!(error, Error::NonFinite { .. }), "{error}");
        assert!(error.to_string().contains("metric `a`"), "{error}");
        assert_eq!(error.exit_status(), 3);
    }
    assert!(Results { wall_s: f64::NAN, ..example() }.save(&path).is_err());
    assert!(!path.exists());
}

#[test]
fn a_foreign_file_is_an_error_that_names_file_and_field() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results.json");
    for (old, new, expected) in [
        ("1093.2,", "null,", "field `metrics[0].value`"),
        ("\"scale\"", "\"size\"", "unknown field `size`"),
        ("640 }", "640 } x", "trailing"),
        ("640 }", "", "EOF"),
    ] {
        std::fs::write(&path, CONTRACT.replace(old, new)).unwrap();
        let message = Results::load(&path).unwrap_err().to_string();
        assert!(message.contains("results.json") && message.contains(expected), "{message}");
        assert!(message.contains("line"), "{message}");
    }
}

#[test]
fn one_failed_check_fails_the_results() {
    let mut results = example();
    assert!(results.passed());
    results.checks.push(Check::close("variance", 1.5, 1.0, 0.25));
    assert!(!results.passed());
    assert_eq!(results.checks[1].detail, "|1.5 - 1| = 0.5 is not <= 0.25");
    assert!(!Check::at_most("order", f64::NAN, 1.0).passed);
    assert_eq!(Check::at_most("order", 1.0 / 3.0, 2.0).detail, "0.33333 <= 2");
    assert_eq!(Check::at_most("order", 1.000_000_1, 1.0).detail, "1.0000001 is not <= 1");
    assert!(results.metric("lower_bound_test").is_some() && results.metric("fid").is_none());
}

#[test]
fn the_high_water_mark_is_read_in_mebibytes() {
    assert_eq!(high_water("VmPeak:\t 9 kB\nVmHWM:\t    2049 kB\nVmRSS:\t 1 kB\n"), Some(3));
    assert_eq!(high_water("VmHWM: many kB\n"), None);
    if cfg!(target_os = "linux") {
        assert!(peak_rss_mb() > 0);
    }
}
