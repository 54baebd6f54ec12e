//! The paper's test: two parts under the same orders, one without and one with live migrations,
//! and a report that says what the migrations cost and how far it can be trusted.
//!
//! Read [`profile`] (what is run), [`schedule`] (which VM moves when), [`records`] (what is written
//! down while it runs), [`report`] (what is made of it). Only [`run`] talks to a farm; everything
//! else is pure or works on a run's folder, so an interrupted run can be reported at any time.

pub mod profile;
pub mod raw;
pub mod records;
pub mod report;
pub mod run;
pub mod schedule;
pub mod selftest;
pub mod stats;
