//! The paper's test, its statistics and its report.
