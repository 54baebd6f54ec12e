//! Compares ways to move a running VM: stock QEMU in several tunings and Godwit, on the lab, in one run.
//!
//! ```text
//! run ─► plan ─► for each stage: VMs (bare, or the farm's) ─► load, warm-up ─► one move after the other ─► results
//! ```
//! | module | what it does |
//! |---|---|
//! | [`plan`] | which VM moves when, by which engine; what kind of visit a move is. Pure. |
//! | [`lab`], [`blade`] | the lab as the bench uses it; processes inside a blade |
//! | [`bare`] | VMs outside the farm: stock QEMU, driven as a careful script would |
//! | [`farm`] | VMs of the farm, moved through its API |
//! | [`load`] | what keeps the VMs busy |
//! | [`measure`] | the meters: the card, the processors, the echo probe's window |
//! | [`result`] | medians, ratios, JSON, table, chart |
//! | [`mod@run`] | carries a plan out |
//!
//! Read [`plan`] first, then [`mod@run`]. All engines are measured by the same meters with the same definitions, which
//! [`measure`] gives. Whatever is started is ended by what holds it (drop guards), by process id only.

pub mod bare;
pub mod blade;
pub mod error;
pub mod farm;
pub mod lab;
pub mod load;
pub mod measure;
pub mod options;
pub mod plan;
pub mod result;
pub mod run;
pub mod say;
pub mod stop;

pub use error::BenchError;
pub use options::Options;
pub use result::Results;
pub use run::run;
