//! One entry of `volumes`.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use target_core::block::BlockLength;
use target_core::target::config::{
    Identity, Naa, PHYSICAL_BLOCK_SIZE, Rotation, SERIAL_LENGTH_MAX, ScsiVersion, Store, VolumeConfig,
};
use uuid::Uuid;

use super::document::did_you_mean;
use super::fault::{Findings, Place};
use super::mirror::{self, Neighbours};
use super::raw::{RawRotation, RawVolume, Size};

/// What a volume's entry may refer to.
pub struct Surroundings<'a> {
    pub base: &'a Path,
    pub state_dir: &'a Path,
    pub neighbours: Neighbours<'a>,
}

/// `None` where it is faulty.
pub fn volume(
    raw: RawVolume,
    name: &str,
    place: &Place,
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> Option<VolumeConfig> {
    let store = store(&raw, place, around.base, around.state_dir, findings);
    let block_size = block_size(raw.block_size, &place.at("block_size"), findings);
    let physical_block_size =
        physical_block_size(raw.physical_block_size, block_size, &place.at("physical_block_size"), findings);
    let needs_size = !matches!(store, Some(Store::Device { .. }) | None);
    let size = size(raw.size, needs_size, block_size, &place.at("size"), findings);
    let identity = Identity {
        uuid: raw.uuid.and_then(|text| uuid(&text, &place.at("uuid"), findings)),
        serial: raw.serial.and_then(|text| serial(text, &place.at("serial"), findings)),
        naa: raw.naa.and_then(|text| naa(&text, &place.at("naa"), findings)),
        vendor: raw.vendor.and_then(|text| ascii(text, 8, &place.at("vendor"), findings)),
        product: raw.product.and_then(|text| ascii(text, 16, &place.at("product"), findings)),
        revision: raw.revision.and_then(|text| ascii(text, 4, &place.at("revision"), findings)),
    };
    let scsi_version = match raw.scsi_version {
        Some(text) => scsi_version(&text, &place.at("scsi_version"), findings),
        None => ScsiVersion::Spc4,
    };
    let rotation = match raw.rotation {
        Some(raw) => rotation(raw, &place.at("rotation"), findings),
        None => Rotation::NonRotating,
    };
    if raw.read_only == Some(true) && matches!(store, Some(Store::Memory | Store::Null)) {
        findings.warn(&place.at("read_only"), "a store in memory that nobody can write to", "use a file or a device");
    }
    let is_mirrored = raw.mirror.is_some();
    let mirror =
        raw.mirror.and_then(|raw| mirror::mirror(raw, name, &place.at("mirror"), &around.neighbours, findings));
    let volume = VolumeConfig {
        store: store?,
        size,
        block_size,
        physical_block_size,
        thin: raw.thin,
        removable: raw.removable.unwrap_or(false),
        read_only: raw.read_only.unwrap_or(false),
        write_cache: raw.write_cache.unwrap_or(true),
        long_cdbs: raw.long_cdbs.unwrap_or(false),
        identity,
        scsi_version,
        rotation,
        mirror,
    };
    if is_mirrored {
        mirror::check_volume(&volume, place, findings);
    }
    Some(volume)
}

/// The path under which two volumes would meet, whatever each calls it.
pub fn same_file(path: &Path) -> PathBuf {
    let resolved = fs::canonicalize(path).ok().or_else(|| {
        let parent = fs::canonicalize(path.parent()?).ok()?;
        Some(parent.join(path.file_name()?))
    });
    resolved.unwrap_or_else(|| path.to_owned())
}

fn store(raw: &RawVolume, place: &Place, base: &Path, state_dir: &Path, findings: &mut Findings) -> Option<Store> {
    let given: Vec<&str> = [
        ("file", raw.file.is_some()),
        ("device", raw.device.is_some()),
        ("memory", raw.memory.is_some()),
        ("null", raw.null.is_some()),
    ]
    .iter()
    .filter(|(_, given)| *given)
    .map(|(name, _)| *name)
    .collect();
    match given.as_slice() {
        [] => {
            let remedy = "write one of: file: PATH, device: PATH, memory: {}, null: {}";
            findings.missing(place, "has no store", remedy);
            return None;
        }
        [_] => (),
        many => {
            findings.fault(place, format!("has {} stores: {}", many.len(), many.join(" and ")), "keep one of them");
            return None;
        }
    }
    let direct_io = raw.direct_io.unwrap_or(false);
    if raw.direct_io.is_some() && raw.file.is_none() && raw.device.is_none() {
        findings.fault(&place.at("direct_io"), "means nothing without a file or a device", "remove it");
    }
    if let Some(file) = &raw.file {
        let path = base.join(file);
        check_file(&path, state_dir, &place.at("file"), findings);
        Some(Store::File { path, direct_io })
    } else if let Some(device) = &raw.device {
        let path = base.join(device);
        check_device(&path, &place.at("device"), findings);
        Some(Store::Device { path, direct_io })
    } else if raw.memory.is_some() {
        Some(Store::Memory)
    } else {
        Some(Store::Null)
    }
}

/// The file is created where it is missing; its directory is not, for it may be where something failed to mount.
fn check_file(path: &Path, state_dir: &Path, place: &Place, findings: &mut Findings) {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => (),
        Ok(metadata) if metadata.file_type().is_block_device() => {
            findings.fault(place, format!("{} is a block device", path.display()), "write device: instead of file:");
        }
        Ok(_) => findings.fault(place, format!("{} is not a file", path.display()), "name a file"),
        Err(_) => {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if !directory.is_dir() && directory != state_dir {
                findings.fault(
                    place,
                    format!("there is no directory {}", directory.display()),
                    "create it, or mount what it should hold",
                );
            }
        }
    }
}

fn check_device(path: &Path, place: &Place, findings: &mut Findings) {
    match fs::metadata(path) {
        Ok(metadata) if metadata.file_type().is_block_device() => (),
        Ok(metadata) if metadata.is_file() => {
            findings.fault(place, format!("{} is a file", path.display()), "write file: instead of device:");
        }
        Ok(_) => findings.fault(place, format!("{} is not a block device", path.display()), "name a block device"),
        Err(error) => findings.fault(place, format!("{}: {error}", path.display()), "name a block device that exists"),
    }
}

fn block_size(raw: Option<Size>, place: &Place, findings: &mut Findings) -> BlockLength {
    match raw {
        None | Some(Size(512)) => BlockLength::B512,
        Some(Size(4096)) => BlockLength::B4096,
        Some(Size(other)) => {
            findings.fault(place, format!("{other} is not a block size"), "write 512 or 4096");
            BlockLength::B512
        }
    }
}

fn physical_block_size(raw: Option<Size>, block_size: BlockLength, place: &Place, findings: &mut Findings) -> u32 {
    let Some(Size(bytes)) = raw else { return PHYSICAL_BLOCK_SIZE };
    match u32::try_from(bytes) {
        Ok(bytes) if bytes.is_power_of_two() && (block_size.bytes()..=PHYSICAL_BLOCK_SIZE_MAX).contains(&bytes) => {
            bytes
        }
        _ => {
            findings.fault(
                place,
                format!("{bytes} is not a physical block size"),
                format!("write a power of two from {} (block_size) to {PHYSICAL_BLOCK_SIZE_MAX}", block_size.bytes()),
            );
            PHYSICAL_BLOCK_SIZE
        }
    }
}

fn size(
    raw: Option<Size>,
    needed: bool,
    block_size: BlockLength,
    place: &Place,
    findings: &mut Findings,
) -> Option<u64> {
    let block = u64::from(block_size.bytes());
    match raw {
        None if needed => {
            findings.missing(place, "is missing", "write size: 100GiB, for example");
            None
        }
        None => None,
        Some(Size(bytes)) if bytes == 0 || bytes > SIZE_MAX => {
            findings.fault(place, format!("{bytes} bytes is no size for a volume"), "write size: 100GiB, for example");
            None
        }
        Some(Size(bytes)) if bytes % block != 0 => {
            findings.fault(
                place,
                format!("{bytes} bytes is not a multiple of the block size, {block}"),
                format!("write {}", bytes.next_multiple_of(block)),
            );
            None
        }
        Some(Size(bytes)) => Some(bytes),
    }
}

fn uuid(text: &str, place: &Place, findings: &mut Findings) -> Option<Uuid> {
    match Uuid::try_parse(text) {
        Ok(uuid) if !uuid.is_nil() => Some(uuid),
        _ => {
            findings.fault(place, format!("\"{text}\" is not a UUID"), "write what uuidgen prints, or remove it");
            None
        }
    }
}

fn serial(text: String, place: &Place, findings: &mut Findings) -> Option<String> {
    if (1..=SERIAL_LENGTH_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(text);
    }
    findings.fault(
        place,
        format!("\"{text}\" is not a serial number"),
        format!("use 1 to {SERIAL_LENGTH_MAX} ASCII letters, digits and marks, without spaces"),
    );
    None
}

/// SPC-5 §7.7.6.6: the first digit names the format, and the format its length.
fn naa(text: &str, place: &Place, findings: &mut Findings) -> Option<Naa> {
    let digits = text.strip_prefix("naa.").or(text.strip_prefix("0x")).unwrap_or(text);
    let bytes: Option<Vec<u8>> = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2 && !pair.starts_with('+')))
        .map(|pair| u8::from_str_radix(pair?, 16).ok())
        .collect();
    let naa = bytes.and_then(|bytes| match bytes.first()? >> 4 {
        2 | 3 | 5 => bytes.try_into().ok().map(Naa::Short),
        6 => bytes.try_into().ok().map(Naa::Long),
        _ => None,
    });
    if naa.is_none() {
        findings.fault(
            place,
            format!("\"{text}\" is not an NAA designator"),
            "write 16 hexadecimal digits beginning with 2, 3 or 5, or 32 beginning with 6, in quotes",
        );
    }
    naa
}

fn ascii(text: String, length_max: usize, place: &Place, findings: &mut Findings) -> Option<String> {
    let printable = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if printable && (1..=length_max).contains(&text.len()) {
        return Some(text);
    }
    findings.fault(
        place,
        format!("\"{text}\" does not fit"),
        format!("use 1 to {length_max} printable ASCII characters"),
    );
    None
}

fn scsi_version(text: &str, place: &Place, findings: &mut Findings) -> ScsiVersion {
    match text.to_ascii_lowercase().as_str() {
        "spc3" | "spc-3" => ScsiVersion::Spc3,
        "spc4" | "spc-4" => ScsiVersion::Spc4,
        "spc5" | "spc-5" => ScsiVersion::Spc5,
        _ => {
            findings.fault(place, format!("there is no version {text}"), "write spc3, spc4 or spc5");
            ScsiVersion::Spc4
        }
    }
}

fn rotation(raw: RawRotation, place: &Place, findings: &mut Findings) -> Rotation {
    let words = ["ssd", "unreported"];
    match raw {
        RawRotation::Rpm(rpm @ ROTATION_RPM_MIN..=ROTATION_RPM_MAX) => Rotation::Rpm(rpm as u16),
        RawRotation::Rpm(rpm) => {
            findings.fault(
                place,
                format!("{rpm} revolutions per minute cannot be reported"),
                format!("write {ROTATION_RPM_MIN} to {ROTATION_RPM_MAX}, or ssd, or unreported"),
            );
            Rotation::NonRotating
        }
        RawRotation::Word(word) if word == words[0] => Rotation::NonRotating,
        RawRotation::Word(word) if word == words[1] => Rotation::NotReported,
        RawRotation::Word(word) => {
            let remedy = match did_you_mean(&word, words.into_iter()) {
                Some(near) => format!("did you mean {near}?"),
                None => "write ssd, unreported, or revolutions per minute such as 7200".to_owned(),
            };
            findings.fault(place, format!("there is no rotation {word}"), remedy);
            Rotation::NonRotating
        }
    }
}

/// Bytes. Files and devices end where a signed 64-bit offset does.
const SIZE_MAX: u64 = i64::MAX as u64;

/// Bytes. Beyond any drive there is; READ CAPACITY (16) could say 2¹⁵ logical blocks.
const PHYSICAL_BLOCK_SIZE_MAX: u32 = 1 << 20;

/// SBC-4 §6.6.2: 0401h to FFFEh.
const ROTATION_RPM_MIN: u64 = 0x401;
const ROTATION_RPM_MAX: u64 = 0xFFFE;
