//! The golden image: a small bootable Debian guest with PostgreSQL and the DVD Store.
