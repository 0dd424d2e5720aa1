//! Where the workers and the one who kills the driver meet.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::model::{Model, Op};

#[derive(Default)]
pub(crate) struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    workers: usize,
    /// The models of the workers that stand still.
    still: Vec<Model>,
    pause: bool,
    /// How many pauses are over.
    pauses: u64,
    end: bool,
    /// How many calls were ever sent, and sent again.
    sent: u64,
    again: u64,
    steps: BTreeMap<&'static str, u64>,
    failure: Option<String>,
}

impl Board {
    pub(crate) fn new(workers: usize) -> Self {
        let board = Self::default();
        board.lock().workers = workers;
        board
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a worker, between two steps: stands still during a pause; false when it is time to end.
    pub(crate) fn go_on(&self, model: &Model) -> bool {
        let mut state = self.lock();
        if state.pause && !state.end {
            state.still.push(model.clone());
            self.changed.notify_all();
            let pause = state.pauses;
            let paused = |state: &mut State| state.pauses == pause && !state.end;
            let woken = self.changed.wait_while(state, paused);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        !state.end && state.failure.is_none()
    }

    /// For a worker: a call leaves now.
    pub(crate) fn sending(&self) {
        self.lock().sent += 1;
        self.changed.notify_all();
    }

    /// For a worker: a call got no final answer.
    pub(crate) fn asked_again(&self) {
        self.lock().again += 1;
    }

    /// For a worker: a step has been done.
    pub(crate) fn count(&self, op: &Op) {
        let word = match op {
            Op::Create { from: None, .. } => "create",
            Op::Create { from: Some(_), .. } => "copy",
            Op::Delete { .. } => "delete",
            Op::Snapshot { .. } => "snapshot",
            Op::DeleteSnapshot { .. } => "delete snapshot",
            Op::Expand { .. } => "expand",
            Op::Stage { .. } => "stage",
            Op::Unstage { .. } => "unstage",
            Op::Publish { .. } => "publish",
            Op::Unpublish { .. } => "unpublish",
            Op::Write { .. } => "write",
            Op::Read { .. } => "read",
        };
        *self.lock().steps.entry(word).or_default() += 1;
    }

    /// For a worker: it cannot go on.
    pub(crate) fn fail(&self, why: String) {
        let mut state = self.lock();
        state.failure.get_or_insert(why);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until some worker sends its next call.
    pub(crate) fn await_call(&self) -> Result<(), String> {
        let state = self.lock();
        let before = state.sent;
        self.wait(state, |state| state.sent > before, "no worker calls").map(drop)
    }

    /// Has every worker finish its step and stand still, and returns what they know.
    pub(crate) fn pause(&self) -> Result<Vec<Model>, String> {
        self.ask_for_pause();
        let hangs = "a worker does not come to the end of its step";
        let mut state =
            self.wait(self.lock(), |state| state.still.len() == state.workers, hangs)?;
        Ok(std::mem::take(&mut state.still))
    }

    /// Every worker stands still at the end of its step, from now on.
    pub(crate) fn ask_for_pause(&self) {
        self.lock().pause = true;
    }

    /// Lets the workers go on.
    pub(crate) fn resume(&self) {
        let mut state = self.lock();
        state.pause = false;
        state.pauses += 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Lets the workers end.
    pub(crate) fn end(&self) {
        self.lock().end = true;
        self.changed.notify_all();
    }

    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        until: impl Fn(&State) -> bool,
        else_say: &str,
    ) -> Result<MutexGuard<'a, State>, String> {
        let deadline = Instant::now() + Duration::from_secs(600);
        loop {
            if let Some(why) = &state.failure {
                return Err(why.clone());
            }
            if until(&state) {
                return Ok(state);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("{else_say} for ten minutes"));
            }
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether something was written to a volume: nothing could have been lost of what was refused.
    pub(crate) fn has_written(&self) -> bool {
        self.lock().steps.contains_key("write")
    }

    /// What was done so far, as a sentence.
    pub(crate) fn summary(&self) -> String {
        let state = self.lock();
        let total: u64 = state.steps.values().sum();
        let parts: Vec<String> =
            state.steps.iter().map(|(word, count)| format!("{count} {word}")).collect();
        format!("{total} steps ({}), {} calls asked again", parts.join(", "), state.again)
    }
}
