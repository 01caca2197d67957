//! The resource manifest of a show, as clients get it.

use crate::wire::v1;
use bytes::Bytes;
use shake_rules::show::{Manifest, Package};

impl From<&Manifest> for v1::ResourceManifest {
    fn from(manifest: &Manifest) -> Self {
        Self {
            version: manifest.version,
            resources: manifest.packages.iter().map(v1::Resource::from).collect(),
        }
    }
}

impl From<&Package> for v1::Resource {
    fn from(package: &Package) -> Self {
        Self {
            id: package.id,
            address: package.address.clone(),
            size_bytes: package.size_bytes,
            sha256: Bytes::copy_from_slice(&package.sha256),
            fetch_after_ms: package.fetch_after.0,
            fetch_before_ms: package.fetch_before.0,
        }
    }
}
