//! Who has a join token may join, once.

use std::path::Path;
use std::sync::Arc;

use crate::farm::{Farm, host, text};

/// The second use is refused, so is a token for another farm; the host that joined can be forgotten.
pub async fn a_join_token_is_good_once(farm: Arc<Farm>) {
    let folder = tempfile::tempdir().unwrap();
    let token = farm.client.join_token().await.unwrap().token;
    let (guest, thief) = (
        config(folder.path(), "guest"),
        config(folder.path(), "thief"),
    );
    let join = async |config: &str, token: &str| {
        let words = ["agent", "join", "--token", token, "--config", config];
        let output = farm.godwit(&words).await;
        (output.status.success(), text(&output))
    };

    let (secret, fingerprint) = token.split_once('.').unwrap();
    let other_farm = format!("{secret}.{}", "0".repeat(fingerprint.len()));
    let (joined, said) = join(&thief, &other_farm).await;
    assert!(!joined, "{said}");

    let (joined, said) = join(&guest, &token).await;
    assert!(joined, "{said}");
    let known = farm.client.host(&host("guest")).await.unwrap();
    assert_eq!(known.vms, 0);

    let (joined, said) = join(&thief, &token).await;
    assert!(!joined && said.contains("refused"), "{said}");
    assert!(!folder.path().join("thief/agent.pem").exists());
    farm.client.host(&host("thief")).await.unwrap_err();
    let (joined, said) = join(&thief, &format!("guess.{fingerprint}")).await;
    assert!(!joined, "{said}");

    farm.client.remove_host(&host("guest")).await.unwrap();
    farm.client.host(&host("guest")).await.unwrap_err();
}

/// The configuration of a host that will never run an agent.
fn config(folder: &Path, id: &str) -> String {
    let (file, state) = (folder.join(format!("{id}.toml")), folder.join(id));
    let lines = format!(
        "id = \"{id}\"\nlisten = \"127.0.0.1:9\"\nmigration_address = \"127.0.0.1\"\nstate_dir = \"{}\"\n",
        state.display()
    );
    std::fs::write(&file, lines).unwrap();
    file.display().to_string()
}
