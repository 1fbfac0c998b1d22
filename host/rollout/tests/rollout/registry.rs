//! What events and commands lead to, one by one.

use stillhouse_rollout::{Decision, Policy, Stage};

use crate::world::{MINUTE_US, World, alike, slot, version};

fn share(share_ppm: u32) -> Vec<Decision> {
    vec![Decision::Share { slot: slot(), share_ppm }]
}

#[test]
fn a_version_that_does_well_goes_all_the_way() {
    let mut world = World::new(Policy::default());
    let begin = Decision::Begin { slot: slot(), version: version(2), salt: 7, share_ppm: 0 };
    assert_eq!(world.offer(2), [begin]);
    for ppm in [10_000, 50_000, 250_000, 500_000, 1_000_000] {
        assert_eq!(world.see(alike(999), 9 * MINUTE_US), [], "it lacks both");
        assert_eq!(world.see(alike(1), MINUTE_US - 1), [], "its time is not over");
        assert_eq!(world.see(alike(0), 1), share(ppm));
        assert_eq!(world.trial().evidence.rows, 0, "a step begins with nothing");
    }
    assert_eq!(world.see(alike(999), 60 * MINUTE_US), [], "it lacks samples");
    assert_eq!(world.trial().stage, Stage::Canary);
    assert_eq!(world.see(alike(1), 0), []);
    assert_eq!(world.trial().stage, Stage::Draining);
    assert_eq!(world.drain(), [Decision::Promote { slot: slot() }]);
    let slot = world.slot();
    assert_eq!((&slot.stable, &slot.last_good, &slot.trial), (&Some(version(2)), &Some(version(1)), &None));
}
