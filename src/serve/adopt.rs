//! `tarn adopt` and `tarn release`: one change on this machine, beside the driver that serves it.

use super::{
    machine,
    outlook::{Said, Source},
};
use crate::{
    host::{Adopted, Host, Released, beside},
    lvm::tools::Exec,
    pool::owner::Owner,
    volume::{Adoption, Driver, NodeId, VolumeId},
};

/// Makes a logical volume of this machine a volume of its pool.
///
/// # Errors
/// Why it may not be, or was not, and what to do about it.
pub fn adopt(
    driver: &Driver,
    node: &NodeId,
    source: Source,
    wanted: &Adoption,
) -> anyhow::Result<Adopted> {
    Ok(host(driver, node, source)?.adopt(wanted)?)
}

/// Hands an adopted volume back.
///
/// # Errors
/// As [`adopt`].
pub fn release(
    driver: &Driver,
    node: &NodeId,
    source: Source,
    id: &VolumeId,
) -> anyhow::Result<Released> {
    Ok(host(driver, node, source)?.release(id)?)
}

fn host(driver: &Driver, node: &NodeId, source: Source) -> anyhow::Result<Host> {
    machine::check_programs().map_err(anyhow::Error::msg)?;
    let Said { pools, cluster, unread: _ } = source.ask()?;
    let owner = Owner { creator: driver.name().to_owned(), cluster, node: node.clone() };
    Ok(beside(machine::tools(Exec), &owner, pools)?)
}
