//! REPORT LUNS (SPC-5 §6.32).

use super::sense::Sense;

/// Parameter data, to be cut to the ALLOCATION LENGTH. `luns`: what the I_T nexus sees, each as its eight bytes.
///
/// SELECT REPORT: there are neither well known logical units (01h) nor conglomerates (10h, 12h).
pub fn report_luns(select_report: u8, luns: &[u64]) -> Result<Vec<u8>, Sense> {
    let luns = match select_report {
        0x00 | 0x02 | 0x11 => luns,
        0x01 | 0x10 | 0x12 => &[],
        _ => return Err(Sense::invalid_field_in_cdb(2, None)),
    };
    let mut out = Vec::with_capacity(8 + 8 * luns.len());
    out.extend_from_slice(&(8 * luns.len() as u32).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    for lun in luns {
        out.extend_from_slice(&lun.to_be_bytes());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_byte_exact() {
        let luns = [0, 0x0001_0000_0000_0000];
        let expected = [0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for select in [0x00, 0x02, 0x11] {
            assert_eq!(report_luns(select, &luns), Ok(expected.to_vec()));
        }
        for select in [0x01, 0x10, 0x12] {
            assert_eq!(report_luns(select, &luns), Ok(vec![0; 8]));
        }
    }

    #[test]
    fn other_selections_are_refused() {
        for select in [0x03, 0x0F, 0x13, 0xFF] {
            assert_eq!(report_luns(select, &[]), Err(Sense::invalid_field_in_cdb(2, None)));
        }
    }
}
