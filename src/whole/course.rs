//! The way of a device to being clean: which parts of it are written over, with what, and how far that has come. Pure.

use serde::{Deserialize, Serialize};

use crate::{
    device::{Part, Wipe, ends_last},
    units::Bytes,
};

/// All places where blkid looks for signatures are so close to the ends of a device (util-linux, libblkid: a second
/// header of LUKS2 begins up to 4 MiB behind the beginning).
const ENDS: Bytes = Bytes::mib(8);
/// It is noted how far it has come when so much has been written since.
const NOTED: Bytes = Bytes::gib(4);
/// It is told in steps of so many hundredths.
const TOLD: u64 = 5;

/// What is to be done to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Course {
    how: Wipe,
    /// How often random bytes are written where it is shredded.
    shreds: u32,
    /// How large the device is.
    bytes: u64,
}

/// How much of a course is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Progress {
    course: Course,
    /// How many passes are done.
    passes: u32,
    /// How many bytes of the next one are.
    bytes: u64,
}

/// One piece of a course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) part: Part,
    pub(super) how: Wipe,
    /// How much is done afterwards.
    pub(super) after: Progress,
}

impl Course {
    pub(super) fn new(how: Wipe, shreds: u32, size: Bytes) -> Self {
        Self { how, shreds, bytes: size.0 }
    }

    /// Where it begins.
    pub(super) fn begin(self) -> Progress {
        Progress { course: self, passes: 0, bytes: 0 }
    }

    /// What is still to be done.
    pub(super) fn steps(self, done: Progress) -> impl Iterator<Item = Step> {
        let of_pass = move |pass: u32| {
            let mut bytes = 0u64;
            self.parts().into_iter().map(move |part| {
                bytes = bytes.saturating_add(part.length.0);
                let after = Progress { course: self, passes: pass, bytes };
                Step { part, how: self.how_in(pass), after }
            })
        };
        let all = (0..self.passes()).flat_map(of_pass);
        all.filter(move |step| (step.after.passes, step.after.bytes) > (done.passes, done.bytes))
    }

    /// The ends of a device are the last: until then it looks as it did.
    fn parts(self) -> Vec<Part> {
        let size = Bytes(self.bytes);
        match self.how {
            Wipe::QuickReset => {
                let length = ENDS.min(size);
                let last = Part { offset: size.saturating_sub(length), length };
                vec![last, Part { offset: Bytes::ZERO, length }]
            }
            Wipe::Zero | Wipe::Discard | Wipe::None | Wipe::Shred => ends_last(size).collect(),
        }
    }

    /// What was shredded is written over with zeroes: the next volume begins with an empty device.
    fn how_in(self, pass: u32) -> Wipe {
        let is_last = self.how == Wipe::Shred && pass >= self.shreds;
        if is_last { Wipe::Zero } else { self.how }
    }

    fn passes(self) -> u32 {
        let shreds = if self.how == Wipe::Shred { self.shreds } else { 0 };
        shreds.saturating_add(1)
    }

    /// How many bytes one pass writes.
    fn length(self) -> u64 {
        match self.how {
            Wipe::QuickReset => ENDS.0.min(self.bytes).saturating_mul(2),
            Wipe::Zero | Wipe::Discard | Wipe::None | Wipe::Shred => self.bytes,
        }
    }

    /// How many bytes all passes write.
    fn total(self) -> u64 {
        u64::from(self.passes()).saturating_mul(self.length())
    }
}

impl Progress {
    /// What is done already of this course, where it is the same.
    pub(super) fn of(self, course: Course) -> Option<Self> {
        (self.course == course).then_some(self)
    }

    /// Whether enough was done since `before` to note it.
    pub(super) fn is_worth_noting(self, before: Self) -> bool {
        self.done().saturating_sub(before.done()) >= NOTED.0.min(self.course.total() / 100)
    }

    /// Whether it would be told otherwise than `before`.
    pub(super) fn is_worth_telling(self, before: Self) -> bool {
        self.told() != before.told()
    }

    fn done(self) -> u64 {
        u64::from(self.passes).saturating_mul(self.course.length()).saturating_add(self.bytes)
    }

    fn told(self) -> u64 {
        let hundredths = u128::from(self.done()) * 100 / u128::from(self.course.total().max(1));
        u64::try_from(hundredths).unwrap_or(100) / TOLD * TOLD
    }

    /// For people.
    pub(super) fn said(self) -> String {
        let (hundredths, passes) = (self.told(), self.course.passes());
        match passes {
            1 => format!("{hundredths}% is done"),
            _ => format!("{hundredths}% is done, now in pass {} of {passes}", self.passes + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn course(how: Wipe) -> Course {
        Course::new(how, 2, Bytes::mib(1000))
    }

    fn all(course: Course) -> Vec<Step> {
        course.steps(course.begin()).collect()
    }

    #[test]
    fn shredding_ends_with_zeroes() {
        let shred = course(Wipe::Shred);
        let one = all(course(Wipe::Zero));
        let steps = all(shred);
        let how: Vec<Wipe> = steps.iter().step_by(one.len()).map(|it| it.how).collect();
        assert_eq!(how, [Wipe::Shred, Wipe::Shred, Wipe::Zero]);
        let parts = |steps: &[Step]| steps.iter().map(|it| it.part).collect::<Vec<_>>();
        for pass in steps.chunks(one.len()) {
            assert_eq!(parts(pass), parts(&one), "each pass writes over all of it");
        }
        let said = |at: usize| steps[at].after.said();
        assert_eq!(said(0), "5% is done, now in pass 1 of 3");
        assert_eq!(said(steps.len() - 1), "100% is done, now in pass 3 of 3");
    }

    #[test]
    fn a_quick_reset_writes_over_both_ends() {
        let steps = all(course(Wipe::QuickReset));
        let parts: Vec<_> = steps.iter().map(|it| (it.part.offset, it.part.length)).collect();
        assert_eq!(parts, [(Bytes::mib(992), Bytes::mib(8)), (Bytes::ZERO, Bytes::mib(8))]);
        assert_eq!(steps[0].after.said(), "50% is done");
    }

    #[test]
    fn what_was_done_counts_only_for_the_same() {
        let zero = course(Wipe::Zero);
        let done = all(zero)[1].after;
        assert_eq!(done.of(zero), Some(done));
        for other in [course(Wipe::Discard), Course::new(Wipe::Zero, 2, Bytes::mib(1001))] {
            assert_eq!(done.of(other), None);
        }
    }

    #[test]
    fn it_is_noted_seldom_and_often_enough() {
        let large = Course::new(Wipe::Zero, 0, Bytes::gib(1000));
        let mut before = large.begin();
        let mut noted = 0;
        for step in large.steps(before) {
            if step.after.is_worth_noting(before) {
                (before, noted) = (step.after, noted + 1);
            }
        }
        assert_eq!(noted, 250);
        assert!(all(course(Wipe::Zero))[0].after.is_worth_noting(course(Wipe::Zero).begin()));
    }

    proptest! {
        #[test]
        fn it_goes_on_where_it_was(mib in 16u64..3000, shreds in 1u32..4, at: prop::sample::Index) {
            let course = Course::new(Wipe::Shred, shreds, Bytes::mib(mib));
            let all = all(course);
            let at = at.index(all.len());
            let rest: Vec<Step> = course.steps(all[at].after).collect();
            prop_assert_eq!(&rest[..], &all[at + 1..]);
        }

        #[test]
        fn a_pass_writes_its_parts(mib in 2u64..3000, quick in any::<bool>()) {
            let how = if quick { Wipe::QuickReset } else { Wipe::Shred };
            let course = Course::new(how, 1, Bytes::mib(mib));
            let parts: u64 = course.parts().iter().map(|it| it.length.0).sum();
            prop_assert_eq!(course.length(), parts);
        }
    }
}
