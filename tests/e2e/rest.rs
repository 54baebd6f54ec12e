//! The manager's REST API as anybody might call it: requests that the client library would not send.

use reqwest::{Client, Method, Response};
use serde_json::Value;

use godwit_tls::{Expect, Identity, KeyedCert, SERVER_NAME};
use std::net::SocketAddr;

use crate::farm::Farm;

/// A caller with this token, or none.
pub struct Rest {
    client: Client,
    base: String,
    token: Option<String>,
}

impl Rest {
    /// The administrator.
    pub fn administrator(farm: &Farm) -> Self {
        let token = std::fs::read_to_string(&farm.lab.access.token).unwrap();
        Self::with_token(farm, Some(token.trim()))
    }

    /// Somebody with this token, or none.
    pub fn with_token(farm: &Farm, token: Option<&str>) -> Self {
        let address = farm.lab.access.address;
        Self {
            client: client(farm.ca(), None, Expect::Exactly(Identity::Manager), address),
            base: format!("https://{SERVER_NAME}:{}/api/v1", address.port()),
            token: token.map(str::to_owned),
        }
    }

    /// Calls with a body as it is.
    pub async fn call(&self, method: Method, path: &str, body: Option<&str>) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_owned());
        }
        request.send().await.unwrap()
    }

    /// Calls and reads JSON.
    pub async fn json(&self, method: Method, path: &str, body: Option<&str>) -> (u16, Value) {
        let response = self.call(method, path, body).await;
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text);
        (
            status,
            json.unwrap_or_else(|_| panic!("{path}: {status}, no JSON: {text}")),
        )
    }
}

/// An HTTPS client of a farm's server.
pub fn client(ca: &str, own: Option<&KeyedCert>, expect: Expect, address: SocketAddr) -> Client {
    godwit_tls::install_provider();
    let tls = godwit_tls::config::client(ca, own, expect).unwrap();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        // A server may hang up after a refusal: the next request must not find that out.
        .pool_max_idle_per_host(0)
        .resolve(SERVER_NAME, address)
        .build()
        .unwrap()
}
