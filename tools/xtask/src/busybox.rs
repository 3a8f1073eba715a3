//! Reads the applets' names out of a BusyBox binary, so that the root image can have a link for each.

/// The table's beginning in every build that has the shell's `[` and `[[`.
const START: &[u8] = b"[\0[[\0";

/// The names in BusyBox's own table: NUL-separated, sorted, ending at an empty name. Empty without a table.
pub fn applets(binary: &[u8]) -> Vec<String> {
    let starts = binary.windows(START.len()).enumerate().filter(|(_, window)| *window == START);
    let tables = starts.map(|(at, _)| read_table(&binary[at..]));
    // Messages may contain the same bytes by chance; the table is by far the longest.
    tables.max_by_key(Vec::len).unwrap_or_default()
}

fn read_table(bytes: &[u8]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in bytes.split(|byte| *byte == 0) {
        let sane = !name.is_empty()
            && name.len() < 32
            && name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'/');
        let name = String::from_utf8_lossy(name).into_owned();
        if !sane || names.last().is_some_and(|last| *last >= name) {
            break;
        }
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::applets;

    #[test]
    fn the_table_ends_where_order_or_sense_ends() {
        let binary = b"\x7fELF..text\0[\0[[\0acpid\0ash\0zcat\0\0usage: ash\0";
        assert_eq!(applets(binary), ["[", "[[", "acpid", "ash", "zcat"]);
        assert_eq!(applets(b" [\0[[\0b\0a\0"), ["[", "[[", "b"]);
        assert!(applets(b"no table").is_empty());
    }
}
