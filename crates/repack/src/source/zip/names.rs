use super::central::Header;
use crate::{EntryPath, Error, PathFault, Result, error::printable};

/// General purpose bit 11, APPNOTE.TXT §4.4.4.
const IS_UTF8: u16 = 1 << 11;

/// The path of an entry; none for the root itself.
pub(super) fn path(header: &Header<'_>) -> Result<Option<EntryPath>> {
    let name = header.name();
    let refuse = |fault| Error::Path {
        path: printable(name),
        fault,
    };
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
    } else if header.flags & IS_UTF8 != 0 || header.unicode_name.is_some() {
        Err(refuse(PathFault::Encoding))
    } else {
        EntryPath::parse_archived(cp437(name).as_bytes())
    }
}

/// Decodes the code page of the first PCs (APPNOTE.TXT appendix D).
fn cp437(name: &[u8]) -> String {
    const UPPER: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»\
        ░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀\
        αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";
    let upper: Vec<char> = UPPER.chars().collect();
    name.iter()
        .map(|&byte| match byte.checked_sub(0x80) {
            Some(at) => upper.get(usize::from(at)).copied().unwrap_or('?'),
            None => byte.into(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_old_code_page() {
        let all: Vec<u8> = (0..=255).collect();
        let text = cp437(&all);
        assert_eq!(text.chars().count(), 256);
        for (byte, character) in [
            (b'a', 'a'),
            (0x80, 'Ç'),
            (0x81, 'ü'),
            (0xe1, 'ß'),
            (0xff, '\u{a0}'),
        ] {
            assert_eq!(text.chars().nth(byte.into()), Some(character));
        }
    }
}
