//! Disks are emptied here as LVM would, drawn as words of their extents.

use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::TestCaseError};

use super::*;

const SIZE: usize = 20;

fn index(extent: u64) -> usize {
    extent.try_into().unwrap()
}

/// A disk drawn as a word: of its extents each is free (`.`), somebody's (`x`), or of a leg of the volume of that
/// letter: the small one's leg 0, the capital's leg 1.
fn group(disks: &[&str]) -> Group {
    let legs = disks.iter().enumerate().flat_map(|(disk, word)| {
        (0..).zip(word.chars()).filter(|(_, it)| it.is_alphabetic() && *it != 'x').map(
            move |(start, it)| LegStretch {
                volume: it.to_lowercase().to_string().parse().unwrap(),
                leg: u32::from(it.is_uppercase()),
                disk: disk.to_string(),
                stretch: Stretch { start, length: 1 },
            },
        )
    });
    let free = |word: &str| {
        let free = (0..).zip(word.chars()).filter(|(_, it)| *it == '.');
        let mut runs: Vec<Stretch> = Vec::new();
        for (start, _) in free {
            match runs.last_mut() {
                Some(run) if run.start + run.length == start => run.length += 1,
                _ => runs.push(Stretch { start, length: 1 }),
            }
        }
        runs
    };
    let physical = disks.iter().enumerate().map(|(disk, word)| PhysicalVolume {
        device: format!("/dev/{disk}").into(),
        uuid: disk.to_string(),
        missing: false,
        allocatable: disk != 0,
        erring: false,
        extents: word.len() as u64,
        free_runs: free(word),
    });
    Group {
        name: "vg".parse().unwrap(),
        uuid: String::new(),
        extent: Bytes::mib(4),
        extents: disks.iter().map(|it| it.len() as u64).sum(),
        free: disks.iter().map(|it| it.matches('.').count() as u64).sum(),
        tags: Vec::new(),
        physical: physical.collect(),
        logical: Vec::new(),
        layers: Vec::new(),
        legs: legs.collect(),
        moving: BTreeMap::new(),
    }
}

/// Moves all that a disk has as LVM would, the first disk's; the disks as they are then, and why it ended.
fn empty(disks: &[&str]) -> (Vec<String>, Result<(), String>) {
    let mut words: Vec<String> = disks.iter().map(|it| (*it).to_owned()).collect();
    for _ in 0..200 {
        let drawn: Vec<&str> = words.iter().map(String::as_str).collect();
        let piece = match next_piece(&group(&drawn), "0", 3) {
            Ok(Some(piece)) => piece,
            Ok(None) => return (words, Ok(())),
            Err(why) => return (words, Err(why)),
        };
        let mut free: Vec<(usize, usize)> = match &piece.on {
            Some(place) => {
                let disk =
                    place.device.to_str().unwrap().trim_start_matches("/dev/").parse().unwrap();
                let all = place.stretches.iter().flat_map(|it| it.start..it.start + it.length);
                all.map(|at| (disk, index(at))).collect()
            }
            None => (1..words.len())
                .flat_map(|disk| (0..words[disk].len()).map(move |at| (disk, at)))
                .filter(|(disk, at)| words[*disk].as_bytes()[*at] == b'.')
                .collect(),
        };
        free.reverse();
        for from in piece.from.start..piece.from.start + piece.from.length {
            let from = index(from);
            let what = words[0][from..=from].to_owned();
            if what == "." {
                continue;
            }
            let Some((disk, at)) = free.pop() else { return (words, Err("no room".to_owned())) };
            assert_eq!(&words[disk][at..=at], ".", "{piece:?} of {words:?}");
            words[disk].replace_range(at..=at, &what);
            words[0].replace_range(from..=from, ".");
        }
    }
    panic!("it never ends: {words:?}");
}

/// Whether two legs of a volume share a disk.
fn share(words: &[String]) -> bool {
    let both =
        |word: &String, it: char| word.contains(it) && word.contains(it.to_ascii_uppercase());
    words.iter().any(|word| ['a', 'b', 'c'].iter().any(|it| both(word, *it)))
}

#[track_caller]
fn assert_emptied(disks: &[&str]) -> Vec<String> {
    let (words, ended) = empty(disks);
    assert_eq!(ended, Ok(()));
    assert!(words[0].chars().all(|it| it == '.') && !share(&words), "{words:?}");
    words
}

#[test]
fn a_leg_goes_where_nothing_of_its_volume_is() {
    assert_emptied(&["aaaaa...", "AAAAA...", "....."]);
    let (_, ended) = empty(&["aaaaa...", "AAAAA...", "...."]);
    assert!(ended.unwrap_err().contains("4Mi are missing"), "one extent short");
    let (words, ended) = empty(&["aaaaa...", "AAAAA......"]);
    assert!(ended.unwrap_err().contains("20Mi are missing"));
    assert_eq!(words, ["aaaaa...", "AAAAA......"], "nothing was begun");
}

#[test]
fn what_can_lie_anywhere_leaves_the_room_that_legs_need() {
    assert_emptied(&["xxxaaaxx", "AAA.....", "..."]);
    assert_emptied(&["aaabbbxx", "AAA....", "BBB......"]);
}

#[test]
fn a_leg_that_has_begun_goes_on_where_it_was() {
    let words = assert_emptied(&["..aaa", "AAAAA", "aa...", "........"]);
    assert_eq!(words[2], "aaaaa");
}

#[test]
fn what_does_not_fit_is_told_before_anything_is_moved() {
    let why = |disks: &[&str]| in_the_way(&group(disks), "0");
    assert_eq!(why(&["aaxx", "AA..", "...."]), None);
    assert!(why(&["aaxx", "AA..", "."]).unwrap().contains("RAID volumes have on it"));
    assert!(why(&["aaxx", "AA.", ".."]).unwrap().contains("4Mi are missing"));
    assert_eq!(why(&["....", "AA"]), None);
}

#[test]
fn the_first_way_that_is_tried_need_not_be_the_one_in_which_all_fit() {
    assert_emptied(&["bbbbAb", "...b..a", "b."]);
    assert_emptied(&["bA", "b..a", "b..A"]);
}

#[test]
fn no_leg_goes_to_a_disk_that_errs() {
    let mut group = group(&["aa", "AA", "..", "..."]);
    group.physical[3].erring = true;
    let piece = next_piece(&group, "0", 3).unwrap().unwrap();
    assert_eq!(piece.on.unwrap().device.to_str(), Some("/dev/2"));
    group.physical[2].erring = true;
    assert!(in_the_way(&group, "0").unwrap().contains("8Mi are missing"));
}

#[test]
fn what_was_begun_is_ended_first() {
    let mut half = group(&["aaa", "AAA", "..."]);
    half.moving.insert("0".to_owned(), 3);
    let piece = next_piece(&half, "0", 3).unwrap().unwrap();
    assert_eq!(piece.on, None);
}

fn disks() -> impl Strategy<Value = Vec<String>> {
    let extent = prop::sample::select(vec!['.', '.', '.', 'x', 'a', 'b', 'c', 'A', 'B', 'C']);
    let word = prop::collection::vec(extent, 1..SIZE);
    // Of what a disk has, only the first leg of each volume is drawn: legs never share one.
    let word = word.prop_map(|extents| {
        let mut seen: Vec<char> = Vec::new();
        let mut keep = |it: char| {
            let other =
                if it.is_lowercase() { it.to_ascii_uppercase() } else { it.to_ascii_lowercase() };
            if it != '.' && it != 'x' && seen.contains(&other) {
                return '.';
            }
            seen.push(it);
            it
        };
        extents.into_iter().map(&mut keep).collect::<String>()
    });
    prop::collection::vec(word, 2..6)
}

proptest! {
    #[test]
    fn no_two_legs_ever_share_a_disk_and_nothing_is_lost(disks in disks()) {
        let drawn: Vec<&str> = disks.iter().map(String::as_str).collect();
        let count = |words: &[&str]| {
            let mut all: Vec<char> = words.concat().chars().collect();
            all.sort_unstable();
            all
        };
        let told = in_the_way(&group(&drawn), "0");
        let (words, ended) = empty(&drawn);
        let after: Vec<&str> = words.iter().map(String::as_str).collect();
        prop_assert_eq!(count(&drawn), count(&after));
        prop_assert!(!share(&words), "{:?}", words);
        match (told, ended) {
            (None, Ok(())) => prop_assert!(words[0].chars().all(|it| it == '.'), "{:?}", words),
            (Some(_), Err(_)) => (),
            // What was told to fit must fit, and what was told not to must not be begun.
            (told, ended) => {
                return Err(TestCaseError::fail(format!("{told:?} but {ended:?}: {drawn:?} {words:?}")));
            }
        }
    }
}
