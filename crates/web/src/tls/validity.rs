//! From when until when a certificate is valid (RFC 5280, section 4.1.2.5), read from its DER.

use primitives::Timestamp;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// The explicit tag of the version, which the oldest certificates do not have.
const VERSION: u8 = 0xa0;

/// The time in which a certificate is valid, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

/// Reads the validity of a certificate; `None` for what is no certificate.
pub(super) fn validity(certificate: &[u8]) -> Option<Validity> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest, VERSION)?.1;
    }
    // Serial number, algorithm of the signature, issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        rest = element(rest, tag)?.1;
    }
    let (times, _) = element(rest, SEQUENCE)?;
    let (not_before, rest) = time(times)?;
    let (not_after, _) = time(rest)?;
    Some(Validity {
        not_before,
        not_after,
    })
}

/// Splits off the first element, which must have this tag: its content, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        // Four bytes of length are more than any certificate has.
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(count)?;
        let length = bytes
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        (length, rest)
    };
    rest.split_at_checked(length)
}

fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (text, rest, century) = if der.first()? == &UTC_TIME {
        let (text, rest) = element(der, UTC_TIME)?;
        // Two digits of the year: 50 and above are of the last century.
        let century = if text.first()? >= &b'5' { "19" } else { "20" };
        (text, rest, century)
    } else {
        let (text, rest) = element(der, GENERALIZED_TIME)?;
        (text, rest, "")
    };
    let text = format!("{century}{}", std::str::from_utf8(text).ok()?);
    let digits = text.strip_suffix('Z')?;
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (date, time) = digits.split_at(8);
    let time = Timestamp::parse_rfc3339(&format!(
        "{}-{}-{}T{}:{}:{}Z",
        &date[..4],
        &date[4..6],
        &date[6..],
        &time[..2],
        &time[2..4],
        &time[4..]
    ))?;
    Some((time, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(from: i32, until: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(["llm.example.org".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 2);
        params.not_after = date_time_ymd(until, 12, 31);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        certificate.der().to_vec()
    }

    #[test]
    fn both_forms_of_time_are_read() {
        for (from, until) in [(1999, 2049), (2026, 2050), (2051, 9999)] {
            let validity = validity(&certificate(from, until)).unwrap();
            let text = |time: Timestamp| time.to_rfc3339();
            assert_eq!(
                text(validity.not_before),
                format!("{from}-01-02T00:00:00.000000Z")
            );
            assert_eq!(
                text(validity.not_after),
                format!("{until}-12-31T00:00:00.000000Z")
            );
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_not_misread() {
        let whole = certificate(2026, 2027);
        for end in 0..whole.len() {
            // The validity stands in the first part: a longer cut may still show it, and never panics.
            std::hint::black_box(validity(&whole[..end]));
        }
        for place in 0..whole.len() {
            for value in [0x00, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = whole.clone();
                changed[place] = value;
                std::hint::black_box(validity(&changed));
            }
        }
        assert_eq!(validity(b""), None);
        assert_eq!(validity(&whole[1..]), None);
    }
}
