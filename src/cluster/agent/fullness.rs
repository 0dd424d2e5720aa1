//! Thin pools that fill up, told before it hurts: a condition of the node's report, and Events.

use std::collections::BTreeMap;

use super::{Notice, Shared};
use crate::{
    cluster::objects::Condition,
    pool::{
        PoolStatus,
        capacity::ThinStock,
        fullness::{Fullness, advice},
    },
    volume::PoolName,
};

/// What was told last of each thin pool.
#[derive(Debug, Default)]
pub(super) struct Told {
    levels: BTreeMap<PoolName, Fullness>,
}

/// What is new of a pool.
#[derive(Debug, PartialEq, Eq)]
struct News {
    level: Fullness,
    note: String,
}

impl Told {
    /// Tells of what has changed.
    pub(super) async fn tell(&mut self, shared: &Shared, pools: &[PoolStatus]) {
        // The object that the Events are about is there once a report was written.
        let Some(node) = shared.permission.about() else { return };
        self.levels.retain(|name, _| pools.iter().any(|it| it.name == *name));
        for pool in pools {
            let Some(thin) = pool.stock.thin else { continue };
            let Some(News { level, note }) = self.news(&pool.name, &thin) else { continue };
            let reason = reason(level);
            let event = Notice { reason, action: "Reported", note: &note, secondary: None };
            if level == Fullness::Roomy {
                tracing::info!("{note}");
                shared.say(&node, event).await;
            } else {
                tracing::warn!("{note}");
                shared.warn(&node, event).await;
            }
            self.levels.insert(pool.name.clone(), level);
        }
    }

    fn news(&self, pool: &PoolName, thin: &ThinStock) -> Option<News> {
        let before = self.levels.get(pool).copied().unwrap_or_default();
        let level = before.then(thin);
        let note = format!("pool {pool}: {}", advice(thin, level));
        (level != before).then_some(News { level, note })
    }

    /// Whether no thin pool fills up, by what was told.
    pub(super) fn condition(&self) -> Condition {
        let full = self.levels.iter().filter(|(_, level)| **level != Fullness::Roomy);
        let full: Vec<&str> = full.map(|(name, _)| name.as_str()).collect();
        let message = match full.is_empty() {
            true => "no thin pool is nearly full".to_owned(),
            false => format!(
                "the thin pool of {} is nearly full; `thinPool` of the pool says how full, an Event what to do",
                full.join(", ")
            ),
        };
        let worst = self.levels.values().max().copied().unwrap_or_default();
        Condition::new("ThinPoolsRoomy", full.is_empty(), reason(worst), message)
    }
}

fn reason(level: Fullness) -> &'static str {
    match level {
        Fullness::Roomy => "ThinPoolRoomy",
        Fullness::FillsUp => "ThinPoolFillsUp",
        Fullness::AlmostFull => "ThinPoolAlmostFull",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    #[test]
    fn each_level_is_told_once_and_so_is_its_end() {
        let pool: PoolName = "fast".parse().unwrap();
        let mut told = Told::default();
        let mut hear = |data: f64| {
            let (size, data_percent) = (Bytes::GIB, Some(data));
            let thin =
                ThinStock { size, promised: size, data_percent, metadata_percent: Some(1.0) };
            let news = told.news(&pool, &thin);
            told.levels.extend(news.iter().map(|it| (pool.clone(), it.level)));
            let condition = told.condition();
            (news.map(|it| reason(it.level)), condition.status, condition.reason)
        };
        let (yes, no) = ("True".to_owned(), "False".to_owned());
        let roomy = "ThinPoolRoomy";
        assert_eq!(hear(50.0), (None, yes.clone(), roomy.to_owned()));
        for (data, level) in [(85.0, "ThinPoolFillsUp"), (95.0, "ThinPoolAlmostFull")] {
            assert_eq!(hear(data), (Some(level), no.clone(), level.to_owned()));
            assert_eq!(hear(data + 1.0), (None, no.clone(), level.to_owned()));
        }
        assert_eq!(hear(60.0), (Some(roomy), yes, roomy.to_owned()));
    }

    #[test]
    fn the_pool_is_named_and_what_to_do() {
        let (size, percent) = (Bytes::GIB, Some(80.0));
        let thin =
            ThinStock { size, promised: size, data_percent: percent, metadata_percent: percent };
        let news = Told::default().news(&"fast".parse().unwrap(), &thin).unwrap();
        assert!(news.note.starts_with("pool fast: 80.0 % of its thin pool's data"), "{news:?}");
    }
}
