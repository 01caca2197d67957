//! What this machine is called.

use nix::unistd;

/// The host name; "unnamed" when the system has none that is text.
#[must_use]
pub fn name() -> String {
    unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unnamed".to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_what_the_kernel_says() {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        assert_eq!(super::name(), kernel.trim_end());
    }
}
