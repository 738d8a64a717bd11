//! Asymmetric logical unit access (SPC-5 §5.17): REPORT TARGET PORT GROUPS (§6.37) and SET TARGET PORT GROUPS (§6.48).

use super::sense::Sense;

/// ASYMMETRIC ACCESS STATE (SPC-5 table 303).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetPortGroupState {
    ActiveOptimized = 0x0,
    ActiveNonOptimized = 0x1,
    Standby = 0x2,
    Unavailable = 0x3,
    LogicalBlockDependent = 0x4,
    Offline = 0xE,
    Transitioning = 0xF,
}

/// STATUS CODE: how the state came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateCause {
    NoStatus = 0x00,
    SetTargetPortGroups = 0x01,
    Implicit = 0x02,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPortGroup {
    /// TARGET PORT GROUP
    pub group: u16,
    pub state: TargetPortGroupState,
    /// PREF
    pub preferred: bool,
    pub cause: StateCause,
    /// Its ports' RELATIVE TARGET PORT IDENTIFIERs.
    pub ports: Vec<u16>,
}

/// Parameter data, to be cut to the ALLOCATION LENGTH. Groups must come in the same order every time.
///
/// `extended_header`: PARAMETER DATA FORMAT 001b, which has room for the implicit transition time.
pub fn report_target_port_groups(groups: &[TargetPortGroup], extended_header: bool) -> Vec<u8> {
    const FORMAT_TYPE_EXTENDED: u8 = 0b001 << 4;
    let mut out = vec![0; 4];
    if extended_header {
        out.extend_from_slice(&[FORMAT_TYPE_EXTENDED, IMPLICIT_TRANSITION_TIME_S, 0, 0]);
    }
    for group in groups {
        let [high, low] = group.group.to_be_bytes();
        let preferred = if group.preferred { 0x80 } else { 0 };
        out.extend_from_slice(&[preferred | group.state as u8, SUPPORTED_STATES, high, low]);
        let ports = &group.ports[..group.ports.len().min(255)];
        out.extend_from_slice(&[0, group.cause as u8, 0, ports.len() as u8]);
        for port in ports {
            let [high, low] = port.to_be_bytes();
            out.extend_from_slice(&[0, 0, high, low]);
        }
    }
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// SET TARGET PORT GROUPS' parameter list: the states asked for. `groups`: those there are.
pub fn parse_set_target_port_groups(list: &[u8], groups: &[u16]) -> Result<Vec<(u16, TargetPortGroupState)>, Sense> {
    // "A parameter list length of zero … shall not be considered an error."
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let descriptors = list.get(4..).ok_or_else(Sense::parameter_list_length_error)?.chunks_exact(4);
    if !descriptors.remainder().is_empty() {
        return Err(Sense::parameter_list_length_error());
    }
    descriptors
        .enumerate()
        .map(|(index, descriptor)| {
            let at = 4 + 4 * index;
            let state = match descriptor[0] {
                0x0 => TargetPortGroupState::ActiveOptimized,
                0x1 => TargetPortGroupState::ActiveNonOptimized,
                0x2 => TargetPortGroupState::Standby,
                0x3 => TargetPortGroupState::Unavailable,
                _ => return Err(Sense::invalid_field_in_parameter_list(at as u16, 3)),
            };
            let group = u16::from_be_bytes([descriptor[2], descriptor[3]]);
            if !groups.contains(&group) {
                return Err(Sense::invalid_field_in_parameter_list(at as u16 + 2, None));
            }
            Ok((group, state))
        })
        .collect()
}

/// T_SUP, U_SUP, S_SUP, AN_SUP, AO_SUP.
const SUPPORTED_STATES: u8 = 0x8F;
/// IMPLICIT TRANSITION TIME: how long an initiator should wait for a transition to end, in seconds.
const IMPLICIT_TRANSITION_TIME_S: u8 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> [TargetPortGroup; 2] {
        let first = TargetPortGroup {
            group: 1,
            state: TargetPortGroupState::ActiveOptimized,
            preferred: true,
            cause: StateCause::NoStatus,
            ports: vec![1, 2],
        };
        let second = TargetPortGroup {
            group: 0x0102,
            state: TargetPortGroupState::Standby,
            preferred: false,
            cause: StateCause::SetTargetPortGroups,
            ports: vec![0x0304],
        };
        [first, second]
    }

    #[test]
    fn groups_are_byte_exact_under_either_header() {
        let descriptors = [
            0x80, 0x8F, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, //
            0x02, 0x8F, 1, 2, 0, 1, 0, 1, 0, 0, 3, 4,
        ];
        assert_eq!(report_target_port_groups(&groups(), false), [&[0, 0, 0, 28], descriptors.as_slice()].concat());
        let extended = report_target_port_groups(&groups(), true);
        assert_eq!(extended, [&[0, 0, 0, 32, 0x10, 30, 0, 0], descriptors.as_slice()].concat());
    }

    #[test]
    fn set_lists_are_checked() {
        let parse = |list: &[u8]| parse_set_target_port_groups(list, &[1, 2]);
        let expected = vec![(1, TargetPortGroupState::Standby), (2, TargetPortGroupState::ActiveOptimized)];
        assert_eq!(parse(&[0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0, 2]), Ok(expected));
        assert_eq!(parse(&[]), Ok(vec![]));
        assert_eq!(parse(&[0, 0, 0, 0]), Ok(vec![]));
        assert_eq!(parse(&[0, 0]), Err(Sense::parameter_list_length_error()));
        assert_eq!(parse(&[0, 0, 0, 0, 0, 0]), Err(Sense::parameter_list_length_error()));
        assert_eq!(parse(&[0, 0, 0, 0, 0x0F, 0, 0, 1]), Err(Sense::invalid_field_in_parameter_list(4, 3)));
        let unknown = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9];
        assert_eq!(parse(&unknown), Err(Sense::invalid_field_in_parameter_list(10, None)));
    }
}
