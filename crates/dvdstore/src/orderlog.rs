//! The order log: every [`OrderRecord`](crate::record::OrderRecord) as a row of CSV.
