//! The picture as SVG.

use super::{Anchor, Colour, HEIGHT, Point, Shape, WIDTH};

fn hex([red, green, blue]: Colour) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn points(points: &[Point]) -> String {
    let point = |(x, y): &Point| format!("{x:.1},{y:.1}");
    points.iter().map(point).collect::<Vec<_>>().join(" ")
}

fn element(shape: &Shape) -> String {
    match shape {
        Shape::Line {
            points: along,
            colour,
            width,
        } => format!(
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\" points=\"{}\"/>\n",
            hex(*colour),
            points(along)
        ),
        Shape::Text {
            at: (x, y),
            anchor,
            colour,
            text,
        } => {
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            format!(
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{}\">{text}</text>\n",
                hex(*colour)
            )
        }
    }
}

/// Writes the shapes down. Texts are ours: there is nothing to escape in them.
pub(super) fn draw(shapes: &[Shape]) -> String {
    let elements: String = shapes.iter().map(element).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{elements}</svg>\n"
    )
}
