//! The statements that make a store, in the order in which they run.
//!
//! They live in `sql/` as files that `psql` can read too. Tables come before the data, indexes and keys after it.

/// Tables, without indexes or keys between them.
pub(crate) const TABLES: &str = include_str!("sql/tables.sql");
/// Primary keys, indexes and full text, after the data.
pub(crate) const INDEXES: &str = include_str!("sql/indexes.sql");
/// Foreign keys, after the indexes.
pub(crate) const FOREIGN_KEYS: &str = include_str!("sql/foreign_keys.sql");
/// The reorder trigger and the purchase.
pub(crate) const ROUTINES: &str = include_str!("sql/routines.sql");

/// All our tables, dependants first, so that dropping them in this order needs no cascade.
pub(crate) const TABLE_NAMES: [&str; 9] = [
    "cust_hist",
    "orderlines",
    "orders",
    "customers",
    "reorder",
    "inventory",
    "products",
    "categories",
    "godwit_store",
];
