//! The shape of the mapping: how many shards have rings in it. It outlives the gateway, and the number of cores may change
//! meanwhile.
//!
//! | the mapping has another number, and    | shards by the cores        | shards set by hand |
//! |----------------------------------------|----------------------------|--------------------|
//! | requests in it that no agent has read  | the mapping's number holds | no start           |
//! | none                                   | it is made anew            | it is made anew    |
//!
//! Of one that is made anew the packets in hand were released and are in nobody's hands: the agent finds them.

use crate::config::Config;
use anyhow::{Context, Result, bail};
use host::clock::monotonic_ms;
use shake_proto::handoff::topology::{Direction, RECORDS_VERSION, Ring, SHARDS_MAX};
use shm_queue::{Attachment, Error, Geometry, Mapping, RingGeometry, Side};
use strum::VariantArray as _;
use tracing::{info, warn};

/// What is to become of the mapping that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// It is used, or made if there is none.
    Kept,
    /// It is used, with its own number of shards.
    Holds(u16),
    /// It is made anew.
    Anew,
}

/// The mapping for so many shards.
fn geometry(shards: u16) -> Geometry {
    let ring = |ring: Ring| RingGeometry {
        slots: ring.slots(),
        payload_bytes_max: ring.record_bytes_max(),
        producer: match ring.direction() {
            Direction::ToAgent => Side::Front,
            Direction::ToShard => Side::Back,
        },
    };
    Geometry {
        records: RECORDS_VERSION,
        rings: (0..shards)
            .flat_map(|_| Ring::VARIANTS.iter().copied().map(ring))
            .collect(),
        bells: shards,
        sleepers: 1,
    }
}

/// Decides by the mapping that is there, and has the configuration go by it.
///
/// # Errors
/// When requests would be lost; what cannot be read is told by [`attach`].
pub fn fit(config: &mut Config) -> Result<Shape> {
    let Ok(mapping) = Mapping::open(&config.queue_path) else {
        return Ok(Shape::Kept);
    };
    let found = (1..=SHARDS_MAX).find(|&shards| mapping.geometry() == &geometry(shards));
    let shape = decide(config, found, unread(&mapping)?)?;
    if let Shape::Holds(shards) = shape {
        let cores = config.shards;
        warn!(
            shards,
            cores,
            "requests wait in the mapping for an agent: as many shards serve as it has; the next start takes the cores' number"
        );
        config.set_shards(shards);
    }
    Ok(shape)
}

/// What a start with this configuration would find of the mapping. Touches nothing; gives what is good to know.
///
/// # Errors
/// When it could neither be used nor made.
pub fn check(config: &Config) -> Result<Option<String>> {
    let path = &config.queue_path;
    let mut fitted = config.clone();
    let shape = fit(&mut fitted)?;
    let remark = match (Mapping::open(path), shape) {
        (Ok(mapping), Shape::Holds(shards)) => {
            let unread = unread(&mapping)?;
            Some(format!(
                "the mapping {} has {unread} requests that no agent has read, and so its {shards} shards hold at the next start",
                path.display()
            ))
        }
        (Ok(_), _) => None,
        (Err(Error::NotFound(_)), _) => {
            Mapping::check_room(path, &geometry(config.shards)).context("[queue] path")?;
            None
        }
        // Made anew once its requests were read, as only a start can tell.
        (Err(error @ Error::Version { .. }), _) => Some(error.to_string()),
        (Err(error), _) => return Err(error).context("[queue] path"),
    };
    Ok(remark)
}

/// `found` is the number of shards of the mapping, if it is of this version's kind.
fn decide(config: &Config, found: Option<u16>, unread: u64) -> Result<Shape> {
    let (wanted, path) = (config.shards, config.queue_path.display());
    match found {
        Some(found) if found == wanted => Ok(Shape::Kept),
        _ if unread == 0 => Ok(Shape::Anew),
        Some(found) if !config.shards_by_hand => Ok(Shape::Holds(found)),
        Some(found) => bail!(
            "the mapping {path} has {found} shards and {unread} requests that no agent has read, and [listen] shards = {wanted} \
             would lose them: start the agent, which reads them, or set shards = {found} for this start"
        ),
        None => bail!(
            "the mapping {path} is of another shape than any number of shards of this version, and has {unread} requests that \
             no agent has read: start gateway and agent of the version that made it, so that they are"
        ),
    }
}

/// Requests that the agent has not read.
fn unread(mapping: &Mapping) -> Result<u64> {
    let rings = mapping.geometry().rings.len();
    let requests = (0..SHARDS_MAX)
        .map(|shard| Ring::Request.index(shard))
        .filter(|&ring| ring < rings);
    let mut sum = 0;
    for ring in requests {
        sum += mapping.unread(ring)?;
    }
    Ok(sum)
}

/// Opens or makes the mapping, and takes the gateway's side of it.
///
/// # Errors
/// When there is no room for it, it is another's, or a live gateway has it.
pub fn attach(config: &Config, shape: Shape) -> Result<Attachment> {
    let (path, shards) = (&config.queue_path, config.shards);
    if shape == Shape::Anew {
        remove(config)?;
    }
    let is_request = |ring| (0..SHARDS_MAX).any(|shard| Ring::Request.index(shard) == ring);
    if Mapping::retire_old(path, is_request)? {
        info!(path = %path.display(), "a mapping of the earlier release was empty, and is made anew");
    }
    let mapping = Mapping::open_or_create(path, &geometry(shards)).map_err(|error| {
        let advice = match error {
            Error::NoRoom { .. } => "see [queue] path and [listen] shards",
            _ => "see [queue] path",
        };
        anyhow::Error::from(error).context(format!("cannot use the mapping of {shards} shards; {advice}"))
    })?;
    mapping
        .attach(Side::Front, monotonic_ms())
        .with_context(|| format!("cannot take the gateway's side of {}", path.display()))
}

/// Removes a mapping in which nothing waits.
fn remove(config: &Config) -> Result<()> {
    let path = &config.queue_path;
    let old = Mapping::open(path).with_context(|| format!("cannot make {} anew", path.display()))?;
    // Nobody puts anything into it from here on.
    let _held = old
        .attach(Side::Front, monotonic_ms())
        .with_context(|| format!("cannot make {} anew", path.display()))?;
    let unread = unread(&old)?;
    if unread > 0 {
        bail!(
            "{unread} requests came into the mapping {} meanwhile; start again",
            path.display()
        );
    }
    Mapping::remove(path)?;
    let shards = config.shards;
    info!(path = %path.display(), shards, "the mapping had another number of shards, and is made anew");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(directory: &Path, shards: u16, by_hand: bool) -> Config {
        let text = format!("[listen]\nshards = {shards}\n[queue]\npath = \"queue\"\n");
        let mut config = Config::parse(&text, directory).expect("a good file");
        config.shards_by_hand = by_hand;
        config
    }

    /// Starts with so many shards, puts so many requests into the last one's ring, and ends.
    fn leave(directory: &Path, shards: u16, requests: u64) {
        let config = config(directory, shards, true);
        let attachment = attach(&config, Shape::Kept).expect("a mapping");
        let mut ring = attachment.producer(Ring::Request.index(shards - 1)).expect("a ring");
        for _ in 0..requests {
            ring.push(b"ask").expect("room");
        }
    }

    /// What becomes of it with three shards now.
    fn start(directory: &Path, by_hand: bool) -> Result<(Shape, u16)> {
        let mut config = config(directory, 3, by_hand);
        let shape = fit(&mut config)?;
        let attachment = attach(&config, shape)?;
        assert_eq!(attachment.mapping().geometry(), &geometry(config.shards));
        Ok((shape, config.shards))
    }

    #[test]
    fn requests_that_nobody_read_are_never_lost() {
        for (shards, requests, by_hand, wanted) in [
            (3, 2, false, Some((Shape::Kept, 3))),
            (3, 2, true, Some((Shape::Kept, 3))),
            (2, 0, false, Some((Shape::Anew, 3))),
            (4, 0, true, Some((Shape::Anew, 3))),
            (4, 1, false, Some((Shape::Holds(4), 4))),
            (2, 1, false, Some((Shape::Holds(2), 2))),
            (2, 7, true, None),
        ] {
            let directory = tempfile::tempdir().expect("a temporary directory");
            leave(directory.path(), shards, requests);
            let started = start(directory.path(), by_hand);
            match (started, wanted) {
                (Ok(found), Some(wanted)) => assert_eq!(found, wanted, "{shards} shards, {requests} requests"),
                (Err(error), None) => {
                    let text = format!("{error:#}");
                    assert!(
                        text.contains("has 2 shards and 7 requests") && text.contains("shards = 2"),
                        "{text}"
                    );
                }
                (found, _) => panic!("{shards} shards, {requests} requests, by hand {by_hand}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_mapping_that_a_gateway_has_is_not_made_anew() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let other = config(directory.path(), 2, true);
        let _alive = attach(&other, Shape::Kept).expect("a mapping");
        let error = format!("{:#}", start(directory.path(), false).expect_err("it is taken"));
        assert!(error.contains("attached already by a live process"), "{error}");
    }

    #[test]
    fn the_error_says_what_room_it_takes_and_what_to_do() {
        let error = Error::NoRoom {
            path: "/dev/shm/shake-gateway".into(),
            needed: 113 << 20,
            free: 64 << 20,
        };
        let text = error.to_string();
        for word in [
            "/dev/shm/shake-gateway",
            "113 MiB",
            "64 MiB",
            "--shm-size",
            "fewer rings",
        ] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }
}
