//! Faults in any order, from one seed: the outputs keep to their rules, and once the line is whole both sides meet again.

use std::time::Duration;

use proptest::prelude::*;

use super::world::{ALPHA, BETA, World};
use crate::ids::SessionId;
use crate::peer::io::Input;

#[derive(Clone, Debug)]
enum Step {
    Run(u64),
    Cut(bool),
    Udp(usize, usize, bool),
    Tcp(usize, bool),
    Delay(usize, u64),
    Reset(usize),
    Restart(usize, u64),
    Traffic,
    Misbehave(usize),
    Stall(usize, bool),
    Forge(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let side = || 0..2_usize;
    prop_oneof![
        4 => (1..8000_u64).prop_map(Step::Run),
        2 => (1..400_u64).prop_map(Step::Run),
        1 => any::<bool>().prop_map(Step::Cut),
        1 => (side(), side(), any::<bool>()).prop_map(|(path, side, pass)| Step::Udp(path, side, pass)),
        1 => (side(), any::<bool>()).prop_map(|(path, pass)| Step::Tcp(path, pass)),
        1 => (side(), 0..300_000_u64).prop_map(|(path, micros)| Step::Delay(path, micros)),
        2 => (0..8_usize).prop_map(Step::Reset),
        1 => (side(), 0..9000_u64).prop_map(|(side, away)| Step::Restart(side, away)),
        1 => Just(Step::Traffic),
        1 => side().prop_map(Step::Misbehave),
        1 => (side(), any::<bool>()).prop_map(|(side, stall)| Step::Stall(side, stall)),
        1 => side().prop_map(Step::Forge),
    ]
}

fn take(world: &mut World, step: Step) {
    match step {
        Step::Run(millis) => world.run(Duration::from_millis(millis)),
        Step::Cut(cut) => world.cut(cut),
        Step::Udp(path, side, pass) => world.paths[path].udp[side] = pass,
        Step::Tcp(path, pass) => world.paths[path].tcp = pass,
        Step::Delay(path, micros) => world.paths[path].delay = Duration::from_micros(micros),
        Step::Reset(place) => {
            world.reset(place);
        }
        Step::Restart(side, away) => world.restart(side, Duration::from_millis(away)),
        Step::Traffic => world.traffic(),
        Step::Misbehave(side) => {
            let session = world.nodes[side].checker.session().unwrap_or(SessionId(1));
            world.give(side, Input::Misbehaved { session, cause: "it lied".into() });
        }
        Step::Stall(side, stall) => world.nodes[side].waiting = stall.then_some(world.now),
        Step::Forge(side) => world.give(side, Input::Forged { cause: "who knows".into() }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_they_meet_again(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new(2);
        for step in steps {
            take(&mut world, step);
        }
        world.cut(false);
        world.paths.iter_mut().for_each(|path| path.delay = Duration::from_micros(300));
        for side in [ALPHA, BETA] {
            world.nodes[side].waiting = None;
        }
        // The longest pause, the longest probation, and the last resort where UDP was not trusted.
        world.until_up(4, Duration::from_secs(200));
    }
}
