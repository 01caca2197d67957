//! What a gateway tells over HTTP: its metrics, and whether it is ready.

use anyhow::Context;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What a gateway whose core is taken may need to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// All metrics of a gateway at one moment, as its port told them.
#[derive(Debug)]
pub struct Metrics(String);

impl Metrics {
    /// Asks the gateway whose port this is.
    ///
    /// # Errors
    /// When it does not answer within five seconds.
    pub fn of(port: SocketAddr) -> anyhow::Result<Self> {
        let text = ask(port, "/metrics", ANSWER);
        text.map(Self)
            .with_context(|| format!("cannot read http://{port}/metrics"))
    }

    /// Each metric with its labels, and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name, value.parse().ok()?))
        })
    }

    /// One metric, if the gateway has it.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.iter().find(|(of, _)| *of == name).map(|(_, value)| value)
    }

    /// The sum of a metric over its labels; 0 if the gateway does not have it.
    pub fn sum(&self, family: &str) -> f64 {
        let is_of_family = |name: &str| {
            name.strip_prefix(family)
                .is_some_and(|labels| labels.is_empty() || labels.starts_with('{'))
        };
        self.iter()
            .filter(|(name, _)| is_of_family(name))
            .map(|(_, value)| value)
            .sum()
    }
}

#[cfg(test)]
impl From<&str> for Metrics {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// The answer, its head included, of the HTTP server at this port.
///
/// # Errors
/// When there is none within that time.
pub fn ask(port: SocketAddr, path: &str, at_most: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&port, at_most)?;
    stream.set_read_timeout(Some(at_most))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_summed_over_its_labels() {
        let metrics = Metrics::from(
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n# TYPE shakes_total counter\nshakes_total{outcome=\"a\"} 3\n\
             shakes_total{outcome=\"b\"} 4\nshakes_total_more 5\ngrade 2\n",
        );
        assert_eq!((metrics.sum("shakes_total"), metrics.sum("grade")), (7.0, 2.0));
        assert_eq!(metrics.value("shakes_total{outcome=\"b\"}"), Some(4.0));
        assert_eq!((metrics.value("shakes_total"), metrics.sum("none")), (None, 0.0));
    }
}
