//! The OpenAPI description is true: every path that can be read is read, and the answer compared with what is promised.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use reqwest::Method;
use serde_json::Value;

use crate::farm::Farm;
use crate::rest::Rest;
use crate::schema::Schema;
use crate::shop::SHOP;

/// Answers, refusals and the change feed.
pub async fn the_description_says_what_the_server_answers(farm: Arc<Farm>) {
    let shops = farm.shops().await;
    one_migration(&farm, shops.first.name).await;
    let rest = Rest::administrator(&farm);
    let (_, document) = rest.json(Method::GET, "/openapi.json", None).await;
    let schema = Schema::new(&document);
    let mut differences = Vec::new();
    let paths = document["paths"].as_object().expect("paths");
    let readable = paths.iter().filter(|(_, item)| item.get("get").is_some());
    let mut read = 0;
    for (path, item) in readable {
        let (promised, place) = (&item["get"]["responses"]["200"]["content"], path.as_str());
        if path == "/changes" {
            let change = next_change(&farm, &rest).await;
            let promise = &promised["text/event-stream"]["schema"];
            differences.extend(schema.differences(promise, &change, place));
        } else {
            let (status, answer) = rest
                .json(Method::GET, &filled(&farm, path).await, None)
                .await;
            assert_eq!(status, 200, "{path}: {answer}");
            let promise = &promised["application/json"]["schema"];
            assert!(promise.is_object(), "{path} promises nothing");
            differences.extend(schema.differences(promise, &answer, place));
        }
        if path.contains('{') {
            let promise =
                &item["get"]["responses"]["default"]["content"]["application/json"]["schema"];
            let wrong = path.replace("{vm}", "nobody").replace("{id}", "nobody");
            let (_, answer) = rest.json(Method::GET, &wrong, None).await;
            differences.extend(schema.differences(promise, &answer, &wrong));
        }
        read += 1;
    }
    assert!(read >= 14, "only {read} paths can be read");
    let (_, token) = rest.json(Method::POST, "/join-tokens", None).await;
    let promise = &document["paths"]["/join-tokens"]["post"]["responses"]["200"]["content"];
    let promise = &promise["application/json"]["schema"];
    differences.extend(schema.differences(promise, &token, "/join-tokens"));
    assert!(differences.is_empty(), "{}", differences.join("\n"));

    // The comparison itself can fail.
    let nothing = schema.differences(promise, &Value::Object(serde_json::Map::new()), "empty");
    assert!(nothing.len() >= 2, "{nothing:?}");
}

/// The lists of migrations and tasks must not be empty, nor without a receipt.
async fn one_migration(farm: &Farm, vm: &str) {
    let moves = farm.client.migrations(100).await.unwrap();
    if moves.iter().all(|one| one.receipt.is_none()) {
        let to = farm.other(farm.vm(vm).await.host.as_str());
        let task = farm.move_to(vm, &to, None).await;
        farm.succeeded(task).await;
    }
}

/// A path with the id of something that exists.
async fn filled(farm: &Farm, path: &str) -> String {
    let kind = path.split('/').nth(1).unwrap_or_default();
    let id = match kind {
        "hosts" => "blade1".to_owned(),
        "tasks" => farm.client.tasks(1).await.unwrap()[0].id.to_string(),
        "migrations" => {
            let moves = farm.client.migrations(100).await.unwrap();
            let whole = moves.iter().find(|one| one.receipt.is_some()).unwrap();
            whole.id.to_string()
        }
        _ => String::new(),
    };
    path.replace("{vm}", SHOP).replace("{id}", &id)
}

/// The first entry of the change feed after something was changed.
async fn next_change(farm: &Farm, rest: &Rest) -> Value {
    let response = rest.call(Method::GET, "/changes", None).await;
    assert_eq!(response.status(), 200);
    let mut stream = response.bytes_stream();
    farm.client.join_token().await.unwrap();
    let change = async {
        let mut text = String::new();
        while let Some(piece) = stream.next().await {
            text += &String::from_utf8_lossy(&piece.unwrap());
            let whole = text.split("\n\n").find_map(|one| one.strip_prefix("data:"));
            if let Some(change) = whole.and_then(|one| serde_json::from_str(one.trim()).ok()) {
                return change;
            }
        }
        panic!("the change feed ended");
    };
    let change = tokio::time::timeout(Duration::from_secs(60), change).await;
    change.expect("the farm changes all the time")
}
