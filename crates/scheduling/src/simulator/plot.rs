//! A picture of several reports: which share of requests had its first token after which time.

use std::fmt::Write as _;

use super::report::Report;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 56.0;
const COLOURS: [&str; 6] = [
    "#0b6e4f", "#c8553d", "#3a6ea5", "#8d6a9f", "#b08900", "#555555",
];

/// Draws the distribution of the time to the first token, one line per report, as an SVG document. Time is on a logarithmic
/// scale from 10 ms on.
pub fn plot(reports: &[Report]) -> String {
    let longest = reports
        .iter()
        .flat_map(|r| r.first_token_percentiles.iter().copied())
        .fold(1_000.0, f64::max);
    let decades = (longest / 10.0).log10().ceil().max(1.0);
    let x = |ms: f64| {
        let place = ((ms.max(10.0) / 10.0).log10() / decades).clamp(0.0, 1.0);
        MARGIN + place * (WIDTH - 2.0 * MARGIN)
    };
    let y = |percent: f64| HEIGHT - MARGIN - percent / 100.0 * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing into a string cannot fail.
        svg.write_fmt(text).and_then(|()| svg.write_char('\n')).ok();
    };
    for decade in 0..=decades as u32 {
        let ms = 10.0 * 10_f64.powi(decade as i32);
        let label = if ms < 1_000.0 {
            format!("{ms:.0} ms")
        } else {
            format!("{:.0} s", ms / 1_000.0)
        };
        let (at, top, bottom) = (x(ms), y(100.0), y(0.0));
        line(format_args!(
            "<path d=\"M{at:.1} {top:.1}V{bottom:.1}\" stroke=\"#dddddd\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            bottom + 18.0
        ));
    }
    for percent in [0.0, 25.0, 50.0, 75.0, 100.0] {
        let (at, left, right) = (y(percent), x(0.0), WIDTH - MARGIN);
        line(format_args!(
            "<path d=\"M{left:.1} {at:.1}H{right:.1}\" stroke=\"#dddddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{percent:.0} %</text>",
            left - 6.0,
            at + 4.0
        ));
    }
    for (index, report) in reports.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let points: Vec<String> = report
            .first_token_percentiles
            .iter()
            .enumerate()
            .map(|(percent, ms)| format!("{:.1},{:.1}", x(*ms), y(percent as f64 + 1.0)))
            .collect();
        line(format_args!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            points.join(" ")
        ));
        line(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>",
            MARGIN + 8.0,
            MARGIN + 16.0 * (index as f64 + 1.0),
            report.policy
        ));
    }
    line(format_args!(
        "<text x=\"{:.1}\" y=\"20\" text-anchor=\"middle\">share of requests with a first token within a time</text>",
        WIDTH / 2.0
    ));
    svg.push_str("</svg>\n");
    svg
}
