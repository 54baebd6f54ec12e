//! Runs one order on a connection.
