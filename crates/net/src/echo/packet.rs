//! ICMP echo messages (RFC 792) as bytes. The payload says which probe of which prober it is, since the 16 bits of
//! ICMP's own sequence number come round after five minutes.

/// Length of a request: 8 bytes of ICMP header, 8 of session, 2 of target, 2 unused, 4 of sequence number.
pub(super) const LENGTH: usize = 24;
const REPLY: u8 = 0;
const REQUEST: u8 = 8;

/// Which probe a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    /// Told apart from other probers of this host by this number.
    pub session: u64,
    /// Index of the target.
    pub target: u16,
    /// Counts the probes of that target.
    pub sequence: u32,
}

/// Writes a request.
pub(super) fn request(probe: Probe) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[0] = REQUEST;
    bytes[4..6].copy_from_slice(&probe.session.to_be_bytes()[6..]);
    bytes[6..8].copy_from_slice(&probe.sequence.to_be_bytes()[2..]);
    bytes[8..16].copy_from_slice(&probe.session.to_be_bytes());
    bytes[16..18].copy_from_slice(&probe.target.to_be_bytes());
    bytes[20..24].copy_from_slice(&probe.sequence.to_be_bytes());
    let sum = checksum(&bytes);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Reads a reply out of an IPv4 packet as a raw socket delivers it; nothing when it is anything else. The kernel has
/// checked the sums.
pub(super) fn reply(packet: &[u8]) -> Option<Probe> {
    let header = usize::from(packet.first()? & 15) * 4;
    let icmp = packet.get(header..)?;
    if icmp.len() < LENGTH || icmp[0] != REPLY {
        return None;
    }
    Some(Probe {
        session: u64::from_be_bytes(icmp[8..16].try_into().ok()?),
        target: u16::from_be_bytes(icmp[16..18].try_into().ok()?),
        sequence: u32::from_be_bytes(icmp[20..24].try_into().ok()?),
    })
}

/// The Internet checksum (RFC 1071) of a message of even length.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: Probe = Probe {
        session: 0x0102_0304_0506_0708,
        target: 19,
        sequence: 0x0001_0203,
    };

    fn answered(request: [u8; LENGTH], header: usize) -> Vec<u8> {
        let mut packet = vec![0; header];
        packet[0] = 0x40 | u8::try_from(header / 4).unwrap();
        packet.extend(request);
        packet[header] = REPLY;
        packet
    }

    #[test]
    fn a_reply_names_its_probe_whatever_the_header_length() {
        for header in [20, 24, 60] {
            assert_eq!(reply(&answered(request(PROBE), header)), Some(PROBE));
        }
    }

    #[test]
    fn a_request_sums_to_zero() {
        assert_eq!(checksum(&request(PROBE)), 0);
        // RFC 1071's example.
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
    }

    #[test]
    fn anything_else_is_ignored() {
        let mut own_request = answered(request(PROBE), 20);
        own_request[20] = REQUEST;
        assert_eq!(reply(&own_request), None);
        assert_eq!(reply(&[]), None);
        assert_eq!(reply(&[0x4f; 10]), None);
        assert_eq!(reply(&answered(request(PROBE), 20)[..40]), None);
    }
}
