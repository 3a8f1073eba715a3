//! Writes what the kernel recorded of a run into a file, one event a line.

use crate::qemu::Machine;
use crate::workspace::note;
use abi::trace::{Event, Record, VERSION};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use zerocopy::FromBytes;

/// How many of its last events each hart keeps, unless `--append asyncos.trace=N` says otherwise.
const RECORDS: usize = 16384;

/// Has the kernel of this machine record.
pub fn ask_for(machine: &mut Machine) {
    let append = machine.append.get_or_insert_default();
    if !append.contains("asyncos.trace=") {
        append.push_str(&format!(" asyncos.trace={RECORDS}"));
    }
}

/// The file that a trace goes to.
pub struct Recorder {
    path: PathBuf,
    file: File,
}

impl Recorder {
    /// Makes the file, before anything is run for it.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes the records in the order of time.
    pub fn write(self, bytes: &[u8]) -> Result<()> {
        let records = in_order(bytes);
        if records.is_empty() {
            note("no trace came: the machine did not get as far as powering off");
        }
        let mut output = BufWriter::new(self.file);
        write_text(&mut output, &records).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// The records that came, in the order of time.
pub fn in_order(bytes: &[u8]) -> Vec<Record> {
    let mut records: Vec<Record> = bytes
        .chunks_exact(size_of::<Record>())
        .filter_map(|chunk| Record::read_from_bytes(chunk).ok())
        .collect();
    // Stable: what a hart did within one tick of the clock stays in its order.
    records.sort_by_key(|record| record.time_ns);
    records
}

/// What cannot be in a whole trace of a machine that powered off: an event without a name, a coroutine that runs on a hart
/// before another has left it, a result that nobody asked for, no result at all.
pub fn complaint(records: &[Record]) -> Option<String> {
    let (mut polled, mut called, mut returned) = (BTreeMap::new(), BTreeMap::new(), 0);
    for record in records {
        let known = match Event::from_number(record.event) {
            None => false,
            Some(Event::Poll) => polled.insert(record.hart, record.coroutine).is_none(),
            Some(Event::Leave) => polled.remove(&record.hart) == Some(record.coroutine),
            Some(Event::Preempt) => polled.remove(&record.hart) == Some(record.coroutine),
            Some(Event::SystemCall) => {
                called.insert(record.coroutine, record.detail);
                polled.get(&record.hart) == Some(&record.coroutine)
            }
            Some(Event::Return) => {
                returned += 1;
                called.remove(&record.coroutine) == Some(record.detail)
            }
            Some(_) => true,
        };
        if !known {
            return Some(format!("this cannot be: {record}"));
        }
    }
    (returned == 0).then(|| "no call returned".to_owned())
}

fn write_text(output: &mut dyn Write, records: &[Record]) -> std::io::Result<()> {
    writeln!(
        output,
        "# AsyncOS trace, version {VERSION}: seconds, hart, coroutine, event; the last events of each hart"
    )?;
    for record in records {
        writeln!(output, "{record}")?;
    }
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn records_are_written_by_time_and_unknown_ones_by_number() {
        let record =
            |time_ns, event| Record { time_ns, coroutine: 16, argument: 7, event, hart: 1, detail: 2 };
        let records = [record(2_000_000_003, Event::Ready as u16), record(5, 999)];
        let bytes: Vec<u8> = records.iter().flat_map(|record| record.as_bytes().to_vec()).collect();
        let mut text = Vec::new();
        write_text(&mut text, &in_order(&bytes)).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "    0.000000005 hart 1 0x0000000000000010 event 999 2 0x7",
                "    2.000000003 hart 1 0x0000000000000010 ready hart=2 priority=7",
            ]
        );
    }
}
