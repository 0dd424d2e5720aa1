//! `tarn adopt` and `tarn release`: one change on this machine, beside the driver that serves it.

use std::path::Path;

use super::{
    machine,
    outlook::{Said, Source},
};
use crate::{
    lvm::tools::Exec,
    machine::{Beside, beside},
    pool::owner::Owner,
    volume::{Adopted, Adoption, Driver, NodeId, Released, VolumeId},
};

/// Makes what is there on this machine a volume of its pool. What pools keep in directories is below `volumes`.
///
/// # Errors
/// Why it may not be, or was not, and what to do about it.
pub fn adopt(
    driver: &Driver,
    node: &NodeId,
    source: Source,
    volumes: &Path,
    wanted: &Adoption,
) -> anyhow::Result<Adopted> {
    Ok(at(driver, node, source, volumes)?.adopt(wanted)?)
}

/// Hands an adopted volume back.
///
/// # Errors
/// As [`adopt`].
pub fn release(
    driver: &Driver,
    node: &NodeId,
    source: Source,
    volumes: &Path,
    id: &VolumeId,
) -> anyhow::Result<Released> {
    Ok(at(driver, node, source, volumes)?.release(id)?)
}

fn at(driver: &Driver, node: &NodeId, source: Source, volumes: &Path) -> anyhow::Result<Beside> {
    machine::check_programs().map_err(anyhow::Error::msg)?;
    let Said { pools, cluster, unread: _ } = source.ask()?;
    let owner = Owner { creator: driver.name().to_owned(), cluster, node: node.clone() };
    Ok(beside(machine::tools(Exec), &owner, pools, volumes)?)
}
