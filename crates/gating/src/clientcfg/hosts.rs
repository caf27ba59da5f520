use crate::buildset::ALIAS;

/// Makes [`ALIAS`] stand for `ip`, and for nothing else.
pub(super) fn edit(text: &str, ip: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut found = false;
    for line in text.lines() {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let (address, names) = (words.next(), words.collect::<Vec<_>>());
        if !names.contains(&ALIAS) {
            out.push_str(line);
        } else if address == Some(ip) && !found {
            found = true;
            out.push_str(line);
        } else {
            // Left by an earlier registry: only the other names of the line stay.
            let others: Vec<_> = names.into_iter().filter(|name| *name != ALIAS).collect();
            if others.is_empty() {
                continue;
            }
            out.push_str(address.unwrap_or_default());
            out.push('\t');
            out.push_str(&others.join(" "));
        }
        out.push('\n');
    }
    if !found {
        out.push_str(&format!("{ip}\t{ALIAS}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alias_stands_for_one_address() {
        for (before, after) in [
            ("", "::7\tzuul-jobs.buildset-registry\n"),
            (
                "127.0.0.1 localhost # me\n",
                "127.0.0.1 localhost # me\n::7\tzuul-jobs.buildset-registry\n",
            ),
            (
                "::7 x zuul-jobs.buildset-registry\n# end",
                "::7 x zuul-jobs.buildset-registry\n# end\n",
            ),
            (
                "::8 x zuul-jobs.buildset-registry\n::9 zuul-jobs.buildset-registry\n",
                "::8\tx\n::7\tzuul-jobs.buildset-registry\n",
            ),
        ] {
            assert_eq!(edit(before, "::7"), after);
            assert_eq!(edit(after, "::7"), after);
        }
    }

    proptest::proptest! {
        #[test]
        fn twice_is_once(text in "([ \\t\\n#:7x]|zuul-jobs.buildset-registry){0,20}") {
            let once = edit(&text, "::7");
            proptest::prop_assert_eq!(edit(&once, "::7"), once);
        }
    }
}
