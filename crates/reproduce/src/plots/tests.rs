use super::*;

fn plot() -> Plot {
    let mut plot = Plot::new("Bound <&> \"steps\"", "steps", "nats");
    plot.series(Series::line("ours", [(0.0, 1.0), (1.0, 2.0), (2.0, 1.5)]).errors([0.1, 0.2, 0.0]));
    plot.series(Series::line("baseline", [(0.0, 0.5), (2.0, 0.75)]));
    plot.reference("published", 2.5);
    plot
}

fn count(svg: &str, what: &str) -> usize {
    svg.matches(what).count()
}

#[test]
fn texts_are_escaped_and_the_same_plot_gives_the_same_bytes() {
    let svg = plot().to_svg().unwrap();
    assert_eq!(svg, plot().to_svg().unwrap());
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.contains("Bound &lt;&amp;&gt; &quot;steps&quot;"));
    for text in ["ours", "baseline", "published", "steps", "nats"] {
        assert!(svg.contains(text), "{text}");
    }
    assert_eq!(count(&svg, "<text"), count(&svg, "font-family=\"sans-serif\""));
    let mut odd = Plot::new("a\u{1}\nb", "", "");
    odd.series(Series::line("\u{0}", [(0.0, 0.0)]));
    assert!(odd.to_svg().unwrap().chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
fn points_land_on_proportional_pixels() {
    // Three points on a line, evenly spaced: on a log-log plot 1, 10, 100 against themselves.
    for (log, values) in [(false, [0.0, 1.0, 2.0]), (true, [1.0, 10.0, 100.0])] {
        let mut plot = Plot::new("", "", "");
        (plot.log_x, plot.log_y) = (log, log);
        plot.series(Series::scatter("", values.map(|v| (v, v))));
        let svg = plot.to_svg().unwrap();
        let circles: Vec<_> = svg.split("<circle ").skip(1).collect();
        let place = |circle: &str, key: &str| -> i32 {
            let value = circle.split(&format!("{key}=\"")).nth(1).unwrap();
            value.split('"').next().unwrap().parse().unwrap()
        };
        let xs: Vec<_> = circles.iter().map(|c| place(c, "cx")).collect();
        let ys: Vec<_> = circles.iter().map(|c| place(c, "cy")).collect();
        assert_eq!(xs.len(), 3);
        assert!(xs[0] < xs[1] && ys[0] > ys[1], "x grows to the right, y upwards");
        assert!((xs[0] + xs[2] - 2 * xs[1]).abs() <= 1 && (ys[0] + ys[2] - 2 * ys[1]).abs() <= 1);
    }
}

#[test]
fn equal_axes_give_both_directions_the_same_scale() {
    let mut plot = Plot::new("", "", "").equal_axes();
    plot.series(Series::scatter("", [(-1.0, -5.0), (1.0, 5.0)]));
    let (x, y) = plot.axes(800.0, 400.0);
    let (across, up) = ((x.high - x.low) / 800.0, (y.high - y.low) / 400.0);
    assert!((across / up - 1.0).abs() < 1e-12);
    assert!(x.low <= -1.0 && x.high >= 1.0 && y.low <= -5.0 && y.high >= 5.0);
}

#[test]
fn a_line_breaks_where_there_is_no_number() {
    let mut plot = Plot::new("", "", "");
    let y = [1.0, 2.0, f64::NAN, 3.0, 4.0, f64::INFINITY, 9.0];
    plot.series(Series::line("", y.iter().enumerate().map(|(i, y)| (i as f64, *y))));
    let svg = plot.to_svg().unwrap();
    let lines = svg.lines().filter(|l| l.starts_with("<polyline") && l.contains("#0072B2")).count();
    assert_eq!((lines, count(&svg, "<circle")), (2, 5));
}

#[test]
fn error_bars_and_references_stay_inside_the_axes() {
    let (x, y) = plot().axes(800.0, 400.0);
    assert!(x.low < 0.0 && x.high > 2.0);
    assert!(y.low < 0.5 && y.high > 2.5);
    let mut log = Plot::new("", "", "").log_y();
    log.series(Series::line("", [(0.0, 1.0)]).errors([2.0]));
    log.reference("nothing", -1.0);
    let svg = log.to_svg().unwrap();
    assert!(!svg.contains("nothing"), "what cannot be shown is not in the legend");
    assert_eq!(log.axes(800.0, 400.0).1, Axis::around([1.0, 3.0].into_iter(), true));
}

#[test]
fn degenerate_data_draws_without_panicking() {
    let nan = f64::NAN;
    let hard: [Vec<(f64, f64)>; 7] = [
        vec![],
        vec![(nan, nan)],
        vec![(0.0, 0.0)],
        vec![(1.0, 5.0), (2.0, 5.0)],
        vec![(-1.0, -1e308), (1.0, 1e308)],
        vec![(1e16, 1.0), (1e16 + 2.0, 1.0)],
        vec![(1.0, f64::INFINITY), (2.0, 1e-320)],
    ];
    for points in hard {
        for (log_x, log_y, equal) in
            [(false, false, true), (true, false, false), (true, true, true)]
        {
            let mut plot = Plot::new("t", "x", "y");
            (plot.log_x, plot.log_y, plot.equal) = (log_x, log_y, equal);
            plot.series(Series::line("line", points.clone()).errors(vec![nan; 2]));
            plot.series(Series::scatter("dots", points.clone()));
            plot.reference("r", nan);
            let svg = plot.to_svg().unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{points:?}");
        }
    }
    let svg = Plot::new("", "", "").to_svg().unwrap();
    assert!(svg.contains("no finite data"));
}

#[test]
fn panels_share_their_axes_and_show_every_finite_point() {
    let mut panels = Panels::new("A <chain>", 2);
    panels.panel("start", [(-1.0, -1.0), (1.0, 1.0), (f64::NAN, 0.0)]);
    panels.panel("middle", [(-1.0, -1.0)]);
    panels.panel("end", []);
    let svg = panels.to_svg().unwrap();
    assert_eq!(svg, panels.to_svg().unwrap());
    assert!(svg.contains("A &lt;chain&gt;") && svg.contains("middle") && svg.contains("end"));
    let place = |circle: &str, key: &str| -> i32 {
        let value = circle.split(&format!("{key}=\"")).nth(1).unwrap();
        value.split('"').next().unwrap().parse().unwrap()
    };
    let at: Vec<_> =
        svg.split("<circle ").skip(1).map(|c| [place(c, "cx"), place(c, "cy")]).collect();
    assert_eq!(at.len(), 3);
    // To the right and upwards, as far in either direction.
    let [across, up] = [at[1][0] - at[0][0], at[0][1] - at[1][1]];
    assert!(across > 50 && (across - up).abs() <= 1, "{at:?}");
    // The same point, one panel further: as high, a panel's width to the right.
    assert!(at[2][1] == at[0][1] && at[2][0] - at[0][0] > across, "{at:?}");
    assert!(Panels::new("", 0).to_svg().unwrap().starts_with("<svg"));
}
