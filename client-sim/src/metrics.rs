//! What a gateway tells over HTTP: its metrics, and whether it is ready. Everything here that looks at a gateway reads it so.

use std::time::Duration;

/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// What an HTTP server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status: a gateway that is not ready says why with 503.
    pub status: u16,
    /// The text.
    pub text: String,
}

/// Asks for an address such as `http://127.0.0.1:9464/ready`.
///
/// # Errors
/// When there is no answer within that time, or one of over a megabyte.
pub fn ask(url: &str, at_most: Duration) -> Result<Answer, ureq::Error> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(at_most))
        .http_status_as_error(false)
        .proxy(None)
        .build();
    let mut answer = config.new_agent().get(url).call()?;
    Ok(Answer {
        status: answer.status().as_u16(),
        text: answer
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()?,
    })
}

/// All metrics of a gateway at one moment, in the Prometheus text format.
#[derive(Debug)]
pub struct Metrics(String);

impl From<&str> for Metrics {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Metrics {
    /// Asks for an address such as `http://127.0.0.1:9464/metrics`.
    ///
    /// # Errors
    /// Those of [`ask`].
    pub fn of(url: &str, at_most: Duration) -> Result<Self, ureq::Error> {
        ask(url, at_most).map(|answer| Self(answer.text))
    }

    /// Each metric with its labels, and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name, value.parse().ok()?))
        })
    }

    /// One metric by its name with labels, if the gateway has it.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        self.iter().find(|(of, _)| *of == name).map(|(_, value)| value)
    }

    /// Whether the gateway has a metric, with whatever labels.
    #[must_use]
    pub fn has(&self, family: &str) -> bool {
        self.family(family).next().is_some()
    }

    /// The sum of a metric over its labels; 0 if the gateway does not have it.
    #[must_use]
    pub fn sum(&self, family: &str) -> f64 {
        self.family(family).sum()
    }

    fn family(&self, family: &str) -> impl Iterator<Item = f64> {
        let is_of_family = move |name: &str| {
            name.strip_prefix(family)
                .is_some_and(|labels| labels.is_empty() || labels.starts_with('{'))
        };
        let of_family = self.iter().filter(move |(name, _)| is_of_family(name));
        of_family.map(|(_, value)| value)
    }
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
        assert!(metrics.has("shakes_total") && !metrics.has("shakes"));
    }

    #[test]
    fn an_answer_counts_whatever_its_status() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/ready", listener.local_addr().expect("it is bound"));
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
        let answer = ask(&url, Duration::from_secs(20)).expect("an answer");
        assert_eq!((answer.status, answer.text.as_str()), (503, "not ready\n"));
        server.join().expect("it served");
        assert!(ask(&url, Duration::from_secs(20)).is_err(), "nobody is there any more");
    }
}
