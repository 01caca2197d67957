//! What a bad link does to a packet: a pure function of how bad it is, of a draw, and of which packet it is.

use super::schedule::Draws;
use std::time::Duration;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    ToGateway,
    ToPhone,
}

/// One packet of each phone's socket, and what becomes of it, whatever is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Single {
    pub direction: Direction,
    /// Its number among those of its socket that go this way; the first is 1.
    pub number: u32,
    pub fate: Fate,
}

/// How bad the link is. Zeros are a good one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Badness {
    /// Packets that are lost, in per cent; 100 is a black hole.
    pub loss: u32,
    /// Packets that are held back for a while, so that others overtake them, in per cent.
    pub reorder: u32,
    /// Packets that come twice, in per cent.
    pub duplicate: u32,
    /// How long each packet is on the way.
    pub delay: Duration,
    pub single: Option<Single>,
}

/// What becomes of a packet: after how long each copy of it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Lost,
    AtOnce,
    Late(Duration),
    Twice(Duration),
}

/// How long a packet is held back, in milliseconds: some turns of the gateway, less than a probe timeout.
const HELD_MS: (u64, u64) = (2, 60);

impl Badness {
    /// The fate of a packet that has this number of those that go its way.
    pub fn fate_of(&self, direction: Direction, number: u32, draws: &mut Draws) -> Fate {
        match self.single {
            Some(single) if (single.direction, single.number) == (direction, number) => single.fate,
            _ => self.fate(draws),
        }
    }

    /// The fate of the next packet.
    fn fate(&self, draws: &mut Draws) -> Fate {
        if (self.loss, self.reorder, self.duplicate) == (0, 0, 0) {
            return Fate::AtOnce;
        }
        let mut hits = |percent: u32| draws.between((0, 99)) < percent.into();
        let (is_lost, is_twice, is_late) = (hits(self.loss), hits(self.duplicate), hits(self.reorder));
        if is_lost {
            return Fate::Lost;
        }
        let held = Duration::from_millis(draws.between(HELD_MS));
        match (is_twice, is_late) {
            (true, _) => Fate::Twice(held),
            (false, true) => Fate::Late(held),
            (false, false) => Fate::AtOnce,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(badness: Badness) -> [usize; 4] {
        let mut draws = Draws::new(1, 1);
        let mut counts = [0; 4];
        for _ in 0..10_000 {
            counts[match badness.fate(&mut draws) {
                Fate::AtOnce => 0,
                Fate::Lost => 1,
                Fate::Late(_) => 2,
                Fate::Twice(_) => 3,
            }] += 1;
        }
        counts
    }

    #[test]
    fn each_badness_does_its_own_and_about_as_often_as_told() {
        let near = |count: usize, percent: usize| count.abs_diff(percent * 100) < 200;
        assert_eq!(fates(Badness::default()), [10_000, 0, 0, 0]);
        let of = |loss, reorder, duplicate| {
            fates(Badness {
                loss,
                reorder,
                duplicate,
                ..Badness::default()
            })
        };
        assert_eq!(of(100, 0, 0), [0, 10_000, 0, 0]);
        let [_, lost, late, twice] = of(20, 0, 0);
        assert!(near(lost, 20) && late + twice == 0);
        let [_, lost, late, twice] = of(0, 30, 0);
        assert!(near(late, 30) && lost + twice == 0);
        let [_, lost, late, twice] = of(0, 0, 40);
        assert!(near(twice, 40) && lost + late == 0);
    }

    #[test]
    fn a_single_packet_fares_as_told() {
        let badness = Badness {
            single: Some(Single {
                direction: Direction::ToPhone,
                number: 2,
                fate: Fate::Lost,
            }),
            ..Badness::default()
        };
        let fates = |direction| [1, 2, 3].map(|number| badness.fate_of(direction, number, &mut Draws::new(1, 1)));
        assert_eq!(fates(Direction::ToPhone), [Fate::AtOnce, Fate::Lost, Fate::AtOnce]);
        assert_eq!(fates(Direction::ToGateway), [Fate::AtOnce; 3]);
    }
}
