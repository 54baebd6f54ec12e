//! The farm CA, identities, and serving and calling under mutual TLS.
