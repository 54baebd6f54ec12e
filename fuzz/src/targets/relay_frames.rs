//! Any bytes as what a relay hears from a stranger: nothing panics, nothing over its limit is accepted, and what is
//! accepted is written again as it was read.

use godwit_stream::wire::{
    Capabilities, Header, Hello, Kind, MigrationId, Origin, Welcome, WireError, decode_final,
    decode_reason, encode_reason,
};

use crate::{Fault, Features, Target};

/// The target.
pub const TARGET: Target = Target {
    name: "relay-frames",
    seeds,
    run,
};

fn run(mut input: &[u8]) -> Result<Features, Fault> {
    let mut reached = vec![];
    while let Some((header, rest)) = input.split_first_chunk() {
        let header = match Header::decode(*header) {
            Ok(header) => header,
            Err(error) => {
                reached.push((None, Some(std::mem::discriminant(&error))));
                break;
            }
        };
        if header.length > header.kind.limit() {
            return Err(Fault::OverLimit);
        }
        let Some((payload, after)) = rest.split_at_checked(header.length) else {
            break;
        };
        let refused = take(header.kind, payload)?.err();
        let ended = refused.is_some();
        reached.push((
            Some(header.kind as u8),
            refused.as_ref().map(std::mem::discriminant),
        ));
        if ended {
            break;
        }
        input = after;
    }
    Ok(Features::of(reached))
}

/// Reads a payload as both relays would; the inner error is the sender's fault.
fn take(kind: Kind, payload: &[u8]) -> Result<Result<(), WireError>, Fault> {
    let same = |written: &[u8]| (written == payload).then_some(()).ok_or(Fault::Bytes);
    match kind {
        Kind::Hello => match Hello::decode(payload) {
            Ok(hello) => same(&hello.encode())?,
            Err(error) => return Ok(Err(error)),
        },
        Kind::Welcome => match Welcome::decode(payload) {
            Ok(welcome) => same(&welcome.encode())?,
            Err(error) => return Ok(Err(error)),
        },
        Kind::Have => {
            for spare in 0..4 {
                let pages = (payload.len() * 4).saturating_sub(spare);
                match Origin::decode(payload, pages) {
                    Ok(origins) if origins.len() != pages => return Err(Fault::Pages),
                    Ok(origins) if spare == 0 => same(&Origin::encode(&origins))?,
                    Ok(_) => {}
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        Kind::Final => {
            if let Err(error) = decode_final(payload) {
                return Ok(Err(error));
            }
        }
        Kind::Refused => {
            let reason = decode_reason(payload);
            if reason.chars().any(char::is_control) {
                return Err(Fault::Bytes);
            }
            if encode_reason(&reason).len() > Kind::Refused.limit() {
                return Err(Fault::OverLimit);
            }
        }
        Kind::Data | Kind::Accepted | Kind::Query | Kind::Batch => {}
    }
    Ok(Ok(()))
}

/// One good frame of each kind that has a form.
fn seeds() -> Vec<Vec<u8>> {
    let frame = |kind, payload: &[u8]| [&Header::encode(kind, payload.len())[..], payload].concat();
    let capabilities = Capabilities::PAGES;
    let mut frames = vec![
        frame(Kind::Welcome, &Welcome { capabilities }.encode()),
        frame(
            Kind::Have,
            &Origin::encode(&[Some(Origin::Store), None, Some(Origin::Template), None]),
        ),
        frame(Kind::Final, &[7; 40]),
        frame(Kind::Refused, "no \u{7} room\n für it".as_bytes()),
        frame(Kind::Data, b"anything"),
        frame(Kind::Accepted, b""),
    ];
    if let Ok(migration) = "a-migration_7".parse::<MigrationId>() {
        let hello = Hello {
            capabilities,
            migration,
        };
        frames.push(frame(Kind::Hello, &hello.encode()));
    }
    frames.push(frames.concat());
    frames
}
