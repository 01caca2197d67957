//! Line charts as SVG, drawn here: no script, nothing fetched.

use std::fmt::Write;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 36.0;

/// A curve, and its name in the legend.
pub(super) struct Curve {
    pub(super) name: String,
    /// Seconds and values.
    pub(super) points: Vec<[f64; 2]>,
}

impl Curve {
    pub(super) fn highest(&self) -> f64 {
        self.points.iter().fold(0.0, |highest, [_, value]| value.max(highest))
    }
}

/// A chart over the seconds of a run.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// The unit of the values.
    pub(super) unit: &'a str,
    /// What its seconds count from.
    pub(super) since: &'a str,
    pub(super) curves: Vec<Curve>,
}

impl Chart<'_> {
    /// The chart as a figure; nothing when it has no values.
    pub(super) fn draw(&self) -> String {
        let highest = self.curves.iter().map(Curve::highest).fold(0.0, f64::max);
        if highest <= 0.0 {
            return String::new();
        }
        let seconds = || {
            self.curves
                .iter()
                .flat_map(|curve| &curve.points)
                .map(|[second, _]| *second)
        };
        let last = seconds().fold(f64::NEG_INFINITY, f64::max);
        let first = seconds().fold(last - 1e-3, f64::min);
        let (step, top) = scale(highest);
        let x = |second: f64| LEFT + (second - first) / (last - first) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
        let mut svg = String::new();
        let mut put = |text: std::fmt::Arguments<'_>| svg.write_fmt(text).expect("a String grows as needed");
        let mut value = 0.0;
        while value <= top * 1.001 {
            let at = y(value);
            put(format_args!(
                "<line class=grid x1={LEFT} x2={} y1={at:.1} y2={at:.1} /><text x={} y={:.1} text-anchor=end>{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                short(value)
            ));
            value += step;
        }
        let (step, _) = scale(last - first);
        let mut second = (first / step).ceil() * step;
        while second <= last {
            let (at, y) = (x(second), HEIGHT - BOTTOM + 16.0);
            put(format_args!(
                "<text x={at:.1} y={y} text-anchor=middle>{}</text>",
                short(second)
            ));
            second += step;
        }
        put(format_args!(
            "<text x={} y={} text-anchor=end>seconds since {}</text>",
            WIDTH - RIGHT,
            HEIGHT - 4.0,
            self.since
        ));
        for (place, curve) in self.curves.iter().enumerate() {
            let points: Vec<String> = curve
                .points
                .iter()
                .map(|[second, value]| format!("{:.1},{:.1}", x(*second), y(*value)))
                .collect();
            put(format_args!(
                "<polyline class=c{} points=\"{}\"><title>{}</title></polyline>",
                place % 6,
                points.join(" "),
                escaped(&curve.name)
            ));
        }
        let legend: String = self
            .curves
            .iter()
            .enumerate()
            .map(|(place, curve)| {
                let name = escaped(&curve.name);
                format!(
                    "<span><i class=b{}></i>{name} <b>max {}</b></span>",
                    place % 6,
                    short(curve.highest())
                )
            })
            .collect();
        format!(
            "<figure><figcaption>{} <small>{}</small></figcaption><p class=legend>{legend}</p>\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=img aria-label=\"{}\">{svg}</svg></figure>\n",
            escaped(self.title),
            escaped(self.unit),
            escaped(self.title)
        )
    }
}

/// Step and top of an axis for values up to this: three to six steps of 1, 2 or 5 times a power of ten.
fn scale(highest: f64) -> (f64, f64) {
    let rough = highest / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|times| times * power)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(power * 10.0);
    (step, (highest / step).ceil() * step)
}

/// A figure in few characters: 1.5 k, 20 M.
pub(super) fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        v if v >= 1e9 => (value / 1e9, " G"),
        v if v >= 1e6 => (value / 1e6, " M"),
        v if v >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        v if v >= 100.0 || v.fract().abs() < 1e-9 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let value = value + 0.0; // no -0
    format!("{value:.digits$}{unit}")
}

/// Text as HTML shows it.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_on_round_figures() {
        for (highest, step, top) in [(59_800.0, 20_000.0, 60_000.0), (0.9, 0.2, 1.0), (7.0, 2.0, 8.0)] {
            let (found_step, found_top) = scale(highest);
            assert!(
                (found_step - step).abs() < 1e-9 && (found_top - top).abs() < 1e-9,
                "{highest}"
            );
        }
        assert_eq!(
            [59_800.0, 1.25, 200.0, -0.0].map(short),
            ["59.8 k", "1.25", "200", "0"].map(str::to_owned)
        );
    }

    #[test]
    fn names_cannot_break_the_page() {
        let curves = vec![Curve {
            name: "<script>".into(),
            points: vec![[1.0, 1.0], [2.0, 2.0]],
        }];
        let chart = Chart {
            title: "a & b",
            unit: "/s",
            since: "the start",
            curves,
        };
        let drawn = chart.draw();
        assert!(drawn.contains("&lt;script&gt;") && drawn.contains("a &amp; b") && !drawn.contains("<script"));
        let curves = Vec::new();
        assert!(Chart { curves, ..chart }.draw().is_empty());
    }
}
