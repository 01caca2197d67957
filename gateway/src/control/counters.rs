//! What the control plane counts. Its one thread writes, anyone may read.

use crate::counters::Count;
use crate::prometheus::Page;
use enum_map::{Enum, EnumArray, EnumMap};
use shake_proto::admin::{Refusal, What};
use strum::{EnumString, IntoStaticStr};

/// Why a connection to the control port came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Turned {
    /// No client certificate.
    NoCertificate,
    /// The certificate's time is over, or has not begun.
    #[strum(serialize = "certificate_expired")]
    Expired,
    /// Signed by another authority.
    OtherAuthority,
    /// A good certificate that is not for operators.
    NotOperator,
    /// A certificate that does not hold.
    BadCertificate,
    /// A good certificate that is on the list of refused ones.
    #[strum(serialize = "certificate_refused")]
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
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What was done for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Done {
    Show,
    Throttle,
    Cue,
    CancelCue,
    Adopt,
    Reload,
}

impl Done {
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
    pub turned: EnumMap<Turned, Count>,
    pub done: EnumMap<Done, Count>,
    pub refused: EnumMap<Refusal, Count>,
}

impl AdminCounters {
    pub fn show(&self, page: &mut Page) {
        page.metric("gateway_admin_connections_total", self.connections.value());
        page.metric("gateway_admin_audit_failed_total", self.audit_failed.value());
        page.metric("gateway_admin_not_kept_total", self.not_kept.value());
        page.metric("gateway_admin_operators", self.operators.value());
        page.family(
            "gateway_admin_connections_refused_total",
            "reason",
            values(&self.turned),
        );
        page.family("gateway_admin_changes_total", "kind", values(&self.done));
        page.family("gateway_admin_refused_total", "refusal", values(&self.refused));
    }
}

fn values<K: EnumArray<Count>>(counts: &EnumMap<K, Count>) -> impl Iterator<Item = (K, u64)> {
    counts.iter().map(|(which, count)| (which, count.value()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_counts_for_itself() {
        let counters = AdminCounters::default();
        for (index, count) in counters.turned.values().enumerate() {
            count.add(index as u64 + 1);
        }
        counters.turned[Turned::Expired].inc();
        let mut page = Page::default();
        counters.show(&mut page);
        let text = page.into_text();
        for line in [
            "gateway_admin_connections_refused_total{reason=\"no_certificate\"} 1",
            "gateway_admin_connections_refused_total{reason=\"certificate_expired\"} 3",
            "gateway_admin_connections_refused_total{reason=\"certificate_refused\"} 6",
            "gateway_admin_connections_refused_total{reason=\"crowded\"} 11",
            "gateway_admin_changes_total{kind=\"cancel_cue\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert_eq!(text.matches("refusal=").count(), counters.refused.len());
    }
}
