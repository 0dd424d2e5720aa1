//! Volumes that live one after the other while their driver is killed.

use std::{fs, thread, time::Duration};

use tonic::Status;

use super::{
    dice::Dice,
    machine::run,
    mib,
    scene::{Scene, Volume},
    wish::Wish,
};

/// Within so many microseconds the driver is killed.
const SOON: u64 = 30_000;

/// Makes volumes, which are used and grown and then taken away, while the driver is killed at any moment of each life:
/// the same calls, repeated, end in the same state. Gives back the last, which is in use.
pub(crate) fn lives_however_killed(
    scene: &mut Scene,
    wish: &dyn Fn(&str) -> Wish,
    rounds: u32,
) -> Volume {
    let mut dice = Dice::new(7);
    let mut last: Option<Volume> = None;
    for round in 0..rounds {
        let (wish, pid) = (wish(&format!("v{round}")), scene.driver_pid());
        let pause = Duration::from_micros(dice.roll(SOON));
        let killer = thread::spawn(move || {
            thread::sleep(pause);
            run("kill", &["-KILL", &pid.to_string()]);
        });
        let first = live(scene, &wish, last.as_ref());
        killer.join().unwrap();
        // It is dead; now its socket is, too.
        scene.kill();
        scene.start();
        let volume = first.or_else(|_| live(scene, &wish, last.as_ref())).unwrap();
        assert_eq!(scene.volumes(), [volume.id.as_str()], "round {round}");
        let target = scene.target(&volume, "pod");
        assert_eq!(fs::read_to_string(target.join("name")).unwrap(), wish.name);
        assert_eq!(scene.total(&volume, &target).unwrap(), mib(16), "round {round}");
        last = Some(volume);
    }
    last.unwrap()
}

/// Makes a volume, uses and grows it to 16 MiB, and takes the last one away.
fn live(scene: &Scene, wish: &Wish, last: Option<&Volume>) -> Result<Volume, Status> {
    let volume = scene.try_make(wish)?;
    scene.stage(&volume)?;
    let target = scene.publish(&volume, "pod", false)?;
    fs::write(target.join("name"), &wish.name).unwrap();
    scene.expand(&volume, mib(16))?;
    scene.node_expand(&volume, &target)?;
    if let Some(last) = last {
        scene.unpublish(last, "pod")?;
        scene.unstage(last)?;
        scene.delete(last)?;
    }
    Ok(volume)
}
