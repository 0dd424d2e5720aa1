//! Doing it through Kubernetes: the only room that knows its API.
//!
//! The controller turns each call into a [`objects::LogicalVolume`] on the node that it chooses, and
//! waits for that node's answer on a watch ([`provisioner`]). The node's agent carries the wishes of
//! its own node out with the same `host` code that `tarn standalone` uses, and reports ([`agent`]).
//!
//! ```text
//!   controller                         object                      agent of the node
//!   place, create  ----------------->  spec, no phase
//!                                      phase: Creating  <--------  taken up, by version
//!                                      phase: Ready     <--------  made, with its size
//!   answer  <------------------------
//!   delete  ------------------------>  deletionTimestamp
//!                                      phase: Deleted   <--------  gone from the disks
//!   take the finalizer off, answer
//! ```
//!
//! A volume that has lost its object is reported by its node, and the controller makes the object
//! again from the report (`mend`).
//!
//! A wish that no agent has taken up can be withdrawn: the version of the object decides who was
//! first. One that was taken up belongs to its node until the node says what became of it.

mod adopted;
mod adoptions;
pub mod agent;
mod claims;
pub mod client;
mod fate;
mod following;
mod lease;
mod locals;
mod mend;
pub mod objects;
mod pending;
mod placement;
mod provisioner;
mod siblings;
mod state;
mod statics;
mod view;
mod waiters;
mod wish;

pub use adopted::{BadClaimName, BadObjectName, ClaimName, ObjectName, Wishes, objects_text};
pub use adoptions::PublishedAdoptions;
pub use provisioner::ClusterProvisioner;
pub use statics::StaticVolumes;
pub use view::View;

/// What keeps an object until the node has said that its volume is gone, or no node had taken it up.
const FINALIZER: &str = "tarn.dev/volume";
/// With the value `true` on a NodeLocalStorage: an admin says that this node is gone for good, and
/// deletions of its volumes need not wait for it. Only believed while it is silent.
const RELEASE: &str = "tarn.dev/release-volumes";
/// On an object that was made again from what its node has found: the node takes that up, and makes
/// nothing new in its place.
const FOUND: &str = "tarn.dev/found";
/// With the value `true` on an object: its volume is to be deleted though it was adopted. The controller says so
/// of what a CSI client deletes; who deletes the object by hand may not have meant the data.
const DELETE_ADOPTED: &str = "tarn.dev/delete-adopted";
/// On the object of a volume that was made before there was a claim for it: one has it now, or had it. It may hold data, and
/// is offered to nobody again.
const GIVEN_OUT: &str = "tarn.dev/given-out";
/// The label of the PersistentVolumes of classes with `mode: Static`, with the uid of their class.
const STATIC: &str = "tarn.dev/static";
/// What keeps such a PersistentVolume until [`GIVEN_OUT`] is written where it has to be.
const STATIC_FINALIZER: &str = "tarn.dev/static";
/// On a NodeLocalStorage: until when, in RFC 3339, an admin allows any number of deletions at once.
const ALLOW: &str = "tarn.dev/allow-deletions";
/// On a Node: the serials of the disks that are to leave their pools there, with commas between.
const RETIRE: &str = "tarn.dev/retire-disks";
