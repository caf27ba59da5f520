use ::zip::read::ZipFileEntry;

use crate::{EntryPath, Error, PathFault, Result, error::printable};

/// The path of an entry; none for the root itself.
pub(super) fn path(entry: &ZipFileEntry<'_>) -> Result<Option<EntryPath>> {
    let name = entry.name_raw();
    let refuse = |fault| Error::Path {
        path: printable(name),
        fault,
    };
    // General purpose bit 11, APPNOTE.TXT §4.4.4.
    let is_utf8 = entry.flags().as_u16() & (1 << 11) != 0;
    // Windows takes both for more than names, and a zip is not made for one system.
    if name.contains(&b'\\') {
        return Err(refuse(PathFault::Backslash));
    }
    if let [letter, b':', ..] = name
        && letter.is_ascii_alphabetic()
    {
        return Err(refuse(PathFault::Drive));
    }
    if str::from_utf8(name).is_ok() {
        EntryPath::parse_archived(name)
    } else if is_utf8 {
        Err(refuse(PathFault::Encoding))
    } else {
        let decoded = entry.name().map_err(|_| refuse(PathFault::Encoding))?;
        EntryPath::parse_archived(decoded.as_bytes())
    }
}
