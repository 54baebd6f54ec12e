//! What is switched on in QEMU for which engine: pure.
//!
//! Everything is set, also what is off: the QEMU that received one move is the source of the next, by another engine.
//! `return-path` stays off and `late-block-activate` on at the destination, as Godwit has them: then no copy runs by
//! itself after a broken connection. The limits of the tuned engines are those that Godwit's agent sets: 30 ms of
//! planned downtime, no limit of bandwidth but the card's, auto-converge.

use serde_json::{Value, json};

use crate::plan::Engine;

/// Channels of multifd.
const CHANNELS: u8 = 2;
/// QEMU's default of its bandwidth limit, bytes per second.
const DEFAULT_BANDWIDTH: u64 = 128 << 20;
/// QEMU's default of its planned downtime, milliseconds.
const DEFAULT_DOWNTIME: u64 = 300;
/// The tuned engines' planned downtime, milliseconds: what Godwit gets.
const TUNED_DOWNTIME: u64 = 30;

/// Arguments of `migrate-set-capabilities`.
#[must_use]
pub fn capabilities(engine: Engine, incoming: bool) -> Value {
    let all = [
        ("events", true),
        ("return-path", false),
        ("validate-uuid", true),
        ("late-block-activate", incoming),
        ("auto-converge", !incoming && engine != Engine::PlainDefault),
        ("multifd", engine == Engine::MultifdZstd),
        ("xbzrle", engine == Engine::Xbzrle),
    ];
    let list: Vec<Value> = all
        .iter()
        .map(|(name, state)| json!({"capability": name, "state": state}))
        .collect();
    json!({"capabilities": list})
}

/// Arguments of `migrate-set-parameters`, for a VM with this much memory.
#[must_use]
pub fn parameters(engine: Engine, memory: u64) -> Value {
    let (bandwidth, downtime) = match engine {
        Engine::PlainDefault => (DEFAULT_BANDWIDTH, DEFAULT_DOWNTIME),
        _ => (0, TUNED_DOWNTIME),
    };
    let mut all = json!({"max-bandwidth": bandwidth, "downtime-limit": downtime});
    match engine {
        Engine::MultifdZstd => {
            all["multifd-channels"] = json!(CHANNELS);
            all["multifd-compression"] = json!("zstd");
            all["multifd-zstd-level"] = json!(1);
        }
        Engine::Xbzrle => all["xbzrle-cache-size"] = json!(memory.next_power_of_two()),
        Engine::Plain | Engine::PlainDefault | Engine::Godwit => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(engine: Engine, incoming: bool) -> Vec<String> {
        let all = capabilities(engine, incoming);
        let list = all["capabilities"].as_array().unwrap().clone();
        let named = |one: &Value| one["capability"].as_str().unwrap().to_owned();
        list.iter()
            .filter(|one| one["state"] == true)
            .map(named)
            .collect()
    }

    #[test]
    fn no_engine_lets_a_copy_run_by_itself() {
        for engine in Engine::ALL {
            assert!(!on(engine, false).contains(&"return-path".to_owned()));
            assert!(on(engine, true).contains(&"late-block-activate".to_owned()));
        }
    }

    #[test]
    fn what_one_engine_switches_on_the_next_switches_off() {
        let special = |engine| {
            let names = on(engine, false);
            names
                .into_iter()
                .filter(|name| name == "multifd" || name == "xbzrle")
                .collect::<Vec<_>>()
        };
        assert_eq!(special(Engine::MultifdZstd), ["multifd"]);
        assert_eq!(special(Engine::Xbzrle), ["xbzrle"]);
        assert!(special(Engine::Plain).is_empty());
    }

    #[test]
    fn tuned_engines_have_one_limit_and_the_default_its_own() {
        for engine in [Engine::Plain, Engine::MultifdZstd, Engine::Xbzrle] {
            let all = parameters(engine, 512 << 20);
            assert_eq!(
                (&all["downtime-limit"], &all["max-bandwidth"]),
                (&json!(30), &json!(0))
            );
        }
        assert_eq!(parameters(Engine::PlainDefault, 0)["downtime-limit"], 300);
    }
}
