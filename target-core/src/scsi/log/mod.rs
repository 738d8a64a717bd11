//! LOG SENSE (SPC-5 §6.10, §7.3): the pages there is something true to say in.

mod pages;

use super::request::LogPageControl;
use super::sense::Sense;

/// What the pages tell of a logical unit, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSource {
    pub block_length: u32,
    pub read: Transfers,
    pub write: Transfers,
    /// `Some` where the logical unit is thin provisioned and its store knows what is used.
    pub space: Option<Space>,
}

/// Counters of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfers {
    pub commands: u64,
    pub bytes: u64,
    /// Commands that ended in MEDIUM ERROR or HARDWARE ERROR; `None` where nobody counts them.
    pub errors: Option<u64>,
}

/// In logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub capacity: u64,
    pub used: u64,
}

/// The fields of a LOG SENSE CDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSenseOptions {
    pub control: LogPageControl,
    pub page: u8,
    pub subpage: u8,
    pub parameter_pointer: u16,
}

impl LogSource {
    /// Parameter data, to be cut to the ALLOCATION LENGTH.
    pub fn sense(&self, options: &LogSenseOptions) -> Result<Vec<u8>, Sense> {
        let known = self.pages();
        if !known.contains(&(options.page, options.subpage)) {
            let page_known = known.iter().any(|(page, _)| *page == options.page);
            return Err(if page_known {
                Sense::invalid_field_in_cdb(3, None)
            } else {
                Sense::invalid_field_in_cdb(2, 5)
            });
        }
        match (options.page, options.subpage) {
            (0x00, 0x00) => {
                let codes: Vec<u8> = known.iter().filter(|(_, subpage)| *subpage == 0).map(|(page, _)| *page).collect();
                Ok(with_header(options, &codes))
            }
            (0x00, _) => {
                let codes: Vec<u8> = known.iter().flat_map(|(page, subpage)| [*page, *subpage]).collect();
                Ok(with_header(options, &codes))
            }
            _ => self.parameters(options),
        }
    }

    /// Page and subpage codes, ascending.
    fn pages(&self) -> Vec<(u8, u8)> {
        let mut pages = vec![(0x00, 0x00), (0x00, 0xFF), (WRITE_ERRORS, 0), (READ_ERRORS, 0)];
        if self.space.is_some() {
            pages.push((LOGICAL_BLOCK_PROVISIONING, 0));
        }
        pages.extend([(GENERAL_STATISTICS, 0), (INFORMATIONAL_EXCEPTIONS, 0)]);
        pages
    }

    fn parameters(&self, options: &LogSenseOptions) -> Result<Vec<u8>, Sense> {
        // There are no thresholds, and the default values of counters are no news.
        if options.control != LogPageControl::Cumulative {
            return Err(Sense::invalid_field_in_cdb(2, 7));
        }
        let parameters = match options.page {
            WRITE_ERRORS => pages::error_counters(&self.write),
            READ_ERRORS => pages::error_counters(&self.read),
            LOGICAL_BLOCK_PROVISIONING => self.space.map(|space| pages::provisioning(&space)).unwrap_or_default(),
            GENERAL_STATISTICS => pages::general_statistics(self),
            _ => pages::informational_exceptions(),
        };
        // PARAMETER POINTER: "log parameters … with a parameter code greater than or equal to" it; one past the last is an
        // error.
        let asked: Vec<u8> = parameters
            .iter()
            .filter(|parameter| parameter.code >= options.parameter_pointer)
            .flat_map(|parameter| parameter.encode())
            .collect();
        if asked.is_empty() {
            return Err(Sense::invalid_field_in_cdb(5, None));
        }
        Ok(with_header(options, &asked))
    }
}

fn with_header(options: &LogSenseOptions, contents: &[u8]) -> Vec<u8> {
    /// DS: parameters are not saved.
    const DS: u8 = 0x80;
    const SPF: u8 = 0x40;
    let spf = if options.subpage != 0 { SPF } else { 0 };
    let ds = if options.page != 0 { DS } else { 0 };
    let [high, low] = (contents.len() as u16).to_be_bytes();
    [&[ds | spf | options.page, options.subpage, high, low], contents].concat()
}

const WRITE_ERRORS: u8 = 0x02;
const READ_ERRORS: u8 = 0x03;
const LOGICAL_BLOCK_PROVISIONING: u8 = 0x0C;
const GENERAL_STATISTICS: u8 = 0x19;
const INFORMATIONAL_EXCEPTIONS: u8 = 0x2F;

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> LogSource {
        LogSource {
            block_length: 512,
            read: Transfers { commands: 3, bytes: 4096, errors: Some(1) },
            write: Transfers { commands: 2, bytes: 1024, errors: None },
            space: Some(Space { capacity: 0x18_0000, used: 0x801 }),
        }
    }

    fn options(page: u8, subpage: u8) -> LogSenseOptions {
        LogSenseOptions { control: LogPageControl::Cumulative, page, subpage, parameter_pointer: 0 }
    }

    fn sense(page: u8, subpage: u8) -> Vec<u8> {
        source().sense(&options(page, subpage)).expect("sensed")
    }

    #[test]
    fn supported_pages_are_listed_and_each_is_there() {
        assert_eq!(sense(0, 0), [0, 0, 0, 6, 0x00, 0x02, 0x03, 0x0C, 0x19, 0x2F]);
        let list = sense(0, 0xFF);
        assert_eq!(list[..8], [0x40, 0xFF, 0, 14, 0, 0, 0, 0xFF]);
        for pair in list[4..].chunks(2) {
            let page = sense(pair[0], pair[1]);
            assert_eq!(usize::from(u16::from_be_bytes([page[2], page[3]])), page.len() - 4);
        }
        let thick = LogSource { space: None, ..source() };
        assert!(thick.sense(&options(0x0C, 0)).is_err());
    }

    #[test]
    fn unknown_pages_and_thresholds_are_refused() {
        let refused = |options| source().sense(&options).expect_err("refused");
        assert_eq!(refused(options(0x0D, 0)), Sense::invalid_field_in_cdb(2, 5));
        assert_eq!(refused(options(0x02, 1)), Sense::invalid_field_in_cdb(3, None));
        let threshold = LogSenseOptions { control: LogPageControl::Threshold, ..options(0x02, 0) };
        assert_eq!(refused(threshold), Sense::invalid_field_in_cdb(2, 7));
    }

    #[test]
    fn the_parameter_pointer_skips() {
        let from = |parameter_pointer| source().sense(&LogSenseOptions { parameter_pointer, ..options(0x03, 0) });
        assert_eq!(from(6).expect("one left"), [0x83, 0, 0, 12, 0, 6, 0x02, 8, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(from(7), Err(Sense::invalid_field_in_cdb(5, None)));
    }

    #[test]
    fn errors_nobody_counts_are_not_told() {
        assert_eq!(sense(0x02, 0), [0x82, 0, 0, 12, 0, 5, 0x02, 8, 0, 0, 0, 0, 0, 0, 4, 0]);
    }

    #[test]
    fn space_is_counted_in_threshold_sets() {
        let data = sense(0x0C, 0);
        let available = [0, 1, 0x03, 8, 0, 0, 2, 0xFE, 2, 0, 0, 0];
        let used = [0, 2, 0x03, 8, 0, 0, 0, 2, 2, 0, 0, 0];
        assert_eq!(data[4..], [available, used].concat());
    }

    #[test]
    fn statistics_count_commands_and_blocks() {
        let data = sense(0x19, 0);
        assert_eq!(data[..8], [0x99, 0, 0, 0x5C, 0, 1, 0x03, 64]);
        assert_eq!(data[84..], [0, 3, 0x03, 8, 0, 0, 0, 3, 0, 0, 0, 1]);
        let counter = |index: usize| u64::from_be_bytes(data[8 + 8 * index..16 + 8 * index].try_into().expect("eight"));
        assert_eq!([0, 1, 2, 3].map(counter), [3, 2, 2, 8], "reads, writes, blocks received, blocks transmitted");
    }

    #[test]
    fn there_are_no_exceptions() {
        assert_eq!(sense(0x2F, 0), [0xAF, 0, 0, 8, 0, 0, 0x03, 4, 0, 0, 0xFF, 0]);
    }
}
