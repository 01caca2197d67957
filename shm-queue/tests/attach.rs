//! Making, opening, attaching and replacing mappings, and the handles that an attachment gives out.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, FileTypeExt, PermissionsExt};

use common::{Place, geometry};
use shm_queue::{
    Attachment, Bell, Consumer, Error, Geometry, Mapping, Owner, Peer, Producer, RingGeometry, Side, Sleeper,
};

#[test]
fn one_live_attachment_per_side() {
    let place = Place::new();
    let (first, second) = (place.create(&geometry(4, 8)), place.open());
    let held = first.attach(Side::Front, 1).unwrap();
    for mapping in [&first, &second, &first.clone()] {
        assert!(matches!(
            mapping.attach(Side::Front, 2),
            Err(Error::SideTaken { side: Side::Front, .. })
        ));
    }
    let _back = second.attach(Side::Back, 2).unwrap();

    // A handle keeps the side as the attachment does.
    let producer = held.producer(0).unwrap();
    drop(held);
    assert!(matches!(second.attach(Side::Front, 3), Err(Error::SideTaken { .. })));
    drop(producer);
    assert_eq!(second.attach(Side::Front, 4).unwrap().epoch(), 2);
}

#[test]
fn handles_may_move_to_other_threads() {
    fn check<T: Send>() {}
    fn check_shared<T: Send + Sync + Clone>() {}
    check::<(Producer, Consumer, Bell, Sleeper)>();
    check_shared::<(Mapping, Attachment)>();
}

#[test]
fn the_peer_sees_epoch_heartbeat_and_status() {
    let place = Place::new();
    let (front, back) = (place.create(&geometry(4, 8)), place.open());
    let check = |side, epoch, heartbeat_ms, status| {
        let expected = Peer {
            epoch,
            heartbeat_ms,
            status,
            clock_offset_ms: 0,
        };
        assert_eq!(back.peer(side), expected);
    };
    check(Side::Front, 0, 0, 0);
    let held = front.attach(Side::Front, 100).unwrap();
    check(Side::Front, 1, 100, 0);
    held.beat(250);
    check(Side::Front, 1, 250, 0);
    held.set_status(u64::MAX);
    check(Side::Front, 1, 250, u64::MAX);
    // The last word stays, but a successor begins without one.
    drop(held);
    check(Side::Front, 1, 0, u64::MAX);
    let held = front.attach(Side::Front, 300).unwrap();
    check(Side::Front, 2, 300, 0);
    held.set_status(7);
    check(Side::Front, 2, 300, 7);
    check(Side::Back, 0, 0, 0);
}

#[test]
fn the_owner_is_named_once_and_another_is_refused_by_name() {
    let place = Place::new();
    let (front, back) = (place.create(&geometry(4, 8)), place.open());
    let owner = |first: u8, part| {
        let mut identity = [0; 16];
        identity[0] = first;
        Owner { identity, part }
    };
    let held = back.attach(Side::Back, 1).unwrap();
    assert_eq!((front.owner(), front.stamp()), (None, 0));
    // Any value is an identity; zero is no sign of absence.
    held.name_owner(&owner(0, 0)).unwrap();
    assert_eq!(front.owner(), Some(owner(0, 0)));
    held.set_stamp(41).unwrap();
    held.set_clock(-5);
    assert_eq!((front.stamp(), front.peer(Side::Back).clock_offset_ms), (41, -5));
    // A successor finds owner and stamp, and no clock.
    drop(held);
    let held = back.attach(Side::Back, 2).unwrap();
    assert_eq!((front.stamp(), front.peer(Side::Back).clock_offset_ms), (41, 0));
    held.name_owner(&owner(0, 0)).unwrap();
    for other in [owner(1, 0), owner(0, 1)] {
        let error = held.name_owner(&other).unwrap_err();
        assert!(matches!(error, Error::OtherOwner { .. }), "{error}");
        assert!(error.to_string().contains("put the file aside"), "{error}");
    }
    assert_eq!(front.owner(), Some(owner(0, 0)));
    let front = front.attach(Side::Front, 1).unwrap();
    assert!(matches!(front.name_owner(&owner(0, 0)), Err(Error::NotBack)));
    assert!(matches!(front.set_stamp(1), Err(Error::NotBack)));
}

/// Makes the mapping one of the layout before: its number and no version of records, under a checksum that fits.
fn make_old(place: &Place) {
    let mut header = vec![0; 4096];
    let file = fs::OpenOptions::new().read(true).write(true).open(&place.path).unwrap();
    file.read_exact_at(&mut header, 0).unwrap();
    header[8] = 2;
    header[36..40].fill(0);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[..60]);
    crc.update(&header[64..]);
    header[60..64].copy_from_slice(&crc.finalize().to_ne_bytes());
    file.write_all_at(&header, 0).unwrap();
}

#[test]
fn a_mapping_of_the_version_before_goes_when_what_matters_in_it_was_read() {
    let place = Place::new();
    assert!(!Mapping::retire_old(&place.path, |_| true).unwrap(), "nothing there");
    let mapping = place.create(&geometry(4, 8));
    assert!(!Mapping::retire_old(&place.path, |_| true).unwrap(), "of this version");
    let front = mapping.attach(Side::Front, 1).unwrap();
    let back = mapping.attach(Side::Back, 1).unwrap();
    let (mut requests, mut read) = (front.producer(0).unwrap(), back.consumer(0).unwrap());
    let mut answers = back.producer(1).unwrap();
    requests.push(b"a").unwrap();
    answers.push(b"b").unwrap();
    make_old(&place);
    assert!(matches!(
        Mapping::open(&place.path),
        Err(Error::Version { found: 2, .. })
    ));
    let retire = || Mapping::retire_old(&place.path, |ring| ring == 0);
    assert!(matches!(retire(), Err(Error::SideTaken { side: Side::Front, .. })));
    drop((requests, front));
    let error = retire().unwrap_err();
    assert!(
        matches!(error, Error::UnreadOfOld { ring: 0, unread: 1, .. }),
        "{error}"
    );
    assert!(place.path.exists(), "nothing is lost by asking");
    // The program of that version reads what is left; what it said to the other side is nobody's any more.
    read.read_batch(1, |_, _| ()).unwrap();
    read.commit(1).unwrap();
    assert!(retire().unwrap());
    assert!(!place.path.exists());
    place.create(&geometry(4, 8));
}

#[test]
fn programs_of_different_records_do_not_meet() {
    let place = Place::new();
    place.create(&geometry(4, 8));
    let newer = Geometry {
        records: 2,
        ..geometry(4, 8)
    };
    let error = Mapping::open_or_create(&place.path, &newer).unwrap_err();
    assert!(matches!(error, Error::GeometryDiffers { .. }), "{error}");
    assert!(error.to_string().contains("records of version 1"), "{error}");
}

#[test]
fn each_end_of_a_ring_is_given_out_once() {
    let place = Place::new();
    let front = place.create(&geometry(4, 8)).attach(Side::Front, 1).unwrap();
    let producer = front.producer(0).unwrap();
    assert!(matches!(front.producer(0), Err(Error::RingTaken(0))));
    assert!(matches!(front.consumer(0), Err(Error::WrongSide { ring: 0, .. })));
    assert!(matches!(front.producer(1), Err(Error::WrongSide { ring: 1, .. })));
    assert!(matches!(
        front.consumer(2),
        Err(Error::NoSuchRing { ring: 2, rings: 2 })
    ));
    assert!(matches!(front.bell(1), Err(Error::NoSuchBell { bell: 1, bells: 1 })));
    assert!(matches!(
        front.sleeper(1),
        Err(Error::NoSuchSleeper {
            sleeper: 1,
            sleepers: 1
        })
    ));
    drop(producer);
    front.producer(0).unwrap();
}

#[test]
fn a_new_mapping_is_private_whole_and_never_replaces_another() {
    let place = Place::new();
    let mapping = place.create(&geometry(4, 8));
    assert_eq!(fs::metadata(&place.path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut names: Vec<_> = fs::read_dir(place.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["rings", "rings.bell-0"]);
    assert!(
        fs::metadata(place.directory.path().join("rings.bell-0"))
            .unwrap()
            .file_type()
            .is_fifo()
    );

    assert!(matches!(
        Mapping::create(&place.path, &geometry(8, 8)),
        Err(Error::AlreadyExists(_))
    ));
    assert_eq!(place.open().instance(), mapping.instance());
    let error = Mapping::open_or_create(&place.path, &geometry(8, 8)).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::GeometryDiffers { .. }));
    assert!(
        text.contains("1 × 4 slots of 8 bytes from front") && text.contains("1 × 8 slots"),
        "{text}"
    );
}

#[test]
fn a_removed_or_replaced_file_is_noticed() {
    let place = Place::new();
    let first = place.create(&geometry(4, 8));
    assert!(first.still_at(&place.path).unwrap());
    Mapping::remove(&place.path).unwrap();
    assert_eq!(fs::read_dir(place.directory.path()).unwrap().count(), 0);
    assert!(!first.still_at(&place.path).unwrap());
    let second = place.create(&geometry(4, 8));
    assert!(!first.still_at(&place.path).unwrap());
    assert!(second.still_at(&place.path).unwrap());
    assert_ne!(first.instance(), second.instance());
    Mapping::remove(&place.path).unwrap();
    Mapping::remove(&place.path).unwrap();
}

#[test]
fn processes_that_start_at_once_get_the_same_mapping() {
    for _ in 0..20 {
        let place = Place::new();
        let instances: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        Mapping::open_or_create(&place.path, &geometry(4, 8))
                            .unwrap()
                            .instance()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(
            instances.iter().all(|instance| *instance == instances[0]),
            "{instances:?}"
        );
    }
}

#[test]
fn impossible_geometries_are_named() {
    let ring = |slots, payload_bytes_max| RingGeometry {
        slots,
        payload_bytes_max,
        producer: Side::Front,
    };
    let cases = [
        (vec![ring(3, 8)], 0, "ring 0 has 3 slots"),
        (vec![ring(4, 8), ring(0, 8)], 0, "ring 1 has 0 slots"),
        (vec![ring(1 << 25, 8)], 0, "slots"),
        (vec![ring(4, 0)], 0, "payloads of 0 bytes"),
        (vec![ring(4, u32::MAX)], 0, "payloads of 4294967295 bytes"),
        (vec![ring(1 << 24, 1 << 20)], 0, "bytes in all"),
        (vec![ring(1, 8); 5000], 0, "5000 rings"),
        (vec![], 2000, "2000 bells"),
    ];
    let place = Place::new();
    for (rings, bells, expected) in cases {
        let error = Mapping::create(
            &place.path,
            &Geometry {
                records: 1,
                rings,
                bells,
                sleepers: 0,
            },
        )
        .unwrap_err();
        assert!(
            matches!(error, Error::Geometry(_)) && error.to_string().contains(expected),
            "{error}"
        );
    }
    assert_eq!(fs::read_dir(place.directory.path()).unwrap().count(), 0);
}

#[test]
fn foreign_things_at_the_path_are_refused() {
    let place = Place::new();
    assert!(matches!(Mapping::open(&place.path), Err(Error::NotFound(_))));
    assert!(matches!(Mapping::open(place.directory.path()), Err(Error::NotAFile(_))));

    place.create(&geometry(4, 8));
    let link = place.directory.path().join("link");
    std::os::unix::fs::symlink(&place.path, &link).unwrap();
    assert!(matches!(Mapping::open(&link), Err(Error::NotAFile(_))));
    assert!(matches!(
        Mapping::open(&place.directory.path().join("rings.bell-0")),
        Err(Error::NotAFile(_))
    ));
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        Mapping::open(&place.path),
        Err(Error::NotPrivate { mode: 0o640, .. })
    ));
    Mapping::remove(&place.path).unwrap();

    fs::write(place.directory.path().join("rings.bell-0"), "not a FIFO").unwrap();
    assert!(matches!(
        Mapping::create(&place.path, &geometry(4, 8)),
        Err(Error::NotAFifo(_))
    ));
    assert!(!place.path.exists());
}

/// In /dev/shm, names are for whoever comes first.
#[test]
fn a_doorbell_that_others_could_ring_or_that_leads_elsewhere_is_none() {
    let place = Place::new();
    let bell = place.directory.path().join("rings.bell-0");
    let mode = |mode| fs::set_permissions(&bell, fs::Permissions::from_mode(mode)).unwrap();
    nix::unistd::mkfifo(&bell, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
    for open_to_others in [0o620, 0o602, 0o640, 0o666] {
        mode(open_to_others);
        let error = Mapping::create(&place.path, &geometry(4, 8)).unwrap_err();
        assert!(
            matches!(error, Error::NotPrivate { mode, .. } if mode == open_to_others),
            "{error}"
        );
        assert!(!place.path.exists());
    }
    mode(0o600);
    let mapping = Mapping::create(&place.path, &geometry(4, 8)).unwrap();
    let front = mapping.attach(Side::Front, 1).unwrap();
    front.bell(0).unwrap();
    mode(0o622);
    assert!(matches!(front.bell(0), Err(Error::NotPrivate { mode: 0o622, .. })));
    if nix::unistd::geteuid().is_root() {
        mode(0o600);
        std::os::unix::fs::chown(&bell, Some(12_345), None).unwrap();
        assert!(matches!(front.bell(0), Err(Error::NotPrivate { owner: 12_345, .. })));
    }
    // A link to a good one of our own.
    let elsewhere = place.directory.path().join("elsewhere");
    nix::unistd::mkfifo(
        &elsewhere,
        nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR,
    )
    .unwrap();
    fs::remove_file(&bell).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &bell).unwrap();
    assert!(matches!(front.bell(0), Err(Error::NotAFifo(_))));
    drop((front, mapping));
    fs::remove_file(&place.path).unwrap();
    assert!(matches!(
        Mapping::create(&place.path, &geometry(4, 8)),
        Err(Error::NotAFifo(_))
    ));
}
