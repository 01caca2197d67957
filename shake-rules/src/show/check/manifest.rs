//! The resource packages of a show file, which all travel in one reply.

use super::{Check, timestamp};
use crate::show::file::{PackageTable, ResourcesTable};
use crate::show::{Manifest, Package};
use data_encoding::HEXLOWER_PERMISSIVE;
use std::collections::BTreeSet;
use toml::Spanned;

/// The most bytes of a manifest in `HelloReply`: what a reply may have (65,536), less a kilobyte for all else that is in
/// it: two names of phases, the limit cookie, numbers.
pub(in crate::show) const MANIFEST_BYTES_MAX: usize = 65_536 - 1_024;

impl Check<'_> {
    pub(super) fn manifest(&mut self, table: &ResourcesTable) -> Manifest {
        let mut packages: Vec<Package> = Vec::new();
        let (mut ids, mut bytes, mut is_told) = (BTreeSet::new(), 0, false);
        for entry in &table.packages {
            let Some(package) = self.package(entry, &mut ids) else {
                continue;
            };
            bytes += package_bytes(&package);
            if bytes > MANIFEST_BYTES_MAX && !is_told {
                is_told = true;
                let message = format!(
                    "the manifest becomes too long with package {}: all packages go to each phone in one reply, and may have \
                     {MANIFEST_BYTES_MAX} bytes there; put several into one, or shorten their addresses",
                    package.id
                );
                self.problems.add(self.text, entry.span(), message);
            }
            packages.push(package);
        }
        if !table.packages.is_empty() && *table.version.as_ref() == 0 {
            self.problems.add(
                self.text,
                table.packages[0].span(),
                "[resources] has packages and version 0; clients hold version 0 when they hold none",
            );
        }
        Manifest {
            version: *table.version.as_ref(),
            packages,
        }
    }

    fn package(&mut self, entry: &Spanned<PackageTable>, ids: &mut BTreeSet<u32>) -> Option<Package> {
        let package = entry.as_ref();
        let mut wrong = |message: String| self.problems.add(self.text, entry.span(), message);
        if !ids.insert(package.id) {
            wrong(format!(
                "resource package {} stands twice; give each its own id",
                package.id
            ));
        }
        if package.id == 0 {
            wrong("resource package 0: replies say 0 for none; give it another id".to_owned());
        }
        if !(package.address.starts_with("http://") || package.address.starts_with("https://")) {
            wrong(format!(
                "address = {:?} must start with http:// or https://",
                package.address
            ));
        }
        let sha256 = HEXLOWER_PERMISSIVE.decode(package.sha256.as_bytes()).ok();
        let sha256 = sha256.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let window = timestamp(&package.fetch_after).zip(timestamp(&package.fetch_before));
        match (sha256, window) {
            (None, _) => wrong(format!("the sha256 of package {} must be 64 hex digits", package.id)),
            (Some(sha256), Some((fetch_after, fetch_before))) if fetch_after < fetch_before => {
                return Some(Package {
                    id: package.id,
                    address: package.address.clone(),
                    size_bytes: package.size_bytes,
                    sha256,
                    fetch_after,
                    fetch_before,
                });
            }
            _ => wrong(format!(
                "package {} is fetched from {:?} to {:?}; both must be times, the second later",
                package.id, package.fetch_after, package.fetch_before
            )),
        }
        None
    }
}

/// The bytes of a package in `ResourceManifest` (shake.proto): each field has a tag of one byte; what has a length has it
/// before it.
fn package_bytes(package: &Package) -> usize {
    let number = |value: u64| 1 + varint_bytes(value);
    let long = |bytes: usize| 1 + varint_bytes(bytes as u64) + bytes;
    long(
        number(package.id.into())
            + long(package.address.len())
            + number(package.size_bytes)
            + long(package.sha256.len())
            + number(package.fetch_after.0)
            + number(package.fetch_before.0),
    )
}

/// The bytes of a base-128 number (protobuf encoding, "Base 128 Varints").
fn varint_bytes(value: u64) -> usize {
    (u64::BITS - value.leading_zeros()).max(1).div_ceil(7) as usize
}
