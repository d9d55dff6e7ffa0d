//! Values over time: panels above each other that share the axis of time.

use super::{Anchor, BLACK, COLOURS, GRID, HEIGHT, MARGIN, Point, Shape, WIDTH};

/// Room between two panels.
const GAP: f64 = 34.0;

/// A picture of values over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What stands above it.
    pub title: String,
    /// The panels, the uppermost first.
    pub panels: Vec<Panel>,
}

/// Values of the same unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What is shown, with its unit.
    pub name: String,
    /// The lines, at most six told apart by colour.
    pub series: Vec<Series>,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Seconds since the beginning, and the value then, from 0 on.
    pub points: Vec<(f64, f64)>,
}

impl Chart {
    /// Draws everything.
    pub(super) fn shapes(&self) -> Vec<Shape> {
        let values = || {
            let panels = self.panels.iter();
            panels.flat_map(|panel| panel.series.iter().flat_map(|series| &series.points))
        };
        let longest = values().map(|point| point.0).fold(1.0, f64::max);
        let count = self.panels.len().max(1) as f64;
        let height = (HEIGHT - 2.0 * MARGIN + GAP) / count - GAP;
        let x = |seconds: f64| MARGIN + seconds / longest * (WIDTH - 2.0 * MARGIN);
        let mut shapes = vec![text(
            (WIDTH / 2.0, 20.0),
            Anchor::Middle,
            self.title.clone(),
        )];
        for (index, panel) in self.panels.iter().enumerate() {
            let top = MARGIN + index as f64 * (height + GAP);
            panel.draw(&mut shapes, (top, top + height), &x);
        }
        for quarter in 0..=4 {
            let seconds = longest * f64::from(quarter) / 4.0;
            let at = (x(seconds), HEIGHT - MARGIN + 18.0);
            shapes.push(text(at, Anchor::Middle, format!("{seconds:.0} s")));
        }
        shapes
    }
}

impl Panel {
    fn draw(&self, shapes: &mut Vec<Shape>, (top, bottom): Point, x: &impl Fn(f64) -> f64) {
        let values = self.series.iter().flat_map(|series| &series.points);
        let most = round_up(values.map(|point| point.1).fold(0.0, f64::max));
        let y = |value: f64| bottom - value / most * (bottom - top);
        for part in [0.0, 0.5, 1.0] {
            let value = most * part;
            shapes.push(Shape::Line {
                points: vec![(MARGIN, y(value)), (WIDTH - MARGIN, y(value))],
                colour: GRID,
                width: 1.0,
            });
            let at = (MARGIN - 6.0, y(value) + 4.0);
            shapes.push(text(at, Anchor::End, label(value)));
        }
        shapes.push(text((MARGIN, top - 8.0), Anchor::Start, self.name.clone()));
        for (index, series) in self.series.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            shapes.push(Shape::Line {
                points: series.points.iter().map(|(s, v)| (x(*s), y(*v))).collect(),
                colour,
                width: 2.0,
            });
            shapes.push(Shape::Text {
                at: (WIDTH - MARGIN - 90.0 * index as f64, top - 8.0),
                anchor: Anchor::End,
                colour,
                text: series.name.clone(),
            });
        }
    }
}

fn text(at: Point, anchor: Anchor, text: String) -> Shape {
    Shape::Text {
        at,
        anchor,
        colour: BLACK,
        text,
    }
}

/// Returns the next value of the form 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let value = value.max(1e-3);
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let fitting = steps.into_iter().find(|step| step * power >= value);
    fitting.unwrap_or(10.0) * power
}

fn label(value: f64) -> String {
    if value >= 10_000.0 {
        format!("{:.0}k", value / 1_000.0)
    } else if value >= 10.0 || value == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::{PlotFormat, plot_over_time};

    #[test]
    fn axes_end_at_round_values() {
        for (value, end) in [
            (0.0, 0.001),
            (3.0, 5.0),
            (10.0, 10.0),
            (11.0, 20.0),
            (7_200.0, 10_000.0),
        ] {
            assert!((round_up(value) - end).abs() < end * 1e-9, "{value}");
        }
    }

    #[test]
    fn every_panel_and_line_is_named_in_the_picture() {
        let series = |name: &str| Series {
            name: name.to_owned(),
            points: vec![(0.0, 1.0), (10.0, 30.0)],
        };
        let panel = |name: &str| Panel {
            name: name.to_owned(),
            series: vec![series("p50"), series("p99")],
        };
        let chart = Chart {
            title: "load".to_owned(),
            panels: vec![panel("rate"), panel("latency")],
        };
        let svg = String::from_utf8(plot_over_time(&chart, PlotFormat::Svg).unwrap()).unwrap();
        for name in ["load", "rate", "latency", "p50", "p99", "10 s"] {
            assert!(svg.contains(&format!(">{name}<")), "{name}: {svg}");
        }
        assert!(plot_over_time(&chart, PlotFormat::Png).unwrap().len() > 1_000);
    }
}
