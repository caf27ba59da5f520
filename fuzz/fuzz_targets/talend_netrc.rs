#![no_main]

use talend::nexus::{Error, netrc};

// Whatever a netrc file says: logins, whose passwords are not shown, or a fault at a line.
libfuzzer_sys::fuzz_target!(|text: &str| {
    match netrc::parse(".netrc", text) {
        Ok(logins) => {
            let marked = format!("{text}\n\nmachine marked.io login me password hunter2hunter2\n");
            let with_one = netrc::parse(".netrc", &marked);
            assert!(!format!("{logins:?}{with_one:?}").contains("hunter2hunter2") || text.contains("hunter2"));
        }
        Err(Error::Netrc { line, .. }) => {
            assert!((1..=1 + text.matches('\n').count()).contains(&line));
        }
        Err(other) => panic!("{other}"),
    }
});
