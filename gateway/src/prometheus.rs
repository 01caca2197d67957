//! The Prometheus text format (version 0.0.4): each metric with its type, and its values by one label at the most.

use std::fmt::{Display, Write as _};

/// What is shown of a gateway.
#[derive(Default)]
pub struct Page(String);

impl Page {
    /// A metric without a label. What ends in `_total` is a counter, all else a gauge.
    pub fn metric(&mut self, name: &str, value: impl Display) {
        self.begin(name);
        self.value(name, value);
    }

    /// A metric by the values of its label.
    pub fn family<K: Into<&'static str>>(
        &mut self,
        name: &str,
        label: &str,
        values: impl IntoIterator<Item = (K, impl Display)>,
    ) {
        self.begin(name);
        for (of, value) in values {
            self.value(&labelled(name, label, of.into()), value);
        }
    }

    /// What is in this format already.
    pub fn text(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// All of it.
    pub fn into_text(self) -> String {
        self.0
    }

    fn begin(&mut self, name: &str) {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        writeln!(self.0, "# TYPE {name} {kind}").expect("writing to a String cannot fail");
    }

    fn value(&mut self, name: &str, value: impl Display) {
        writeln!(self.0, "{name} {value}").expect("writing to a String cannot fail");
    }
}

/// The name of a metric with its label.
pub fn labelled(name: &str, label: &str, of: &str) -> String {
    format!("{name}{{{label}=\"{of}\"}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_has_its_type_once() {
        let mut page = Page::default();
        page.metric("a_total", 1);
        page.family("b", "of", [("x", 0.5), ("y", 2.0)]);
        page.text("# TYPE c histogram\n");
        assert_eq!(
            page.into_text(),
            "# TYPE a_total counter\na_total 1\n# TYPE b gauge\nb{of=\"x\"} 0.5\nb{of=\"y\"} 2\n# TYPE c histogram\n"
        );
    }
}
