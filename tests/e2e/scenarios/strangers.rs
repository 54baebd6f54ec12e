//! Mutual TLS: who does not belong to the farm is told nothing, and who does gets what is his.

use std::sync::Arc;

use godwit_api::error::ErrorCode;
use godwit_api::farm::client::FarmClient;
use godwit_lab::config::AGENT_PORT;
use godwit_tls::{Ca, Expect, Identity, KeyedCert, SERVER_NAME, SubjectNames};

use crate::farm::Farm;
use crate::rest::{self, Rest};

/// No certificate, a stranger's, a relay's and another host's are told apart.
pub async fn without_the_farms_certificate_no_agent_answers(farm: Arc<Farm>) {
    let blade = "blade1";
    farm.agent(blade).host().await.unwrap();

    let address = (
        farm.lab.description.plan.blade(blade).unwrap().management,
        AGENT_PORT,
    )
        .into();
    let expect = || Expect::Exactly(Identity::Agent(blade.into()));
    let bare = rest::client(farm.ca(), None, expect(), address);
    for path in ["v1/host", "v1/vms", "metrics"] {
        let url = format!("https://{SERVER_NAME}:{AGENT_PORT}/{path}");
        bare.get(url).send().await.unwrap_err();
    }

    // The same names, signed by somebody else.
    let stranger = Ca::create("Godwit farm CA").unwrap();
    for identity in [Identity::Manager, Identity::Agent("blade2".into())] {
        let forged = stranger.issue(&identity, &SubjectNames::default()).unwrap();
        let refused = farm.agent_as(blade, &forged).host().await.unwrap_err();
        assert_eq!(refused.code(), None, "not even an error in JSON: {refused}");
    }

    let neighbour = farm.agent_as(blade, &identity(&farm, "blade2", "agent"));
    neighbour.clock().await.unwrap();
    let refused = neighbour.vms().await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Forbidden), "{refused}");
    let relay = farm.agent_as(blade, &identity(&farm, "blade2", "relay"));
    let refused = relay.clock().await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Forbidden), "{refused}");
}

/// Without the administrator's token nothing is told or done; a server of another farm is not believed.
pub async fn without_the_token_the_manager_says_nothing(farm: Arc<Farm>) {
    let address = farm.lab.access.address;
    for token in ["", "guess", &"0".repeat(64)] {
        let nobody = FarmClient::new(address, farm.ca(), token).unwrap();
        nobody.about().await.unwrap();
        for refused in [
            nobody.hosts().await.map(drop).unwrap_err(),
            nobody.join_token().await.map(drop).unwrap_err(),
            nobody.delete_vm("shop1").await.map(drop).unwrap_err(),
            nobody.audit(1).await.map(drop).unwrap_err(),
        ] {
            assert_eq!(
                refused.code(),
                Some(ErrorCode::Unauthenticated),
                "{refused}"
            );
        }
    }
    let (status, _) = Rest::with_token(&farm, None)
        .json(reqwest::Method::GET, "/vms", None)
        .await;
    assert_eq!(status, 401);

    let stranger = Ca::create("Godwit farm CA").unwrap();
    let elsewhere = FarmClient::new(address, stranger.cert_pem(), "x").unwrap();
    elsewhere.about().await.unwrap_err();
    let forged = stranger
        .issue(&Identity::Manager, &SubjectNames::default())
        .unwrap();
    let expect = Expect::Exactly(Identity::Manager);
    let client = rest::client(farm.ca(), Some(&forged), expect, address);
    let url = format!("https://{SERVER_NAME}:{}/api/v1/about", address.port());
    client.get(url).send().await.unwrap_err();
}

fn identity(farm: &Farm, blade: &str, who: &str) -> KeyedCert {
    let folder = farm.lab.agent_state(blade);
    let read = |end: &str| std::fs::read_to_string(folder.join(format!("{who}.{end}"))).unwrap();
    KeyedCert {
        cert_pem: read("pem"),
        key_pem: read("key"),
    }
}
