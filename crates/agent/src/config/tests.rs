use super::*;

const EXAMPLE: &str = include_str!("../../../../docs/agent.toml.example");

fn parse(text: &str) -> Result<AgentConfig, String> {
    let config: AgentConfig = toml::from_str(text).map_err(|e| e.to_string())?;
    config.check().map_err(|e| e.to_string())?;
    Ok(config)
}

#[test]
fn the_example_is_valid() {
    let config = parse(EXAMPLE).unwrap();
    assert!(config.cards[1].is_shared());
    assert_eq!(config.memory_reserve, Bytes::mib(256));
    assert_eq!(
        config.switches[0].address.map(|a| a.to_string()).as_deref(),
        Some("192.168.1.201/24")
    );
}

#[test]
fn what_is_wrong_is_named() {
    let minimal = "id=\"a\"\nlisten=\"127.0.0.1:1\"\nmigration_address=\"127.0.0.1\"\n";
    parse(minimal).unwrap();
    for (more, named) in [
        ("typo = 1", "typo"),
        ("run_dir = \"run\"", "run_dir"),
        ("cores = []", "cores"),
        (
            "[[switches]]\nname=\"p\"\nbridge=\"b\"\nuplink=\"eth9\"",
            "eth9",
        ),
        (
            "[[switches]]\nname=\"p\"\nbridge=\"b\"\naddress=\"1.2.3.4\"",
            "prefix length",
        ),
        ("[[datastores]]\nname=\"../x\"\npath=\"/x\"", "../x"),
        ("[[datastores]]\nname=\"x\"\npath=\"x\"", "absolute"),
        ("[[cards]]\nname=\"a b\"\nroles=[]", "a b"),
        (
            "[[cards]]\nname=\"a\"\nroles=[]\n[[cards]]\nname=\"a\"\nroles=[]",
            "twice",
        ),
    ] {
        let error = parse(&format!("{minimal}{more}")).unwrap_err();
        assert!(error.contains(named), "{more}: {error}");
    }
}
