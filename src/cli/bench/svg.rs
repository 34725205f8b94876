//! The speed-up curve as a drawing that is readable on light and on dark.

use std::fmt::Write as _;

use super::scaling::Point;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 48.0;
const TICKS: f64 = 5.0;
const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#57606a}.title{font-size:15px;font-weight:600}\
.axis{stroke:#6e7781;stroke-width:1}.grid{stroke:#6e7781;stroke-opacity:.2}\
.ideal{stroke:#6e7781;stroke-dasharray:5 4;stroke-width:1.5}\
.curve{fill:none;stroke:#2f81f7;stroke-width:2.5}.point{fill:#2f81f7}.best{fill:none;stroke:#d9730d;stroke-width:2.5}\
@media(prefers-color-scheme:dark){text{fill:#b1bac4}.axis,.grid,.ideal{stroke:#8b949e}}";

/// Where values are on the drawing.
struct Scale {
    most_processes: f64,
    most_speedup: f64,
}

/// Draws the points, in the order of their processes.
pub(super) fn draw(title: &str, points: &[Point], recommended: u32) -> String {
    let scale = Scale::of(points);
    let (title, middle) = (escape(title), (LEFT + WIDTH - RIGHT) / 2.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n\
         <text class=\"title\" x=\"{middle}\" y=\"24\" text-anchor=\"middle\">{title}</text>\n"
    );
    scale.axes(&mut svg, points, middle);
    scale.ideal(&mut svg);
    scale.curve(&mut svg, points, recommended);
    svg + "</svg>\n"
}

impl Scale {
    fn of(points: &[Point]) -> Self {
        let most = |value: fn(&Point) -> f64| points.iter().map(value).fold(1.0, f64::max);
        let most_speedup = most(|point| point.speedup) * 1.2;
        Self { most_processes: most(|point| f64::from(point.processes)), most_speedup }
    }

    fn x(&self, processes: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * processes / self.most_processes
    }

    fn y(&self, speedup: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * speedup / self.most_speedup
    }

    fn axes(&self, svg: &mut String, points: &[Point], middle: f64) {
        let (bottom, right) = (self.y(0.0), WIDTH - RIGHT);
        let step = step(self.most_speedup);
        let mut speedup = step;
        while speedup <= self.most_speedup {
            let y = self.y(speedup);
            line(svg, "grid", (LEFT, y), (right, y));
            label(svg, (LEFT - 8.0, y + 4.0), "end", &format!("{speedup}"));
            speedup += step;
        }
        for point in points {
            let x = self.x(f64::from(point.processes));
            line(svg, "axis", (x, bottom), (x, bottom + 5.0));
            label(svg, (x, bottom + 20.0), "middle", &point.processes.to_string());
        }
        line(svg, "axis", (LEFT, bottom), (right, bottom));
        line(svg, "axis", (LEFT, bottom), (LEFT, TOP));
        label(svg, (middle, HEIGHT - 8.0), "middle", "processes");
        label(svg, (8.0, TOP - 10.0), "start", "speed-up");
    }

    /// A line of one more for each process, as far as it is in the drawing.
    fn ideal(&self, svg: &mut String) {
        let end = self.most_processes.min(self.most_speedup);
        line(svg, "ideal", (self.x(0.0), self.y(0.0)), (self.x(end), self.y(end)));
        label(svg, (self.x(end) - 10.0, self.y(end) + 4.0), "end", "ideal");
    }

    fn curve(&self, svg: &mut String, points: &[Point], recommended: u32) {
        let place = |point: &Point| (self.x(f64::from(point.processes)), self.y(point.speedup));
        let places: Vec<String> = points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        push(svg, format_args!("<polyline class=\"curve\" points=\"{}\"/>", places.join(" ")));
        for point in points {
            let (x, y) = place(point);
            push(svg, format_args!("<circle class=\"point\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"));
            let anchor = if x > WIDTH - RIGHT - 20.0 { "end" } else { "middle" };
            label(svg, (x, y + 20.0), anchor, &format!("{:.2}", point.speedup));
            if point.processes == recommended {
                push(svg, format_args!("<circle class=\"best\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\"/>"));
                label(svg, (x, y - 14.0), anchor, &format!("recommended: {recommended}"));
            }
        }
    }
}

/// A distance between labels of 1, 2 or 5 times a power of ten.
fn step(most: f64) -> f64 {
    let power = 10f64.powf((most / TICKS).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps.into_iter().find(|step| most / step <= TICKS).unwrap_or(power)
}

fn line(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    push(
        svg,
        format_args!("<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"),
    );
}

fn label(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    push(svg, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"));
}

fn push(svg: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(svg, "{element}").expect("writing to a String cannot fail");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
