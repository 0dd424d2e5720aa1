//! Many calls at once.

use std::time::{Duration, Instant};

use super::{ROUNDS, Row, calls::Calls};

const SIZE: i64 = 64 << 20;

/// Eight creates at once, on one group and on two, beside eight in a row; `pause` after each eight.
pub(crate) async fn at_once(calls: &Calls, pause: Duration) -> Vec<Row> {
    let (mut row, mut one, mut two) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        for (how, times) in [&mut row, &mut one, &mut two].into_iter().enumerate() {
            let wishes = (0..8).map(|at| async move {
                let pool = if how == 2 && at % 2 == 1 { "b" } else { "a" };
                calls.create(&format!("at-once-{round}-{how}-{at}"), pool, SIZE).await
            });
            let began = Instant::now();
            let mut ids = Vec::new();
            if how == 0 {
                for wish in wishes {
                    ids.push(wish.await);
                }
            } else {
                ids = join_all(wishes).await;
            }
            let took = began.elapsed();
            for id in ids {
                calls.delete(&id).await;
            }
            tokio::time::sleep(pause).await;
            // The first round warms all up.
            if round > 0 {
                times.push(took);
            }
        }
    }
    let on_one = "8 creates at once on one group / 8 in a row";
    let on_two = "8 creates at once on two groups / 8 in a row on one";
    vec![
        Row::ratio(on_one, &mut one, &mut row.clone(), 1.05),
        Row::ratio(on_two, &mut two, &mut row, 0.9),
    ]
}

/// Does `asking` while volumes are being made in pool `a`, which are deleted afterwards.
pub(crate) async fn while_making<T>(
    calls: &Calls,
    volumes: usize,
    asking: impl Future<Output = T>,
) -> T {
    let making = async {
        let mut ids = Vec::new();
        for at in 0..volumes {
            ids.push(calls.create(&format!("busy-{at}"), "a", SIZE).await);
        }
        ids
    };
    let (ids, answer) = tokio::join!(making, asking);
    for id in ids {
        calls.delete(&id).await;
    }
    answer
}

/// Polls all futures of one task until each is done.
async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.map(|it| (Box::pin(it), None)).collect();
    std::future::poll_fn(|context| {
        let mut all = true;
        for (future, done) in &mut running {
            if done.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => all = false,
                }
            }
        }
        if all { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    running.into_iter().map(|(_, done)| done.unwrap()).collect()
}
