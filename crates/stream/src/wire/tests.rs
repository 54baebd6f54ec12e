//! The codec gives back what was put in, and takes nothing else.

use proptest::prelude::*;

use super::*;

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(Kind::ALL.to_vec())
}

proptest! {
    #[test]
    fn headers_round_trip(kind in kinds(), part in 0.0..=1.0_f64) {
        let length = (kind.limit() as f64 * part) as usize;
        prop_assert_eq!(Header::decode(Header::encode(kind, length)), Ok(Header { kind, length }));
    }

    #[test]
    fn any_header_is_refused_or_within_its_limit(bytes: [u8; Header::SIZE]) {
        if let Ok(header) = Header::decode(bytes) {
            prop_assert!(header.length <= header.kind.limit());
            prop_assert_eq!(Header::encode(header.kind, header.length), bytes);
        }
    }

    #[test]
    fn lengths_over_the_limit_are_refused(kind in kinds(), over in 1_u32..) {
        let length = u32::try_from(kind.limit()).unwrap().saturating_add(over);
        let mut bytes = Header::encode(kind, 0);
        bytes[1..].copy_from_slice(&length.to_be_bytes());
        prop_assert_eq!(Header::decode(bytes), Err(WireError::TooLong { kind, length }));
    }

    #[test]
    fn hellos_round_trip(caps: u32, id in "[A-Za-z0-9_-]{1,64}") {
        let hello = Hello { capabilities: Capabilities(caps), migration: id.parse().unwrap() };
        let bytes = hello.encode();
        prop_assert!(bytes.len() <= Kind::Hello.limit());
        prop_assert_eq!(Hello::decode(&bytes), Ok(hello));
    }

    #[test]
    fn truncated_hellos_are_refused(id in "[a-z]{1,64}", keep in 0_usize..=14) {
        let hello = Hello { capabilities: Capabilities::default(), migration: id.parse().unwrap() };
        // Up to here no byte of the id is left, and the id is what makes it whole.
        prop_assert!(Hello::decode(&hello.encode()[..keep]).is_err());
    }

    #[test]
    fn welcomes_round_trip_and_truncated_ones_are_refused(caps: u32, keep in 0_usize..6) {
        let welcome = Welcome { capabilities: Capabilities(caps) };
        let bytes = welcome.encode();
        prop_assert_eq!(Welcome::decode(&bytes), Ok(welcome));
        prop_assert!(Welcome::decode(&bytes[..keep]).is_err());
    }

    #[test]
    fn origins_round_trip(codes in proptest::collection::vec(0_u8..3, 0..=batch::MAX_PAGES)) {
        let origins: Vec<_> = codes.iter().map(|code| match code {
            0 => None,
            1 => Some(Origin::Store),
            _ => Some(Origin::Template),
        }).collect();
        let payload = Origin::encode(&origins);
        prop_assert!(payload.len() <= Kind::Have.limit());
        prop_assert_eq!(Origin::decode(&payload, origins.len()), Ok(origins));
        prop_assert!(Origin::decode(&payload, codes.len() + 4).is_err());
    }

    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        let _ = Hello::decode(&bytes);
        let _ = Welcome::decode(&bytes);
        prop_assert_eq!(decode_final(&bytes).is_ok(), bytes.len() >= DIGEST);
        let clean = !decode_reason(&bytes).chars().any(char::is_control);
        prop_assert!(clean);
    }

    #[test]
    fn reasons_are_cut_to_readable_text(reason in "\\PC{0,1500}") {
        let bytes = encode_reason(&reason);
        prop_assert!(bytes.len() <= MAX_REASON);
        prop_assert!(reason.starts_with(std::str::from_utf8(bytes).unwrap()));
    }
}

#[test]
fn another_version_is_named_before_anything_else_is_read() {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(7_u16.to_be_bytes());
    assert_eq!(Hello::decode(&bytes), Err(WireError::Version(7)));
    assert_eq!(
        Welcome::decode(&[0, 9, 1, 2, 3]),
        Err(WireError::Version(9))
    );
}

#[test]
fn other_protocols_are_not_relays() {
    assert_eq!(
        Hello::decode(b"GET / HTTP/1.1\r\n\r\n"),
        Err(WireError::NotARelay)
    );
    assert_eq!(Header::decode(*b"GET /"), Err(WireError::UnknownType(b'G')));
    assert_eq!(Header::decode([0; 5]), Err(WireError::UnknownType(0)));
}

#[test]
fn ids_that_are_no_ids_are_refused() {
    for id in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
        assert!(id.parse::<MigrationId>().is_err(), "{id:?}");
        assert!(
            serde_json::from_value::<MigrationId>(id.into()).is_err(),
            "{id:?}"
        );
    }
}
