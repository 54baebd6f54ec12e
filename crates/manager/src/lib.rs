//! The central daemon: inventory, tasks, events, REST.
