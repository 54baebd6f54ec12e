//! The DVD Store workload: schema, data, driver, audit.
