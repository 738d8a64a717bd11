//! READ BUFFER and WRITE BUFFER (SPC-5 §6.20, §6.51): a data buffer and an echo buffer, for testing the path.

use super::sense::Sense;

/// Bytes of the data buffer (mode 02h): one for each logical unit.
pub const DATA_BUFFER_BYTES: u32 = 64 << 10;

/// Bytes of the echo buffer (mode 0Ah), one for each I_T nexus that wrote it; 13 bits could tell 8191.
pub const ECHO_BUFFER_BYTES: u32 = 4096;

/// Mode 03h: offset boundary 2^0 and capacity of buffer 0. "If there is no buffer associated with the specified buffer ID,
/// then the device server shall return all zeros".
pub fn descriptor(buffer_id: u8) -> [u8; 4] {
    match buffer_id {
        0 => DATA_BUFFER_BYTES.to_be_bytes(),
        _ => [0; 4],
    }
}

/// Mode 0Bh. EBOS: another I_T nexus does not overwrite what this one wrote.
pub fn echo_descriptor() -> [u8; 4] {
    const EBOS: u8 = 0x01;
    let [_, _, high, low] = ECHO_BUFFER_BYTES.to_be_bytes();
    [EBOS, 0, high, low]
}

/// WRITE BUFFER in mode 02h.
pub fn check_data_write(buffer_id: u8, offset: u32, parameter_list_length: u32) -> Result<(), Sense> {
    check_data_read(buffer_id, offset)?;
    // "the application client … shall not exceed the capacity of the buffer".
    if parameter_list_length > DATA_BUFFER_BYTES - offset {
        return Err(Sense::invalid_field_in_cdb(6, None));
    }
    Ok(())
}

/// READ BUFFER in mode 02h: what lies behind `offset` is returned, up to the ALLOCATION LENGTH.
pub fn check_data_read(buffer_id: u8, offset: u32) -> Result<(), Sense> {
    if buffer_id != 0 {
        return Err(Sense::invalid_field_in_cdb(2, None));
    }
    if offset > DATA_BUFFER_BYTES {
        return Err(Sense::invalid_field_in_cdb(3, None));
    }
    Ok(())
}

/// WRITE BUFFER in mode 0Ah; BUFFER ID and BUFFER OFFSET are ignored there.
pub fn check_echo_write(parameter_list_length: u32) -> Result<(), Sense> {
    if parameter_list_length > ECHO_BUFFER_BYTES {
        return Err(Sense::invalid_field_in_cdb(6, None));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_tell_the_capacities() {
        assert_eq!(descriptor(0), [0, 1, 0, 0]);
        assert_eq!(descriptor(1), [0; 4]);
        assert_eq!(echo_descriptor(), [1, 0, 0x10, 0]);
    }

    #[test]
    fn buffers_end_where_they_say() {
        assert_eq!(check_data_write(0, 0, DATA_BUFFER_BYTES), Ok(()));
        assert_eq!(check_data_write(0, 1, DATA_BUFFER_BYTES), Err(Sense::invalid_field_in_cdb(6, None)));
        assert_eq!(check_data_write(1, 0, 0), Err(Sense::invalid_field_in_cdb(2, None)));
        assert_eq!(check_data_write(0, 0xFF_FFFF, 0), Err(Sense::invalid_field_in_cdb(3, None)));
        assert_eq!(check_echo_write(4097), Err(Sense::invalid_field_in_cdb(6, None)));
    }
}
