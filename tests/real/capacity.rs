//! What GetCapacity promises is what LVM then gives, to the extent.

use tonic::Code;

use crate::support::{Scene, Volume, Wish, dice::Dice, mib, refused};

const LAYOUTS: [&[(&str, &str)]; 3] = [
    &[("layout", "Linear")],
    &[("layout", "Striped"), ("stripes", "2")],
    &[("layout", "Striped"), ("stripes", "3"), ("stripeSize", "64Ki")],
];

fn wish(name: &str, size: u64, layout: usize) -> Wish {
    let wish = Wish::new(name, "block", size);
    LAYOUTS[layout].iter().fold(wish, |wish, (key, value)| wish.with(key, value))
}

/// What GetCapacity says of the largest volume when LVM's next report has come: between a change
/// and that, it is an estimate. A volume that cannot be has the report read at once.
fn settled(scene: &Scene, layout: usize) -> u64 {
    refused(scene.try_make(&wish("absurd", 1 << 50, layout)), Code::ResourceExhausted);
    scene.capacity(LAYOUTS[layout]).1
}

/// The largest volume is made, and one extent of each stripe more is not.
#[track_caller]
fn assert_exact(scene: &Scene, layout: usize) {
    let largest = settled(scene, layout);
    let row = mib(4) * u64::try_from(layout + 1).unwrap();
    assert_eq!(largest % row, 0);
    refused(scene.try_make(&wish("more", largest + row, layout)), Code::ResourceExhausted);
    if largest > 0 {
        let probe = scene.make(&wish("probe", largest, layout));
        assert_eq!(probe.size, largest);
        scene.delete(&probe).unwrap();
    }
    assert_eq!(settled(scene, layout), largest, "it is free again");
}

#[test]
#[ignore = "guest: LVM's own allocator"]
fn the_largest_volume_fits_exactly_however_the_pool_is_cut_up() {
    let scene = Scene::new(&[120, 200, 320], "wipe: None");
    let mut dice = Dice::new(3);
    let mut there: Vec<Volume> = Vec::new();
    for round in 0..30 {
        let layout = usize::try_from(dice.roll(3)).unwrap();
        match dice.roll(3) {
            0 if !there.is_empty() => {
                let index = usize::try_from(dice.roll(there.len() as u64)).unwrap();
                scene.delete(&there.swap_remove(index)).unwrap();
            }
            1 if !there.is_empty() => {
                let index = usize::try_from(dice.roll(there.len() as u64)).unwrap();
                let volume = &mut there[index];
                if let Ok(size) = scene.expand(volume, volume.size + mib(4)) {
                    assert!(size >= volume.size + mib(4));
                    volume.size = size;
                }
            }
            _ => {
                let size = mib(4) * (1 + dice.roll(12));
                match scene.try_make(&wish(&format!("v{round}"), size, layout)) {
                    Ok(volume) => there.push(volume),
                    Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status}"),
                }
            }
        }
        assert_exact(&scene, usize::try_from(dice.roll(3)).unwrap());
    }
}

#[test]
#[ignore = "guest: LVM's own allocator"]
fn sizes_are_rounded_limited_and_refused() {
    let scene = Scene::new(&[200], "wipe: None, reserve: 40Mi");
    let all = scene.capacity(&[]);
    assert_eq!(all, (mib(160), mib(160)), "the reserve is kept back");
    let odd = scene.make(&Wish::new("odd", "block", mib(5) + 1).limit(mib(8)));
    assert_eq!(odd.size, mib(8));
    let out = |wish: Wish| refused(scene.try_make(&wish), Code::OutOfRange);
    out(Wish::new("narrow", "block", mib(5)).limit(mib(7)));
    out(Wish::new("crossed", "block", mib(8)).limit(mib(4)));
    out(Wish::new("absurd", "block", i64::MAX.cast_unsigned()));
    out(Wish::new("tiny", "xfs", mib(100)));
    // No wish at all means 1 GiB, or as much as the limit lets.
    assert_eq!(scene.make(&Wish::new("least", "block", 0).limit(mib(12))).size, mib(12));
    for _ in 0..2 {
        let said =
            refused(scene.try_make(&Wish::new("big", "block", mib(144))), Code::ResourceExhausted);
        assert!(said.contains("140Mi"), "it says what would fit: {said}");
    }
    assert_eq!(scene.volumes().len(), 2, "what was refused left nothing");
    assert_eq!(scene.capacity(&[]).1, mib(140));
    refused(scene.expand(&odd, mib(152)), Code::OutOfRange);
    assert_eq!(scene.expand(&odd, mib(148)).unwrap(), mib(148));
    assert_eq!(scene.expand(&odd, mib(100)).unwrap(), mib(148), "nothing shrinks");
    assert_eq!(scene.capacity(&[]), (0, 0));
    // What exists is found although there is no room for another.
    assert_eq!(scene.make(&Wish::new("least", "block", 0).limit(mib(12))).size, mib(12));
}
