//! Wrong requests: each is answered with a code for programs and a sentence for people.

use std::sync::Arc;

use godwit_api::error::{ApiError, ErrorCode};
use reqwest::Method;

use crate::farm::Farm;
use crate::rest::Rest;
use crate::shop::SHOP;

const CLONE: &str = r#"{"template":"golden","name":"NAME","power_on":false}"#;

/// Whatever is wrong, and whoever finds it.
pub async fn wrong_requests_get_an_error_in_json(farm: Arc<Farm>) {
    farm.shops().await;
    let rest = Rest::administrator(&farm);
    let vms = farm.client.vms().await.unwrap().len();
    let clone = |name: &str| CLONE.replace("NAME", name);
    let power = format!("/vms/{SHOP}/power");
    let migrate = format!("/vms/{SHOP}/migrate");
    let nobody = "00000000-0000-4000-8000-000000000000";
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let cases = [
        (&get, "/nothing".to_owned(), None, ErrorCode::NotFound),
        (&get, "/vms/nobody".to_owned(), None, ErrorCode::NotFound),
        (&get, "/hosts/nobody".to_owned(), None, ErrorCode::NotFound),
        (
            &get,
            "/hosts/Not%20A%20Host".to_owned(),
            None,
            ErrorCode::Invalid,
        ),
        (&get, format!("/tasks/{nobody}"), None, ErrorCode::NotFound),
        (&get, "/tasks/seven".to_owned(), None, ErrorCode::Invalid),
        (&get, "/tasks?limit=-1".to_owned(), None, ErrorCode::Invalid),
        (
            &get,
            format!("/migrations/{nobody}"),
            None,
            ErrorCode::NotFound,
        ),
        (
            &post,
            "/vms/clone".to_owned(),
            Some("{".to_owned()),
            ErrorCode::Invalid,
        ),
        (
            &post,
            "/vms/clone".to_owned(),
            Some("{}".to_owned()),
            ErrorCode::Invalid,
        ),
        (
            &post,
            "/vms/clone".to_owned(),
            Some(clone(SHOP)),
            ErrorCode::Conflict,
        ),
        (
            &post,
            "/vms/clone".to_owned(),
            Some(clone("No Name")),
            ErrorCode::Invalid,
        ),
        (
            &post,
            "/vms/clone".to_owned(),
            Some(clone("a").replace("golden", "lead")),
            ErrorCode::NotFound,
        ),
        (
            &post,
            "/vms/clone".to_owned(),
            Some("x".repeat((2 << 20) + 1)),
            ErrorCode::Invalid,
        ),
        (
            &post,
            power.clone(),
            Some(r#"{"action":"dance"}"#.to_owned()),
            ErrorCode::Invalid,
        ),
        (
            &post,
            power,
            Some(r#"{"action":"on"}"#.to_owned()),
            ErrorCode::Conflict,
        ),
        (
            &post,
            migrate,
            Some(r#"{"to":"nobody"}"#.to_owned()),
            ErrorCode::NotFound,
        ),
        (
            &put,
            format!("/migrations/{nobody}/echo"),
            Some(r#"{"blackout_ms":1}"#.to_owned()),
            ErrorCode::NotFound,
        ),
    ];
    for (method, path, body, code) in cases {
        let (status, answer) = rest.json(method.clone(), &path, body.as_deref()).await;
        let error: ApiError = serde_json::from_value(answer.clone())
            .unwrap_or_else(|_| panic!("{method} {path}: {status} {answer}"));
        assert_eq!(error.code, code, "{method} {path}: {error}");
        assert_eq!(status, code.status(), "{method} {path}: {error}");
        assert!(error.message.len() > 10, "{method} {path}: {error}");
    }
    let (status, answer) = rest.json(Method::PATCH, "/vms", None).await;
    assert_eq!(status, 405);
    serde_json::from_value::<ApiError>(answer).unwrap();
    assert_eq!(farm.client.vms().await.unwrap().len(), vms);
}
