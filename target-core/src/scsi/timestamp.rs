//! REPORT and SET TIMESTAMP (SPC-5 §6.39, §6.49): milliseconds since 1970-01-01 in 48 bits.

use super::sense::Sense;

/// TIMESTAMP ORIGIN
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampOrigin {
    /// 010b: a SET TIMESTAMP command.
    SetTimestamp = 0b010,
    /// 011b: "by a method outside the scope of this standard", the host's clock.
    Outside = 0b011,
}

/// Parameter data of REPORT TIMESTAMP, to be cut to the ALLOCATION LENGTH.
pub fn report(origin: TimestampOrigin, timestamp_ms: u64) -> [u8; 12] {
    let mut out = [0; 12];
    out[1] = 0x0A;
    out[2] = origin as u8;
    out[4..10].copy_from_slice(&timestamp_ms.to_be_bytes()[2..]);
    out
}

/// Milliseconds of SET TIMESTAMP's parameter list; `None` where it is empty, which sets nothing.
pub fn parse(list: &[u8]) -> Result<Option<u64>, Sense> {
    if list.is_empty() {
        return Ok(None);
    }
    let list: &[u8; 12] = list.try_into().map_err(|_| Sense::parameter_list_length_error())?;
    let timestamp = list[4..10].iter().fold(0, |timestamp, byte| timestamp << 8 | u64::from(*byte));
    Ok(Some(timestamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_reported() {
        let list = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0];
        assert_eq!(parse(&list), Ok(Some(0x0102_0304_0506)));
        let data = report(TimestampOrigin::SetTimestamp, 0x0102_0304_0506);
        assert_eq!(data, [0, 10, 2, 0, 1, 2, 3, 4, 5, 6, 0, 0]);
    }

    #[test]
    fn a_list_of_another_length_is_refused() {
        assert_eq!(parse(&[0; 11]), Err(Sense::parameter_list_length_error()));
        assert_eq!(parse(&[]), Ok(None));
    }
}
