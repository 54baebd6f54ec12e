//! The REST types, the OpenAPI description and the typed client.
