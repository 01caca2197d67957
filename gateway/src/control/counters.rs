//! What the control plane counts. Its one thread writes, anyone may read.

use crate::counters::Count;
use shake_proto::admin::{Refusal, What};
use std::fmt::Write as _;

/// Why a connection to the control port came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// No client certificate.
    NoCertificate,
    /// The certificate's time is over, or has not begun.
    Expired,
    /// Signed by another authority.
    OtherAuthority,
    /// A good certificate that is not for operators.
    NotOperator,
    /// A certificate that does not hold.
    BadCertificate,
    /// A good certificate that is on the list of refused ones.
    Barred,
    /// The list of refused ones cannot be read, so nobody is let in.
    ListUnreadable,
    /// Not `shake-admin/1`.
    OtherProtocol,
    /// More operators than there may be.
    Full,
    /// The handshake did not end in time, or otherwise.
    Handshake,
    /// The handshake was the oldest, and gave way to newer ones.
    Crowded,
}

impl Turned {
    pub const ALL: [Self; 11] = [
        Self::NoCertificate,
        Self::Expired,
        Self::OtherAuthority,
        Self::NotOperator,
        Self::BadCertificate,
        Self::Barred,
        Self::ListUnreadable,
        Self::OtherProtocol,
        Self::Full,
        Self::Handshake,
        Self::Crowded,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Expired => "certificate_expired",
            Self::OtherAuthority => "other_authority",
            Self::NotOperator => "not_operator",
            Self::BadCertificate => "bad_certificate",
            Self::Barred => "certificate_refused",
            Self::ListUnreadable => "list_unreadable",
            Self::OtherProtocol => "other_protocol",
            Self::Full => "full",
            Self::Handshake => "handshake",
            Self::Crowded => "crowded",
        }
    }
}

/// What was done for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Show,
    Throttle,
    Cue,
    CancelCue,
    Adopt,
    Reload,
}

impl Done {
    const ALL: [Self; 6] = [
        Self::Show,
        Self::Throttle,
        Self::Cue,
        Self::CancelCue,
        Self::Adopt,
        Self::Reload,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Show => "show",
            Self::Throttle => "throttle",
            Self::Cue => "cue",
            Self::CancelCue => "cancel_cue",
            Self::Adopt => "adopt",
            Self::Reload => "reload",
        }
    }

    pub fn of(what: &What) -> Self {
        match what {
            What::Show(_) => Self::Show,
            What::Throttle(_) => Self::Throttle,
            What::Cue(_) => Self::Cue,
            What::CancelCue(_) => Self::CancelCue,
            What::Adopt(_) => Self::Adopt,
        }
    }
}

#[derive(Default)]
pub struct AdminCounters {
    pub connections: Count,
    /// Operators who are connected now.
    pub operators: Count,
    pub audit_failed: Count,
    pub not_kept: Count,
    turned: [Count; Turned::ALL.len()],
    done: [Count; Done::ALL.len()],
    refused: [Count; Refusal::ALL.len()],
}

impl AdminCounters {
    pub fn turned(&self, why: Turned) -> &Count {
        &self.turned[why as usize]
    }

    pub fn done(&self, what: Done) -> &Count {
        &self.done[what as usize]
    }

    pub fn refused(&self, why: Refusal) -> &Count {
        &self.refused[why as usize]
    }

    /// In the Prometheus text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (metric, count) in [
            ("gateway_admin_connections_total", &self.connections),
            ("gateway_admin_audit_failed_total", &self.audit_failed),
            ("gateway_admin_not_kept_total", &self.not_kept),
        ] {
            family(
                &mut text,
                "counter",
                metric,
                &mut std::iter::once((String::new(), count.value())),
            );
        }
        family(
            &mut text,
            "gauge",
            "gateway_admin_operators",
            &mut std::iter::once((String::new(), self.operators.value())),
        );
        let labelled = |label: &'static str| {
            move |(name, count): (&'static str, &Count)| (format!("{{{label}=\"{name}\"}}"), count.value())
        };
        family(
            &mut text,
            "counter",
            "gateway_admin_connections_refused_total",
            &mut Turned::ALL
                .map(Turned::name)
                .into_iter()
                .zip(&self.turned)
                .map(labelled("reason")),
        );
        family(
            &mut text,
            "counter",
            "gateway_admin_changes_total",
            &mut Done::ALL
                .map(Done::name)
                .into_iter()
                .zip(&self.done)
                .map(labelled("kind")),
        );
        family(
            &mut text,
            "counter",
            "gateway_admin_refused_total",
            &mut Refusal::ALL
                .map(Refusal::name)
                .into_iter()
                .zip(&self.refused)
                .map(labelled("refusal")),
        );
        text
    }
}

/// Appends a family of metrics, each with its labels.
fn family(text: &mut String, kind: &str, metric: &str, rows: &mut dyn Iterator<Item = (String, u64)>) {
    writeln!(text, "# TYPE {metric} {kind}").expect("writing to a String cannot fail");
    for (labels, value) in rows {
        writeln!(text, "{metric}{labels} {value}").expect("writing to a String cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_counts_for_itself() {
        let counters = AdminCounters::default();
        for (index, why) in Turned::ALL.into_iter().enumerate() {
            counters.turned(why).add(index as u64 + 1);
        }
        for refusal in Refusal::ALL {
            counters.refused(refusal).inc();
        }
        let text = counters.render();
        for (index, why) in Turned::ALL.into_iter().enumerate() {
            let line = format!(
                "gateway_admin_connections_refused_total{{reason=\"{}\"}} {}",
                why.name(),
                index + 1
            );
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert_eq!(text.matches("refusal=").count(), Refusal::ALL.len());
    }
}
