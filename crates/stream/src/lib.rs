//! The migration data path: relays and their wire protocol.
