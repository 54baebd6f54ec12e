//! Bridges, taps, namespaces, HTB classes, announcements, echo probe.
