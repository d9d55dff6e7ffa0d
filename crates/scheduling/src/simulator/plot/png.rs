//! The picture as PNG: straight lines and a fixed font, twice as large as the SVG's units.

use font8x8::legacy::BASIC_LEGACY;
use png::{BitDepth, ColorType, Encoder, EncodingError};

use super::{Anchor, Colour, HEIGHT, Point, Shape, WIDTH};

const SCALE: f64 = 2.0;
/// Pixels of a letter's side.
const LETTER: f64 = 8.0 * LETTER_SCALE as f64;
const LETTER_SCALE: u32 = 2;

struct Canvas {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Canvas {
    fn new() -> Self {
        let (width, height) = ((WIDTH * SCALE) as u32, (HEIGHT * SCALE) as u32);
        Self {
            width,
            height,
            pixels: vec![0xff; (width * height * 3) as usize],
        }
    }

    /// Covers a part (0 to 1) of a pixel; outside of the picture nothing happens.
    fn cover(&mut self, x: i64, y: i64, colour: Colour, part: f64) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else {
            return;
        };
        if x >= self.width || y >= self.height {
            return;
        }
        let at = ((y * self.width + x) * 3) as usize;
        let Some(pixel) = self.pixels.get_mut(at..at + 3) else {
            return;
        };
        for (value, paint) in pixel.iter_mut().zip(colour) {
            let (old, new) = (f64::from(*value), f64::from(paint));
            *value = (old + part.clamp(0.0, 1.0) * (new - old)).round() as u8;
        }
    }

    /// Draws from one pixel to another: each pixel is covered by how near it is to the line.
    fn line(&mut self, from: Point, to: Point, colour: Colour, width: f64) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy).max(f64::MIN_POSITIVE);
        let reach = width / 2.0 + 1.0;
        let range = |a: f64, b: f64| {
            let (low, high) = (a.min(b) - reach, a.max(b) + reach);
            low.floor() as i64..=high.ceil() as i64
        };
        for y in range(from.1, to.1) {
            for x in range(from.0, to.0) {
                let (px, py) = (x as f64 + 0.5 - from.0, y as f64 + 0.5 - from.1);
                let along = ((px * dx + py * dy) / (length * length)).clamp(0.0, 1.0);
                let distance = (px - along * dx).hypot(py - along * dy);
                self.cover(x, y, colour, width / 2.0 + 0.5 - distance);
            }
        }
    }

    fn text(&mut self, at: Point, anchor: Anchor, colour: Colour, text: &str) {
        let width = text.chars().count() as f64 * LETTER;
        let left = match anchor {
            Anchor::Start => at.0,
            Anchor::Middle => at.0 - width / 2.0,
            Anchor::End => at.0 - width,
        };
        for (index, letter) in text.chars().enumerate() {
            let rows = BASIC_LEGACY
                .get(letter as usize)
                .copied()
                .unwrap_or_default();
            let x = (left + index as f64 * LETTER) as i64;
            let y = (at.1 - LETTER) as i64;
            for (row, bits) in (0_u32..).zip(rows) {
                for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                    self.square(x, y, column, row, colour);
                }
            }
        }
    }

    /// Draws one point of a letter.
    fn square(&mut self, x: i64, y: i64, column: u32, row: u32, colour: Colour) {
        for down in 0..LETTER_SCALE {
            for right in 0..LETTER_SCALE {
                self.cover(
                    x + i64::from(column * LETTER_SCALE + right),
                    y + i64::from(row * LETTER_SCALE + down),
                    colour,
                    1.0,
                );
            }
        }
    }
}

/// Draws the shapes in their order.
pub(super) fn draw(shapes: &[Shape]) -> Result<Vec<u8>, EncodingError> {
    let scaled = |(x, y): Point| (x * SCALE, y * SCALE);
    let mut canvas = Canvas::new();
    for shape in shapes {
        match shape {
            Shape::Line {
                points,
                colour,
                width,
            } => {
                for (from, to) in points.iter().zip(points.iter().skip(1)) {
                    canvas.line(scaled(*from), scaled(*to), *colour, width * SCALE);
                }
            }
            Shape::Text {
                at,
                anchor,
                colour,
                text,
            } => canvas.text(scaled(*at), *anchor, *colour, text),
        }
    }
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, canvas.width, canvas.height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.write_header()?.write_image_data(&canvas.pixels)?;
    Ok(out)
}
