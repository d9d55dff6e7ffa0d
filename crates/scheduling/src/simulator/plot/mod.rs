//! A picture of several reports: which share of requests had its first token after which time. As SVG or as PNG.

mod chart;
mod png;
mod svg;

use std::path::Path;

use super::report::Report;

pub use chart::{Chart, Panel, Series};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 56.0;
/// Red, green, blue.
type Colour = [u8; 3];
const COLOURS: [Colour; 6] = [
    [0x0b, 0x6e, 0x4f],
    [0xc8, 0x55, 0x3d],
    [0x3a, 0x6e, 0xa5],
    [0x8d, 0x6a, 0x9f],
    [0xb0, 0x89, 0x00],
    [0x55, 0x55, 0x55],
];
const GRID: Colour = [0xdd, 0xdd, 0xdd];
const BLACK: Colour = [0, 0, 0];

type Point = (f64, f64);

/// On which side of its point a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchor {
    Start,
    Middle,
    End,
}

/// What a picture is made of.
#[derive(Clone, Debug)]
enum Shape {
    Line {
        points: Vec<Point>,
        colour: Colour,
        width: f64,
    },
    /// The point is on the base line.
    Text {
        at: Point,
        anchor: Anchor,
        colour: Colour,
        text: String,
    },
}

/// The kind of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlotFormat {
    /// Scalable.
    Svg,
    /// Pixels, 1440 by 840.
    Png,
}

/// The file's name says no kind of picture that there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no name of a picture: end it with .svg or .png")]
pub struct UnknownPlotFormat(String);

/// The picture could not be written down.
#[derive(Debug, thiserror::Error)]
#[error("the picture could not be encoded: {0}")]
pub struct PlotError(#[from] ::png::EncodingError);

impl PlotFormat {
    /// Returns the kind of picture that a file's name ends with.
    ///
    /// # Errors
    ///
    /// [`UnknownPlotFormat`] when it ends with neither `.svg` nor `.png`.
    pub fn of(file: &Path) -> Result<Self, UnknownPlotFormat> {
        let extension = file.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => Err(UnknownPlotFormat(file.display().to_string())),
        }
    }
}

/// Draws the distribution of the time to the first token, one line per report. Time is on a logarithmic scale from 10 ms on.
///
/// # Errors
///
/// [`PlotError`] when the pixels cannot be encoded.
pub fn plot(reports: &[Report], format: PlotFormat) -> Result<Vec<u8>, PlotError> {
    drawn(&shapes(reports), format)
}

/// Draws values over time: panels above each other, each with an axis of its own that begins at 0.
///
/// # Errors
///
/// [`PlotError`] when the pixels cannot be encoded.
pub fn plot_over_time(chart: &Chart, format: PlotFormat) -> Result<Vec<u8>, PlotError> {
    drawn(&chart.shapes(), format)
}

fn drawn(shapes: &[Shape], format: PlotFormat) -> Result<Vec<u8>, PlotError> {
    match format {
        PlotFormat::Svg => Ok(svg::draw(shapes).into_bytes()),
        PlotFormat::Png => Ok(png::draw(shapes)?),
    }
}

fn shapes(reports: &[Report]) -> Vec<Shape> {
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
    let mut shapes = grid(decades, x, y);
    for (index, report) in reports.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        shapes.push(Shape::Line {
            points: report
                .first_token_percentiles
                .iter()
                .enumerate()
                .map(|(percent, ms)| (x(*ms), y(percent as f64 + 1.0)))
                .collect(),
            colour,
            width: 2.0,
        });
        shapes.push(Shape::Text {
            at: (MARGIN + 8.0, MARGIN + 16.0 * (index as f64 + 1.0)),
            anchor: Anchor::Start,
            colour,
            text: report.policy.to_owned(),
        });
    }
    shapes.push(Shape::Text {
        at: (WIDTH / 2.0, 20.0),
        anchor: Anchor::Middle,
        colour: BLACK,
        text: "share of requests with a first token within a time".to_owned(),
    });
    shapes
}

/// Draws lines at each decade of time and each quarter of the requests.
fn grid(decades: f64, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> Vec<Shape> {
    let mut shapes = Vec::new();
    let mut line = |from, to, at, anchor, text| {
        shapes.push(Shape::Line {
            points: vec![from, to],
            colour: GRID,
            width: 1.0,
        });
        shapes.push(Shape::Text {
            at,
            anchor,
            colour: BLACK,
            text,
        });
    };
    for decade in 0..=decades as u32 {
        let ms = 10.0 * 10_f64.powi(decade as i32);
        let label = if ms < 1_000.0 {
            format!("{ms:.0} ms")
        } else {
            format!("{:.0} s", ms / 1_000.0)
        };
        let (at, top, bottom) = (x(ms), y(100.0), y(0.0));
        line(
            (at, top),
            (at, bottom),
            (at, bottom + 18.0),
            Anchor::Middle,
            label,
        );
    }
    for percent in [0.0, 25.0, 50.0, 75.0, 100.0] {
        let (at, left, right) = (y(percent), x(0.0), WIDTH - MARGIN);
        line(
            (left, at),
            (right, at),
            (left - 6.0, at + 4.0),
            Anchor::End,
            format!("{percent:.0} %"),
        );
    }
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_name_says_the_kind_of_picture() {
        assert_eq!(PlotFormat::of(Path::new("a/b.SVG")), Ok(PlotFormat::Svg));
        assert_eq!(PlotFormat::of(Path::new("b.png")), Ok(PlotFormat::Png));
        for name in ["b.jpg", "svg", ""] {
            let error = PlotFormat::of(Path::new(name)).unwrap_err().to_string();
            assert!(error.ends_with("end it with .svg or .png"), "{error}");
        }
    }
}
