//! What is followed, and when it is tried again.

use super::*;
use shake_rules::UnixMillis;
use shake_rules::kept::{Configured, Kept, instance_name};
use std::os::unix::fs::PermissionsExt;

const SHOW: &str = "[[phases]]\nname = \"a\"\nend_s = 1\nweights = { nothing = 1 }\n";
const LEADER: Leader = Leader {
    instance: 0xab,
    epoch: 2,
};

/// What a gateway of this epoch keeps, as this version.
fn kept(text: &str, version: u64, epoch: u32) -> String {
    let configured = Configured {
        show: text.to_owned(),
        throttle: String::new(),
        event: EventId(1),
        now: UnixMillis(1_000),
        forget_pushed: false,
    };
    let mut kept = Kept::at_start(None, configured).0;
    kept.version = version;
    kept.mapping_instance = instance_name(LEADER.instance);
    kept.mapping_epoch = epoch;
    kept.to_text()
}

impl<S> Watch<S> {
    /// As if it had been a while.
    fn again(&mut self) {
        (self.looked, self.read) = (None, None);
    }
}

fn put(directory: &Path, name: &str, text: &str) {
    fs::write(directory.join("new"), text).expect("written");
    fs::rename(directory.join("new"), directory.join(name)).expect("in place");
}

fn follower(directory: &Path) -> Follower {
    let show = Show::parse(SHOW, UnixMillis(1_000)).expect("good");
    Follower::new(Some(directory), show)
}

/// Looks at once; whether there is a show to take, by the name of its phase.
fn look(follower: &mut Follower) -> Option<Next> {
    follower.watch.again();
    follower.look(LEADER)
}

fn take(follower: &mut Follower) -> Option<String> {
    let next = look(follower)?;
    let name = next.show.phases[0].name.clone();
    follower.took(next);
    Some(name)
}

#[test]
fn a_phase_that_an_operator_cut_ends_here_too() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut follower = follower(directory.path());
    let mut cut = Kept::parse(&kept(SHOW, 2, 2)).expect("whole");
    cut.cuts.insert("a".to_owned(), 1_500);
    put(directory.path(), FILES[0], &cut.to_text());
    let next = look(&mut follower).expect("another show than before");
    assert_eq!(next.show.phases[0].ends_at, UnixMillis(1_500));
}

#[test]
fn a_new_show_is_taken_once_and_what_makes_no_sense_never() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    let mut follower = follower(directory);
    let (live, other) = (FILES[0], SHOW.replace("\"a\"", "\"b\""));
    assert_eq!(
        (take(&mut follower), follower.version()),
        (None, 0),
        "nothing is kept yet"
    );
    put(directory, live, &kept(SHOW, 1, 2));
    assert_eq!(
        (take(&mut follower), follower.version()),
        (None, 1),
        "it has this already"
    );
    put(directory, live, &kept(&other, 2, 2));
    assert_eq!((take(&mut follower), follower.version()), (Some("b".to_owned()), 2));
    assert_eq!(take(&mut follower), None);
    put(directory, live, "version = ");
    assert_eq!(take(&mut follower), None);
    put(directory, live, &kept(&format!("[event]\nid = 2\n{SHOW}"), 3, 2));
    assert_eq!((take(&mut follower), follower.version()), (None, 2), "of another event");
    put(directory, live, &kept(SHOW, 4, 2));
    assert_eq!((take(&mut follower), follower.version()), (Some("a".to_owned()), 4));
    // The copy holds where the file does not.
    put(directory, live, "version = ");
    put(directory, FILES[1], &kept(&other, 5, 2));
    assert_eq!((take(&mut follower), follower.version()), (Some("b".to_owned()), 5));
}

/// A file of the gateway's last life says what ran then: it must not fund a budget that this one does not have.
#[test]
fn what_another_life_of_the_gateway_kept_is_not_followed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    let mut follower = follower(directory);
    let other = SHOW.replace("\"a\"", "\"b\"");
    for text in [kept(&other, 7, 1), kept(&other, 7, 3)] {
        put(directory, FILES[0], &text);
        assert_eq!((take(&mut follower), follower.version()), (None, 0));
    }
    put(directory, FILES[0], &kept(&other, 8, 2));
    assert_eq!(take(&mut follower), Some("b".to_owned()));
    // The gateway starts anew: the file is the same, and is not its own.
    follower.watch.again();
    let next = Leader { epoch: 3, ..LEADER };
    assert!(follower.look(next).is_none() && follower.watch.failing.is_some());
    put(directory, FILES[0], &kept(&other, 9, 3));
    follower.watch.again();
    assert!(follower.look(next).is_none() && follower.watch.failing.is_none());
    assert_eq!(follower.version(), 9);
}

#[test]
fn what_could_not_be_taken_is_offered_again_until_it_is() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut follower = follower(directory.path());
    put(directory.path(), FILES[0], &kept(&SHOW.replace("\"a\"", "\"b\""), 2, 2));
    for _ in 0..3 {
        assert!(look(&mut follower).is_some());
        follower.failed("the ledger cannot be written");
        assert_eq!(follower.version(), 0);
        assert!(follower.look(LEADER).is_none(), "not at once");
    }
    assert_eq!((take(&mut follower), follower.version()), (Some("b".to_owned()), 2));
    assert!(look(&mut follower).is_none());
}

#[test]
fn new_keys_are_taken_once_and_what_makes_no_sense_never() {
    use shake_rules::keys::Key;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join(Purpose::Ticket.file_name());
    let first = KeyRing::of(Key::new(1, [1; 32]));
    let second = first.with_waiting([2; 32]).expect("none waits");
    let mut follower = KeyFollower::new(directory.path(), first.clone());
    let mut look = |text: &str| {
        fs::write(directory.path().join("new"), text).expect("written");
        fs::rename(directory.path().join("new"), &path).expect("in place");
        follower.watch.again();
        follower.look().cloned()
    };
    assert_eq!(look(&first.to_file(Purpose::Ticket)), None, "it has these already");
    assert_eq!(look(&second.to_file(Purpose::Ticket)), Some(second.clone()));
    assert_eq!(look(&second.to_file(Purpose::Cookie)), None, "of another purpose");
    assert_eq!(look("purpose = "), None);
    assert_eq!(look(&first.to_file(Purpose::Ticket)), Some(first));
}

/// The time of a file's content does not tell that its permissions were mended.
#[test]
fn what_could_not_be_read_is_read_when_it_can_be() {
    use shake_rules::keys::Key;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join(Purpose::Ticket.file_name());
    let second = KeyRing::of(Key::new(2, [2; 32]));
    let mut follower = KeyFollower::new(directory.path(), KeyRing::of(Key::new(1, [1; 32])));
    let mut look = || {
        follower.watch.again();
        follower.look().cloned()
    };
    // Not readable, whoever runs the test: root reads a file of mode 000, but nobody a directory.
    fs::create_dir(&path).expect("made");
    assert_eq!(look(), None);
    fs::remove_dir(&path).expect("removed");
    fs::write(&path, second.to_file(Purpose::Ticket)).expect("written");
    assert_eq!(look(), Some(second.clone()));
    // The permissions alone make a new stamp.
    let before = Stamp::of(&path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("our own");
    assert!(before.is_some() && Stamp::of(&path) != before);
    // And what failed is read again even with the same one.
    follower.watch.failed("permission denied");
    follower.keys = KeyRing::of(Key::new(1, [1; 32]));
    follower.watch.seen = Some(Stamp::of(&path));
    follower.watch.again();
    assert_eq!(follower.look().cloned(), Some(second));
}
