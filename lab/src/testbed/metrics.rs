//! What a gateway tells over HTTP: its metrics, and whether it is ready.

use anyhow::Context;
use std::net::SocketAddr;
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

/// The text that the HTTP server at this port answers with, whatever its status: a gateway that is not ready says why.
///
/// # Errors
/// When there is none within that time.
pub fn ask(port: SocketAddr, path: &str, at_most: Duration) -> Result<String, ureq::Error> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(at_most))
        .http_status_as_error(false)
        .proxy(None)
        .build();
    let mut answer = config.new_agent().get(format!("http://{port}{path}")).call()?;
    answer.body_mut().read_to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpListener};
    use std::thread;

    #[test]
    fn a_family_is_summed_over_its_labels() {
        let metrics = Metrics::from(
            "# TYPE shakes_total counter\nshakes_total{outcome=\"a\"} 3\n\
             shakes_total{outcome=\"b\"} 4\nshakes_total_more 5\ngrade 2\n",
        );
        assert_eq!((metrics.sum("shakes_total"), metrics.sum("grade")), (7.0, 2.0));
        assert_eq!(metrics.value("shakes_total{outcome=\"b\"}"), Some(4.0));
        assert_eq!((metrics.value("shakes_total"), metrics.sum("none")), (None, 0.0));
    }

    #[test]
    fn an_answer_counts_whatever_its_status() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody asks");
            let mut head = [0; 4];
            stream.read_exact(&mut head).expect("a request");
            let answer =
                "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 10\r\nconnection: close\r\n\r\nnot ready\n";
            stream.write_all(answer.as_bytes()).expect("it listens");
            // All is read before the end, which would else be a reset.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let text = ask(port, "/ready", Duration::from_secs(20)).expect("an answer");
        assert_eq!(text, "not ready\n");
        server.join().expect("it served");
        assert!(
            ask(port, "/ready", Duration::from_secs(20)).is_err(),
            "nobody is there any more"
        );
    }
}
